# SPDX-License-Identifier: Apache-2.0
"""Integer ranges: an integer's type is the set [lo, hi] it can take; bits and C words follow from it."""

from __future__ import annotations

from dataclasses import dataclass

INT8 = (-128, 127)
UINT8 = (0, 255)
INT16 = (-(1 << 15), (1 << 15) - 1)
_C_WORDS = (
    ("int8_t", -(1 << 7), (1 << 7) - 1),
    ("uint8_t", 0, (1 << 8) - 1),
    ("int16_t", -(1 << 15), (1 << 15) - 1),
    ("int32_t", -(1 << 31), (1 << 31) - 1),
    ("int64_t", -(1 << 63), (1 << 63) - 1),
)


@dataclass(frozen=True)
class Range:
    """Closed interval of integers.

    >>> (Range(-128, 127) - Range.of(3)) * Range.of(-2)
    Range(lo=-248, hi=262)
    """

    lo: int
    hi: int

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise ValueError(f"empty range [{self.lo}, {self.hi}]")

    @classmethod
    def of(cls, value: int) -> Range:
        """The range that holds one integer."""
        return cls(value, value)

    def __add__(self, other: Range) -> Range:
        return Range(self.lo + other.lo, self.hi + other.hi)

    def __sub__(self, other: Range) -> Range:
        return Range(self.lo - other.hi, self.hi - other.lo)

    def __mul__(self, other: Range) -> Range:
        corners = [a * b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return Range(min(corners), max(corners))

    def union(self, other: Range) -> Range:
        """The smallest range that holds both."""
        return Range(min(self.lo, other.lo), max(self.hi, other.hi))

    def contains(self, other: Range) -> bool:
        """Whether every integer of `other` lies in this range."""
        return self.lo <= other.lo and other.hi <= self.hi

    @property
    def bits(self) -> int:
        """Width of the narrowest two's-complement word that holds the range."""
        return max((end if end >= 0 else ~end).bit_length() for end in (self.lo, self.hi)) + 1

    @property
    def c_word(self) -> str:
        """The narrowest C99 integer type that holds the range."""
        for name, lo, hi in _C_WORDS:
            if lo <= self.lo and self.hi <= hi:
                return name
        raise OverflowError(f"[{self.lo}, {self.hi}] needs {self.bits} bits, more than 64")
