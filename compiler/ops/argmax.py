# SPDX-License-Identifier: Apache-2.0
"""ArgMax along the last axis, as the last op of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .base import Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported

MOST = 256  # indices that 8 bits hold


def offset_of(count: int) -> int:
    """What is added to an index: nothing up to 128 of them, else all of int8 is needed."""
    return 0 if count <= MOST // 2 else -MOST // 2


@dataclass(frozen=True, eq=False)
class ArgMax(Op):
    """Index of the largest element of each row, of several the first one, or the last one if `last` is 1.

    Integer: the index plus `offset`, which is its zero point; its scale is 1.
    """

    last: int = 0
    offset: int = 0

    onnx = ("tinybound.ArgMax",)  # written by an expansion

    @classmethod
    def parse(cls, node: OnnxNode) -> ArgMax:
        if node.shapes[0][-1] > MOST:
            raise Unsupported(f"an ArgMax over {node.shapes[0][-1]} elements", f"at most {MOST}")
        return cls(int(bool(node.get("select_last_index", 0))))

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0][:-1] or (1,)

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.argmax(xs[0], self.last, self.offset)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit = Scaled(Fraction(1, 16), 3, -128, 127)
        for last, shape in ((0, (7,)), (1, (3, 4)), (0, (2, 130))):
            yield Sample(cls(last), (shape,), (unit,), Scaled(Fraction(1), offset_of(shape[-1]), -128, 127))
