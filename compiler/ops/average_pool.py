# SPDX-License-Identifier: Apache-2.0
"""Average pooling; a global pool is a window as large as the input. And sums over such windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported
from .window import Pads, Pair, im2col, output_size, parse_window


@dataclass(frozen=True, eq=False)
class AveragePool(Op):
    """Mean over a window, or its sum (`total`); as integers the sum of x - zero: the requantisation divides.

    Input `size` (C, H, W). Padding contributes 0 and is counted (ONNX count_include_pad = 1).
    """

    size: tuple[int, int, int]
    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    zero: int = 0
    total: bool = False

    onnx = ("AveragePool", "GlobalAveragePool", "tinybound.Total")  # the last is written by expansions only
    accumulates = True
    spatial = True

    @classmethod
    def parse(cls, node: OnnxNode) -> AveragePool:
        total = node.op_type == "tinybound.Total"
        whole = total or node.op_type == "GlobalAveragePool"
        kernel = tuple(node.shapes[0][1:]) if whole else tuple(node.get("kernel_shape", ()))
        window: dict[str, Any] = {"kernel": kernel, **parse_window(node, kernel)}
        if node.get("ceil_mode", 0):
            raise Unsupported("ceil_mode = 1", "explicit pads")
        if window["dilations"] != (1, 1) and node.get("auto_pad", "NOTSET").startswith("SAME"):
            raise Unsupported("SAME pads of a window with dilations", "explicit pads")
        if any(window["pads"]) and not node.get("count_include_pad", 0):
            raise Unsupported("padding that is not counted", "count_include_pad = 1, or no padding")
        return cls(**window, total=total)

    def shape(self, *shapes: Shape) -> Shape:
        if shapes != (self.size,):
            return ()
        out = output_size(self.size[1:], self.kernel, self.strides, self.dilations, self.pads)
        return (self.size[0], *out)

    def meaning(self, d: Domain, *xs: Any) -> Any:
        index = im2col(self.size, self.kernel, self.strides, self.dilations, self.pads)
        patches = d.gather(xs[0], index, self.zero)
        taps = self.kernel[0] * self.kernel[1]
        channels = (self.size[0], 1)
        weights = np.ones((*channels, taps), np.int64) if self.total else np.full((*channels, taps), 1 / taps)
        bias = np.zeros(channels, weights.dtype)
        return d.reshape(d.affine(patches, weights, bias, self.zero), self.shape(self.size))

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 64), 3, -128, 127), Scaled(Fraction(1, 80), -5, -128, 127)
        yield Sample(cls((3, 4, 4), (2, 2), (2, 2)), ((3, 4, 4),), (unit,), out)
        yield Sample(cls((2, 5, 3), (5, 3)), ((2, 5, 3),), (unit,), out)
        yield Sample(cls((2, 3, 3), (3, 3), pads=(1, 1, 1, 1)), ((2, 3, 3),), (unit,), out)
        holes = cls((2, 5, 6), (3, 2), (1, 2), (2, 3), (1, 0, 0, 1))
        yield Sample(holes, ((2, 5, 6),), (unit,), out)
