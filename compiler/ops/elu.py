# SPDX-License-Identifier: Apache-2.0
"""Exponential linear unit."""

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
class Elu(Function):
    """x where x >= 0, alpha * (exp(x) - 1) elsewhere; by table as integers."""

    alpha: float = 1.0

    onnx = ("Elu",)
    monotone: ClassVar[int] = 0

    @classmethod
    def parse(cls, node: OnnxNode) -> Elu:
        return cls(float(node.get("alpha", 1.0)))

    @property
    def lipschitz(self) -> float:
        return max(1.0, abs(self.alpha))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(x >= 0, x, self._below(x))

    def _below(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.alpha * np.expm1(np.minimum(x, 30.0)))  # beyond 0 it goes on

    def smooth_pieces(self) -> Pieces:
        return (0.0, self._below), (inf, lambda x: x)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 32), 3, -128, 127), Scaled(Fraction(1, 34), -90, -128, 127)
        yield Sample(cls(), ((2, 3, 2),), (unit,), out)
