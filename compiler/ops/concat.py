# SPDX-License-Identifier: Apache-2.0
"""Concat: tensors one after the other along an axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """The inputs, quantised as the output is, one after the other along `axis` (batch not counted)."""

    axis: int

    onnx = ("Concat",)

    @classmethod
    def parse(cls, node: OnnxNode) -> Concat:
        if any(constant is not None for constant in node.constants):
            raise Unsupported("a Concat with a constant", "computed inputs")
        rank = len(node.shapes[0]) + 1
        axis = int(node.get("axis", 0))
        if not -rank <= axis < rank or axis % rank == 0:
            raise Unsupported(f"axis {axis} of rank {rank}", "another axis than the batch axis")
        return cls(axis % rank - 1)

    def shape(self, *shapes: Shape) -> Shape:
        rest = {(*shape[: self.axis], *shape[self.axis + 1 :]) for shape in shapes}
        if len(rest) != 1 or len({len(shape) for shape in shapes}) != 1 or self.axis >= len(shapes[0]):
            return ()
        whole = sum(shape[self.axis] for shape in shapes)
        return (*shapes[0][: self.axis], whole, *shapes[0][self.axis + 1 :])

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.concat(xs, self.axis)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        a, b = Scaled(Fraction(1, 32), -4, -128, 127), Scaled(Fraction(5, 128), 10, -128, 127)
        out = Scaled(Fraction(1, 24), 1, -128, 127)
        for axis, shapes in (
            (0, ((2, 3, 4), (1, 3, 4), (3, 3, 4))),
            (1, ((2, 3, 4), (2, 1, 4))),
            (2, ((2, 3, 4), (2, 3, 2))),
            (0, ((3,), (5,))),
            (1, ((3, 2), (3, 4))),
        ):
            yield Sample(cls(axis), shapes, (a, b, a)[: len(shapes)], out)
