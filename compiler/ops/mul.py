# SPDX-License-Identifier: Apache-2.0
"""Element-wise product of two tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported
from .channel_affine import ChannelAffine


@dataclass(frozen=True, eq=False)
class Mul(Op):
    """(a - za) * (b - zb). As floats: a * b. One requantisation follows."""

    za: int = 0
    zb: int = 0

    onnx = ("Mul", "Div")
    accumulates = True

    @classmethod
    def parse(cls, node: OnnxNode) -> Op:
        found = ChannelAffine.of_node(node)
        if found is not None:
            return found
        if node.op_type == "Div":
            raise Unsupported("Div of two computed tensors", "a constant divisor")
        return cls()

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0] if len(shapes) == 2 and shapes[0] == shapes[1] else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.multiply(xs[0], xs[1], self.za, self.zb)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        a, b = Scaled(Fraction(1, 32), -4, -128, 127), Scaled(Fraction(5, 128), 10, -128, 127)
        yield Sample(cls(), ((2, 3, 3), (2, 3, 3)), (a, b), Scaled(Fraction(1, 8), 1, -128, 127))
        yield Sample(cls(), ((4,), (4,)), (a, a), Scaled(Fraction(1, 16), 0, -128, 127))
