# SPDX-License-Identifier: Apache-2.0
"""Softmax along the last axis; integer by table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranges import INT16
from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported

ONE, WIDE_ONE = 1 << 15, 1 << 24  # exp(0) among 8-bit and among 16-bit integers
FACTOR = 1 << 28  # exp(0) in the two tables whose products are the exponentials of 16-bit integers
LONGEST = 1 << 14  # elements of a row: twice a sum of exponentials, made larger by `extra`, has 31 bits
FINEST = Fraction(1, 1 << 24)  # scale of probabilities: what exponentials can tell apart
EXTRA_BITS = 24


def exponentials(scale: Fraction) -> NDArray[np.int64]:
    """table[k] = round(2^15 * exp(-k * scale)), k = 0..255, at least 0; table[0] = 2^15."""
    return np.asarray(np.rint(ONE * np.exp(-np.arange(256) * float(scale))), np.int64)


def wide_exponentials(scale: Fraction) -> NDArray[np.int64]:
    """(2, 256): round(2^28 * exp(-256 * k * scale)), then round(2^28 * exp(-k * scale)), k = 0..255."""
    steps = np.arange(256) * np.array([[256.0], [1.0]])
    return np.asarray(np.rint(FACTOR * np.exp(-steps * float(scale))), np.int64)


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """p[i] = exp(x[i]) / sum exp(x), of a vector or of each row of a matrix.

    Integer: e[i] = table[max(q) - q[i]]; where integers of 16 bits are read or written the table has two rows
    and e[i] is the upper part of a product. A probability is scale * (q_out - zero); 2^bits * scale is
    1 + extra / 2^24 at least 1 and below 2, and

        q_out = min(rhe(2^bits * e[i] / d) + zero, top), d = s + floor((extra * s + 2^23) / 2^24), s = sum e

    Without a table (float side) it is the function itself.
    """

    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    bits: int = 8
    extra: int = 0
    zero: int = -128
    top: int = 127

    onnx = ("tinybound.Softmax",)  # written by an expansion
    out: ClassVar[Scaled] = Scaled(Fraction(1, 256), -128, -128, 127)
    wide_out: ClassVar[Scaled] = Scaled(Fraction(1, 1 << 16), INT16[0], *INT16)

    @classmethod
    def parse(cls, node: OnnxNode) -> Softmax:
        if node.shapes[0][-1] > LONGEST:
            raise Unsupported(f"softmax over {node.shapes[0][-1]} elements", f"at most {LONGEST}")
        return cls()

    @classmethod
    def of(cls, read: Scaled, written: Scaled) -> Softmax:
        """The integer one, for scales of probabilities from FINEST to 1; `written.lo` must not cut."""
        table = (wide_exponentials if read.wide or written.wide else exponentials)(read.scale)
        bits = next(b for b in range(64) if written.scale * (1 << b) >= 1)
        extra = round((written.scale * (1 << bits) - 1) * (1 << EXTRA_BITS))
        if extra == 1 << EXTRA_BITS:  # so little below a power of two that it is one
            bits, extra = bits - 1, 0
        return cls(table, bits, extra, written.zero, written.hi)

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.softmax(xs[0], self.table, self.bits, self.extra, self.zero, self.top)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        read = Scaled(Fraction(1, 16), 3, -128, 127)
        yield Sample(cls(), ((10,),), (read,), cls.out)
        yield Sample(cls(), ((3, 4),), (read,), replace(cls.out, scale=Fraction(float(np.float32(1 / 255)))))
        yield Sample(cls(), ((2, 5),), (read,), Scaled(Fraction(1, 300), -90, -128, 101))
