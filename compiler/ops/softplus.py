# SPDX-License-Identifier: Apache-2.0
"""Softplus."""

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
class Softplus(Function):
    """log(1 + exp(x)); by table as integers. Its slope is a sigmoid."""

    onnx = ("Softplus",)
    monotone: ClassVar[int] = 1

    @property
    def lipschitz(self) -> float:
        return 1.0

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 32), 3, -128, 127), Scaled(Fraction(1, 60), -128, -128, 127)
        yield Sample(cls(), ((2, 3, 2),), (unit,), out)
