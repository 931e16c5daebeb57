# SPDX-License-Identifier: Apache-2.0
"""Error function: exporters before opset 20 write Gelu with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import erf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Sample, Scaled
from .function import Function


@dataclass(frozen=True, eq=False)
class Erf(Function):
    """erf(x); by table as integers. Its slopes lie between 0 and 2 / sqrt(pi) < 1.13."""

    onnx = ("Erf",)
    monotone: ClassVar[int] = 1

    @property
    def lipschitz(self) -> float:
        return 1.13

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.vectorize(erf, otypes=[float])(x))

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 40), -11, -128, 127), Scaled(Fraction(1, 127), 0, -128, 127)
        yield Sample(cls(), ((2, 3, 2),), (unit,), out)
