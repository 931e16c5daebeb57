# SPDX-License-Identifier: Apache-2.0
"""Take: elements at constant positions. Slice, Split, Pad, Expand, Tile and Gather are written as it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from .base import Array, Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported


@dataclass(frozen=True, eq=False)
class Take(Op):
    """y[i] = x[positions[i]] on an input of shape `size`; -1 reads `pad`: a real number, or its integer.

    `positions` are flat and have the shape of the output.
    """

    positions: Array
    size: Shape
    pad: float = 0.0

    onnx = ("tinybound.Take",)  # written by expansions only

    @classmethod
    def parse(cls, node: OnnxNode) -> Take:
        positions = node.constants[1]
        if positions is None:
            raise Unsupported("positions that are not constant", "constant positions")
        pad = node.constants[2] if len(node.constants) > 2 else None
        return cls(positions.astype(np.int64), tuple(node.shapes[0]), 0.0 if pad is None else float(pad))

    def shape(self, *shapes: Shape) -> Shape:
        inside = self.positions.size and self.positions.min() >= -1 and self.positions.max() < prod(self.size)
        return self.positions.shape if shapes == (self.size,) and inside else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.gather(xs[0], self.positions, self.pad)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit = Scaled(Fraction(1, 64), 3, -128, 127)
        maps = np.arange(24).reshape(2, 3, 4)
        ragged = np.random.default_rng(7).integers(-1, 24, (3, 5))
        for index in (
            maps[:, ::-2, 1:3],
            np.pad(maps, ((1, 0), (0, 2), (1, 1)), constant_values=-1),
            np.tile(maps, (1, 2, 1)),
            maps[[1, 1, 0], :, 3],
            np.full((2, 2, 2), -1),
            ragged,
        ):
            yield Sample(cls(index, (2, 3, 4)), ((2, 3, 4),), (unit,), unit)
        yield Sample(cls(ragged, (2, 3, 4), -1.234), ((2, 3, 4),), (unit,), unit)
