# SPDX-License-Identifier: Apache-2.0
"""Gaussian error linear unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import erf, pi, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import OnnxNode, Sample, Scaled, Unsupported
from .function import Function


@dataclass(frozen=True, eq=False)
class Gelu(Function):
    """x * Phi(x), Phi the normal distribution function; by table as integers.

    `approximate` tanh is the usual formula with tanh. Slopes lie between -0.13 and 1.13 either way.
    """

    approximate: str = "none"

    onnx = ("Gelu",)
    monotone: ClassVar[int] = 0

    @classmethod
    def parse(cls, node: OnnxNode) -> Gelu:
        form = str(node.get("approximate", "none"))
        if form not in ("none", "tanh"):
            raise Unsupported(f"approximate = {form!r}", "none or tanh")
        return cls(form)

    @property
    def lipschitz(self) -> float:
        return 1.13

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.approximate == "tanh":
            return np.asarray(0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))))
        return np.asarray(0.5 * x * (1 + np.vectorize(erf, otypes=[float])(x / sqrt(2))))

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 32), 3, -128, 127), Scaled(Fraction(1, 34), -120, -128, 127)
        yield Sample(cls(), ((2, 3, 2),), (unit,), out)
