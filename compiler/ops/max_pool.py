# SPDX-License-Identifier: Apache-2.0
"""Max pooling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported
from .window import Pads, Pair, im2col, output_size, parse_window


@dataclass(frozen=True, eq=False)
class MaxPool(Op):
    """Maximum over a window of a (C, H, W) input of `size`; padding never wins."""

    size: tuple[int, int, int]
    kernel: Pair
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)

    onnx = ("MaxPool",)
    spatial = True

    @classmethod
    def parse(cls, node: OnnxNode) -> MaxPool:
        kernel = tuple(node.get("kernel_shape", ()))
        if node.get("ceil_mode", 0):
            raise Unsupported("ceil_mode = 1", "explicit pads")
        mode = node.get("auto_pad", "NOTSET")
        if mode.startswith("SAME") and max(node.get("dilations", (1,))) > 1:
            # ONNX Runtime pads as if there were no dilations, the specification does not.
            raise Unsupported(f"auto_pad {mode!r} with dilations", "explicit pads")
        op = cls(kernel=kernel, **parse_window(node, kernel))
        if (op._index() < 0).all(axis=1).any():
            raise Unsupported("a window that holds padding only", "smaller pads")
        return op

    def _index(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return im2col(self.size, self.kernel, self.strides, self.dilations, self.pads)

    def shape(self, *shapes: Shape) -> Shape:
        if shapes != (self.size,):
            return ()
        return (
            self.size[0],
            *output_size(self.size[1:], self.kernel, self.strides, self.dilations, self.pads),
        )

    def meaning(self, d: Domain, *xs: Any) -> Any:
        index = self._index()
        # A padded tap reads the window's first real tap again: it cannot change the maximum.
        first = np.take_along_axis(index, (index >= 0).argmax(axis=1)[:, None, :], axis=1)
        taps = d.gather(xs[0], np.where(index >= 0, index, first), 0)
        return d.reshape(d.max(taps, 1), self.shape(self.size))

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit = Scaled(Fraction(1, 64), 3, -128, 127)
        yield Sample(cls((3, 4, 6), (2, 2), (2, 2)), ((3, 4, 6),), (unit,), unit)
        yield Sample(cls((2, 5, 5), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)), ((2, 5, 5),), (unit,), unit)
