# SPDX-License-Identifier: Apache-2.0
"""HardSwish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Sample, Scaled
from .function import Function, Pieces


@dataclass(frozen=True, eq=False)
class HardSwish(Function):
    """x * max(0, min(1, x / 6 + 1 / 2)); by table as integers."""

    onnx = ("HardSwish",)
    monotone: ClassVar[int] = 0

    @property
    def lipschitz(self) -> float:
        return 1.5

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x * np.clip(x / 6 + 0.5, 0.0, 1.0)

    def smooth_pieces(self) -> Pieces:
        return (-3.0, np.zeros_like), (3.0, lambda x: x * (x / 6 + 0.5)), (inf, lambda x: x)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 30), -20, -128, 127), Scaled(Fraction(1, 40), -110, -128, 127)
        yield Sample(cls(), ((2, 3, 2),), (unit,), out)
