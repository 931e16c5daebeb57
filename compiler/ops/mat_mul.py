# SPDX-License-Identifier: Apache-2.0
"""Matrix product of two computed tensors: dot products of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported


@dataclass(frozen=True, eq=False)
class MatMul(Op):
    """y[g, m, n] = sum over k of (a[g, m, k] - za) * (b[g, n, k] - zb), of `extents` (G, M, N, K).

    Inputs are rows, (G M, K) and (G N, K), and so is the output, (G M, N). One requantisation follows. Of
    floats `factor` times that; of integers it is part of what a unit means.
    """

    extents: Shape
    za: int = 0
    zb: int = 0
    factor: float = 1

    onnx = ("tinybound.MatMul",)  # written by expansions only
    accumulates = True

    @classmethod
    def parse(cls, node: OnnxNode) -> MatMul:
        groups = int(node.get("group", 1))
        (rows, depth), (columns, other) = node.shapes
        if depth != other or rows % groups or columns % groups:
            raise Unsupported(f"factors {node.shapes[0]} and {node.shapes[1]}", "factors that fit")
        return cls((groups, rows // groups, columns // groups, depth))

    def shape(self, *shapes: Shape) -> Shape:
        groups, rows, columns, depth = self.extents
        fit = shapes == ((groups * rows, depth), (groups * columns, depth))
        return (groups * rows, columns) if fit else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        groups, rows, columns, depth = self.extents
        k, g, m, n = np.ix_(*(np.arange(size) for size in (depth, groups, rows, columns)))
        each = (1, depth, groups * rows * columns)  # every product for itself, then sums over the second axis
        of_a, of_b = ((g * rows + m) * depth + k + 0 * n, (g * columns + n) * depth + k + 0 * m)
        a, b = d.gather(xs[0], of_a.reshape(each), 0), d.gather(xs[1], of_b.reshape(each), 0)
        products, weights = d.multiply(a, b, self.za, self.zb), np.full((1, 1, depth), self.factor)
        sums = d.affine(products, weights, np.zeros((1, 1), np.int64), 0)
        return d.reshape(sums, (groups * rows, columns))

    def macs(self) -> int:
        groups, rows, columns, depth = self.extents
        return groups * rows * columns * depth

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        a, b = Scaled(Fraction(1, 32), -4, -128, 127), Scaled(Fraction(5, 128), 10, -128, 127)
        low, high = Scaled(Fraction(1, 16), -128, -128, 127), Scaled(Fraction(1, 16), 127, -128, 127)
        for extents, one, other, scale in (
            ((1, 3, 2, 5), a, b, Fraction(1, 8)),
            ((2, 2, 3, 4), low, high, Fraction(3, 32)),  # 0 to 255 times -255 to 0
            ((3, 1, 1, 1), b, low, Fraction(1, 16)),
            ((1, 1, 4, 9), a, a, Fraction(1, 256)),  # powers of two; saturates
        ):
            groups, rows, columns, depth = extents
            shapes = (groups * rows, depth), (groups * columns, depth)
            op = cls(extents, factor=0.75 if depth == 4 else 1)
            yield Sample(op, shapes, (one, other), Scaled(scale, 3, -128, 127))
