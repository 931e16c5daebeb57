# SPDX-License-Identifier: Apache-2.0
"""QONNX's Trunc: a quantised value loses its low bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import OnnxNode, Sample, Scaled, Unsupported
from .function import Function

ROUNDINGS: dict[str, Callable[[Fraction], int]] = {"ROUND": round, "CEIL": ceil, "FLOOR": floor}


@dataclass(frozen=True, eq=False)
class Trunc(Function):
    """factor * x + offset as real numbers; by table: `rounding` of steps with the zero point added.

    The factor is a power of two, so that the float64 product is exact.
    """

    factor: float = 0.5
    offset: float = 0.0
    rounding: str = "FLOOR"

    onnx = ("tinybound.Trunc",)  # written by an expansion
    monotone: ClassVar[int] = 1

    @classmethod
    def parse(cls, node: OnnxNode) -> Trunc:
        _, factor, offset = node.constants
        if factor is None or offset is None:
            raise Unsupported("a Trunc without constants", "another export")
        return cls(float(factor), float(offset), str(node.get("rounding", "FLOOR")))

    @property
    def lipschitz(self) -> float:
        return self.factor

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.factor * x + self.offset)

    def entry(self, steps: Fraction, zero: int) -> int:
        return ROUNDINGS[self.rounding](steps + zero)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 16), 0, -128, 127), Scaled(Fraction(1, 16), 3, -32, 31)
        for i, rounding in enumerate(ROUNDINGS):
            yield Sample(cls(0.25, i / 8, rounding), ((2, 3, 2),), (unit,), out)
