# SPDX-License-Identifier: Apache-2.0
"""The float activation: Relu, Relu6, Clip, or nothing at all (infinite limits)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import Domain, OnnxNode, Op, Shape, Unsupported

INFINITE = float("inf")


@dataclass(frozen=True, eq=False)
class Clip(Op):
    """min(max(x, lo), hi). Its integer twin is Requantise."""

    lo: float = -INFINITE
    hi: float = INFINITE

    onnx = ("Relu", "Clip")
    activates = True

    @classmethod
    def parse(cls, node: OnnxNode) -> Clip:
        if node.op_type == "Relu":
            return cls(0.0)
        limits = [node.get("min", -INFINITE), node.get("max", INFINITE)]
        for i, shape in enumerate(node.shapes[1:3]):
            constant = node.constants[i + 1]
            if constant is not None:
                limits[i] = float(np.ravel(constant)[0])
            elif shape is not None:
                raise Unsupported("a limit that is not constant", "constant limits")
        if not limits[0] <= limits[1]:
            raise Unsupported(f"limits {limits[0]} and {limits[1]}", "min <= max")
        return cls(float(limits[0]), float(limits[1]))

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.clip(xs[0], self.lo, self.hi)
