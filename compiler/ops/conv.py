# SPDX-License-Identifier: Apache-2.0
"""Two-dimensional convolution, grouped and depthwise included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .base import Array, Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported
from .window import Pads, Pair, im2col, output_size, parse_window


@dataclass(frozen=True, eq=False)
class Conv(Op):
    """y[o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] * (x[c, s*i + d*u - p, s*j + d*v - p] - zero).

    weights (O, C / groups, KH, KW), bias (O,), input `size` (C, H, W). Outside the input x equals zero.
    `bits` < 8 clears the low 8 - bits bits of every x, padding included (integer side only).
    """

    weights: Array
    bias: Array
    size: tuple[int, int, int]
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    groups: int = 1
    zero: int = 0
    bits: int = 8

    onnx = ("Conv",)
    accumulates = True
    spatial = True
    weighted = True

    @classmethod
    def parse(cls, node: OnnxNode) -> Conv:
        weights = node.constants[1]
        if weights is None:
            raise Unsupported("weights that are not constant", "weights as an initializer")
        if weights.ndim != 4:
            raise Unsupported(f"a convolution with weights of shape {weights.shape}", "a 2-D convolution")
        if tuple(node.get("kernel_shape", weights.shape[2:])) != weights.shape[2:]:
            raise Unsupported(f"kernel_shape {node.get('kernel_shape', ())} beside weights {weights.shape}")
        bias = node.constants[2] if len(node.constants) > 2 else None
        window = parse_window(node, weights.shape[2:])
        groups = int(node.get("group", 1))
        if weights.shape[1] * groups != window["size"][0] or weights.shape[0] % groups:
            raise Unsupported(f"weights {weights.shape} and group {groups} for input {window['size']}")
        bias = np.zeros(weights.shape[0]) if bias is None else bias
        if bias.shape != weights.shape[:1]:
            raise Unsupported(
                f"a bias of shape {bias.shape} for {weights.shape[0]} outputs", "one per output"
            )
        return cls(weights, bias, groups=groups, **window)

    @property
    def kernel(self) -> Pair:
        """(KH, KW)."""
        return self.weights.shape[2], self.weights.shape[3]

    def shape(self, *shapes: Shape) -> Shape:
        if shapes != (self.size,):
            return ()
        return (
            self.weights.shape[0],
            *output_size(self.size[1:], self.kernel, self.strides, self.dilations, self.pads),
        )

    def meaning(self, d: Domain, *xs: Any) -> Any:
        groups, (outputs, depth) = self.groups, self.weights.shape[:2]
        index = im2col(self.size, self.kernel, self.strides, self.dilations, self.pads)
        patches = d.gather(xs[0], index.reshape(groups, depth * index.shape[1], -1), self.zero)
        if self.bits < 8:
            patches = d.truncate(patches, self.bits)
        rows = self.weights.reshape(groups, outputs // groups, -1)
        sums = d.affine(patches, rows, self.bias.reshape(groups, -1), self.zero)
        return d.reshape(sums, self.shape(self.size))

    def macs(self) -> int:
        """Multiply-accumulates of one inference, padding included."""
        _, height, width = self.shape(self.size)
        return int(self.weights.size) * height * width

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        rng = np.random.default_rng(1)
        unit, out = Scaled(Fraction(1, 64), 3, -128, 127), Scaled(Fraction(1, 16), -5, -128, 127)
        cases: list[tuple[tuple[int, int, int], Shape, dict[str, Any]]] = [
            ((3, 5, 6), (4, 3, 3, 3), {"pads": (1, 1, 1, 1)}),
            ((2, 6, 5), (3, 2, 2, 3), {"strides": (2, 1), "pads": (0, 1, 1, 0), "dilations": (2, 1)}),
            ((4, 4, 4), (8, 1, 3, 3), {"groups": 4, "pads": (1, 1, 1, 1), "strides": (2, 2)}),
            ((8, 3, 3), (5, 8, 1, 1), {}),
        ]
        for size, shape, more in cases:
            op = cls(rng.normal(0, 0.4, shape), rng.normal(0, 0.3, shape[0]), size, **more)
            yield Sample(op, (size,), (unit,), out)
        pooled = cls(rng.normal(0, 0.2, (6, 8, 3, 3)), rng.normal(0, 0.3, 6), (8, 4, 4), pads=(1, 1, 1, 1))
        for code in ("int4", "pot4", "pool64"):
            yield Sample(pooled, ((8, 4, 4),), (unit,), out, code)
