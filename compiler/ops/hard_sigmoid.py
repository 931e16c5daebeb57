# SPDX-License-Identifier: Apache-2.0
"""HardSigmoid: a straight line cut off at 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import OnnxNode, Sample, Scaled, Unsupported
from .function import Function, Pieces


@dataclass(frozen=True, eq=False)
class HardSigmoid(Function):
    """max(0, min(1, alpha * x + beta)), alpha >= 0; by table as integers."""

    alpha: float = 0.2
    beta: float = 0.5

    onnx = ("HardSigmoid",)
    monotone: ClassVar[int] = 1

    @classmethod
    def parse(cls, node: OnnxNode) -> HardSigmoid:
        alpha, beta = float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
        if not alpha >= 0:
            raise Unsupported(f"alpha = {alpha}", "alpha >= 0")
        return cls(alpha, beta)

    @property
    def lipschitz(self) -> float:
        return abs(self.alpha)

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(self.alpha * x + self.beta, 0.0, 1.0)

    def smooth_pieces(self) -> Pieces:
        if not self.alpha:
            return super().smooth_pieces()
        first, last = -self.beta / self.alpha, (1 - self.beta) / self.alpha
        return (first, np.zeros_like), (last, lambda x: self.alpha * x + self.beta), (inf, np.ones_like)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit, out = Scaled(Fraction(1, 24), -9, -128, 127), Scaled(Fraction(1, 255), -128, -128, 127)
        yield Sample(cls(), ((3, 2, 2),), (unit,), out)
        yield Sample(cls(0.5, 0.25), ((7,),), (unit,), out)
