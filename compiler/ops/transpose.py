# SPDX-License-Identifier: Apache-2.0
"""Transpose: the same elements with permuted axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported


@dataclass(frozen=True, eq=False)
class Transpose(Op):
    """Axes of an input of shape `size` (without batch axis) permuted by `perm`."""

    size: Shape
    perm: tuple[int, ...]

    onnx = ("Transpose",)

    @classmethod
    def parse(cls, node: OnnxNode) -> Transpose:
        rank = len(node.shapes[0]) + 1
        perm = tuple(node.get("perm", tuple(reversed(range(rank)))))
        if sorted(perm) != list(range(rank)):
            raise Unsupported(f"perm {perm}", f"a permutation of {rank} axes")
        if perm[0] != 0:
            raise Unsupported(f"perm {perm} moves the batch axis", "a permutation that keeps axis 0")
        return cls(tuple(node.shapes[0]), tuple(axis - 1 for axis in perm[1:]))

    def shape(self, *shapes: Shape) -> Shape:
        return tuple(self.size[axis] for axis in self.perm) if shapes == (self.size,) else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.gather(xs[0], np.arange(prod(self.size)).reshape(self.size).transpose(self.perm), 0)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit = Scaled(Fraction(1, 64), 3, -128, 127)
        yield Sample(cls((2, 3, 4), (1, 2, 0)), ((2, 3, 4),), (unit,), unit)
