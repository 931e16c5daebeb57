# SPDX-License-Identifier: Apache-2.0
"""QONNX's BipolarQuant of an activation: the sign, times a scale."""

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
class Sign(Function):
    """scale where x >= 0, -scale elsewhere: of the float network too, which would mean something else
    without it. The only function with a jump: no slope bounds it."""

    scale: float = 1.0

    onnx = ("tinybound.Sign",)  # written by an expansion
    monotone: ClassVar[int] = 1
    lipschitz: ClassVar[float] = inf

    @classmethod
    def parse(cls, node: OnnxNode) -> Sign:
        scale = node.constants[1]
        if scale is None:
            raise Unsupported("a sign without a scale", "another export")
        return cls(float(scale))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(x >= 0, self.scale, -self.scale)

    def smooth_pieces(self) -> Pieces:
        return (0.0, lambda x: np.full(x.shape, -self.scale)), (inf, lambda x: np.full(x.shape, self.scale))

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        unit = Scaled(Fraction(1, 16), -5, -128, 127)
        yield Sample(cls(0.375), ((2, 3, 2),), (unit,), Scaled(Fraction(3, 8), 0, -1, 1))
