# SPDX-License-Identifier: Apache-2.0
"""Softmax along the last axis, as the last op of a network; integer by table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranges import INT16
from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported

ONE, WIDE_ONE = 1 << 15, 1 << 24  # exp(0) among 8-bit and among 16-bit integers
FACTOR = 1 << 28  # exp(0) in the two tables whose products are the exponentials of 16-bit integers


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

    Integer: e[i] = table[max(q) - q[i]]; q_out[i] = min(rhe(256 * e[i] / sum e), 255) - 128, so a
    probability is (q_out + 128) / 256. Of 16-bit integers the table has two rows, e[i] is the upper part of a
    product, and q_out = min(rhe(65536 * e[i] / sum e), 65535) - 32768. Without a table (float side) it is
    the function itself.
    """

    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    onnx = ("tinybound.Softmax",)  # written by an expansion
    out: ClassVar[Scaled] = Scaled(Fraction(1, 256), -128, -128, 127)
    wide_out: ClassVar[Scaled] = Scaled(Fraction(1, 1 << 16), INT16[0], *INT16)

    @classmethod
    def parse(cls, node: OnnxNode) -> Softmax:
        if node.shapes[0][-1] > 1 << 15:
            raise Unsupported(f"softmax over {node.shapes[0][-1]} elements", "at most 32768")
        return cls()

    def error(self, count: int) -> float:
        """Largest distance of an integer probability from the real softmax of the same `count` logits.

        The last rounding and the cut at 255 cost at most 1/256; entries of the table are off by at most half,
        the largest by nothing, so quotients of them by at most 0.5 * count / 2^15. Of 16 bits: 1/65536, and a
        product is off by at most 1 + 1/16.
        """
        if self.table.ndim == 2:
            return 1 / 65536 + 1.07 * count / WIDE_ONE
        return 1 / 256 + 0.51 * count / ONE

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.softmax(xs[0], self.table)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        for shape in ((10,), (3, 4)):
            yield Sample(cls(), (shape,), (Scaled(Fraction(1, 16), 3, -128, 127),), cls.out)
