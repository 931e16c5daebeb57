# SPDX-License-Identifier: Apache-2.0
"""Softmax along the last axis, as the last op of a network; integer by table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported

ONE = 1 << 15


def exponentials(scale: Fraction) -> NDArray[np.int64]:
    """table[k] = round(2^15 * exp(-k * scale)), k = 0..255, at least 0; table[0] = 2^15."""
    return np.asarray(np.rint(ONE * np.exp(-np.arange(256) * float(scale))), np.int64)


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """p[i] = exp(x[i]) / sum exp(x), of a vector or of each row of a matrix.

    Integer: e[i] = table[max(q) - q[i]]; q_out[i] = min(rhe(256 * e[i] / sum e), 255) - 128, so a
    probability is (q_out + 128) / 256. Without a table (float side) it is the function itself.
    """

    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    onnx = ("tinybound.Softmax",)  # written by an expansion
    out: ClassVar[Scaled] = Scaled(Fraction(1, 256), -128, -128, 127)

    @classmethod
    def parse(cls, node: OnnxNode) -> Softmax:
        if node.shapes[0][-1] > 1 << 15:
            raise Unsupported(f"softmax over {node.shapes[0][-1]} elements", "at most 32768")
        return cls()

    def error(self, count: int) -> float:
        """Largest distance of an integer probability from the real softmax of the same `count` logits.

        The last rounding and the cut at 255 cost at most 1/256; entries of the table are off by at most half,
        the largest by nothing, so quotients of them by at most 0.5 * count / 2^15.
        """
        return 1 / 256 + 0.51 * count / ONE

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.softmax(xs[0], self.table)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        for shape in ((10,), (3, 4)):
            yield Sample(cls(), (shape,), (Scaled(Fraction(1, 16), 3, -128, 127),), cls.out)
