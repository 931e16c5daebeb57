# SPDX-License-Identifier: Apache-2.0
"""Element-wise sum or difference of two tensors (a residual connection)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape
from .channel_affine import ChannelAffine


@dataclass(frozen=True, eq=False)
class Add(Op):
    """(a - za) * ma + (b - zb) * mb. As floats: a + b or a - b (mb is 1 or -1). One requantisation follows,
    so only one rounding.

    The integer factors are ma = round(Sa / So * 2^shift), mb likewise; the accumulator may need 64 bits.
    """

    ma: int = 1
    mb: int = 1
    za: int = 0
    zb: int = 0

    onnx = ("Add", "Sub")
    accumulates = True
    wide = True

    @classmethod
    def parse(cls, node: OnnxNode) -> Op:
        return ChannelAffine.of_node(node) or cls(mb=-1 if node.op_type == "Sub" else 1)

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0] if len(shapes) == 2 and shapes[0] == shapes[1] else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.add(xs[0], xs[1], self.ma, self.mb, self.za, self.zb)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        a, b = Scaled(Fraction(1, 32), -4, -128, 127), Scaled(Fraction(5, 128), 10, -128, 127)
        yield Sample(cls(), ((2, 3, 3), (2, 3, 3)), (a, b), Scaled(Fraction(1, 24), 1, -128, 127))
        yield Sample(cls(mb=-1), ((2, 2, 3), (2, 2, 3)), (a, b), Scaled(Fraction(1, 20), -9, -128, 127))
        yield Sample(cls(), ((4,), (4,)), (a, a), Scaled(Fraction(1, 16), 0, -128, 127))
