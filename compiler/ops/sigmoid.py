# SPDX-License-Identifier: Apache-2.0
"""Sigmoid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Sample, Scaled
from .function import Function


@dataclass(frozen=True, eq=False)
class Sigmoid(Function):
    """1 / (1 + exp(-x)); by table as integers."""

    onnx = ("Sigmoid",)
    monotone: ClassVar[int] = 1

    @property
    def lipschitz(self) -> float:
        return 0.25

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 20), 5, -128, 127), Scaled(Fraction(1, 256), -128, -128, 127)
        yield Sample(cls(), ((2, 3, 2),), (unit,), out)
