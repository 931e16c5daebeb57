# SPDX-License-Identifier: Apache-2.0
"""Reshape and Flatten: same elements, same order, another shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """The same elements under shape `target` (without batch axis)."""

    target: Shape

    onnx = ("Reshape", "Flatten")

    @classmethod
    def parse(cls, node: OnnxNode) -> Reshape:
        count = prod(node.shapes[0])
        if node.op_type == "Flatten":
            if node.get("axis", 1) not in (1, -len(node.shapes[0])):
                raise Unsupported(f"axis {node.get('axis', 1)}", "axis = 1")
            return cls((count,))
        target = node.constants[1]
        if target is None:
            raise Unsupported("a shape that is not constant", "a constant shape")
        if node.get("allowzero", 0) and not target.all():
            raise Unsupported("allowzero = 1 and a zero in the shape", "a shape without zeros")
        full = (1, *node.shapes[0])
        sizes = [int(n) for n in target.ravel()]
        kept = [full[i] if n == 0 and i < len(full) else n for i, n in enumerate(sizes)]
        rest = kept[1:]
        known = prod([n for n in rest if n != -1])
        if rest.count(-1) == 1 and known > 0:
            rest[rest.index(-1)] = count // known
        if rest and kept[0] in {1, -1} and -1 not in rest and prod(rest) == count:
            return cls(tuple(rest))
        raise Unsupported(
            f"target shape {sizes} for {count} elements", "a shape that keeps the batch axis first"
        )

    def shape(self, *shapes: Shape) -> Shape:
        return self.target if prod(shapes[0]) == prod(self.target) else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.reshape(xs[0], self.target)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit = Scaled(Fraction(1, 64), 3, -128, 127)
        yield Sample(cls((12,)), ((2, 2, 3),), (unit,), unit)
