# SPDX-License-Identifier: Apache-2.0
"""A pointwise function of 16-bit integers: pieces of parabolas, because a table would have 65,536 entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ranges import INT16
from .base import Domain, Op, Shape

POINT = 14  # binary digits of a value behind the point
FIRST = INT16[0]


@dataclass(frozen=True, eq=False)
class Curve(Op):
    """q_out = clip(rhe(v / 2^14) + parity, lo, hi), v on one of many pieces: the law is docs/semantics.md.

    knots, bends  of every 2^bits integers where v begins, in units of 2^(bits - 14) steps, and how far it
                  leaves the chord
    knees         integers, in order, at which another piece of the function begins
    parity        the zero point's: so a tie goes where rounding before the zero point sends it
    """

    knots: NDArray[np.int64]
    bends: NDArray[np.int64]
    knees: NDArray[np.int64]
    bits: int
    parity: int
    lo: int
    hi: int

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.table(xs[0], self.entries, FIRST)

    @property
    def gaps(self) -> list[int]:
        """How many places are skipped at each knee: to the next piece but one, whose first knot it gets."""
        size, found = 1 << self.bits, list[int]()
        for knee in self.knees.tolist():
            found.append(size + -(knee - FIRST + sum(found)) % size)
        return found

    def values(self) -> NDArray[np.int64]:
        """v of every integer from -32768 on."""
        q = np.arange(FIRST, -FIRST)
        place = q - FIRST
        for knee, gap in zip(self.knees, self.gaps, strict=True):
            place += gap * (q >= knee)
        size = 1 << self.bits
        k, r = place >> self.bits, place & (size - 1)
        bent = (self.bends[k] * (r * (size - r))) >> (2 * self.bits - 8)
        return np.asarray(self.knots[k] * size + (self.knots[k + 1] - self.knots[k]) * r + bent)

    @cached_property
    def entries(self) -> NDArray[np.int64]:
        """The table of 65,536 entries that this stands for."""
        v = self.values()
        rounded = (v + (1 << (POINT - 1)) - 1 + ((v >> POINT) & 1)) >> POINT
        return np.asarray(np.clip(rounded + self.parity, self.lo, self.hi))
