# SPDX-License-Identifier: Apache-2.0
"""Leaky Relu."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import OnnxNode, Sample, Scaled
from .function import Function, Pieces


@dataclass(frozen=True, eq=False)
class LeakyRelu(Function):
    """x where x >= 0, alpha * x elsewhere; by table as integers."""

    alpha: float = 0.01

    onnx = ("LeakyRelu",)
    monotone: ClassVar[int] = 0

    @classmethod
    def parse(cls, node: OnnxNode) -> LeakyRelu:
        return cls(float(node.get("alpha", 0.01)))

    @property
    def lipschitz(self) -> float:
        return max(1.0, abs(self.alpha))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(x >= 0, x, self.alpha * x)

    def smooth_pieces(self) -> Pieces:
        return (0.0, lambda x: self.alpha * x), (inf, lambda x: x)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 24), 7, -128, 127), Scaled(Fraction(1, 26), -100, -128, 127)
        yield Sample(cls(), ((2, 3, 2),), (unit,), out)
