# SPDX-License-Identifier: Apache-2.0
"""Pointwise functions of the float network: values in float64, and the range of their slopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, pi, sqrt

import numpy as np

from .layers import Layer
from .rounding import Floats

NAMES = {"HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Gelu", "Trunc", "Sign"}
NAMES |= {"Elu", "Erf", "Softplus"}


@dataclass(frozen=True)
class Function:
    """value(x) to a few units in the last place; every difference quotient lies in `slopes`, unless it jumps
    (upwards): then no slopes bound it, and they are 0."""

    value: Callable[[Floats], Floats]
    slopes: tuple[float, float]
    jumps: bool = False

    @property
    def monotone(self) -> bool:
        """Whether ends are taken at ends."""
        return self.slopes[0] >= 0 or self.slopes[1] <= 0


def function(layer: Layer) -> Function:
    """The function of a float layer. Slopes: sigmoid at most 1/4; swish in [-1/2, 3/2]; gelu, erf 1.13."""
    f = layer.fields
    match layer.op:
        case "HardSigmoid":
            a, b = f["alpha"], f["beta"]
            return Function(lambda x: np.clip(a * x + b, 0.0, 1.0), (min(a, 0.0), max(a, 0.0)))
        case "Sigmoid":
            return Function(lambda x: 0.5 + 0.5 * np.tanh(0.5 * x), (0.0, 0.25))
        case "Tanh":
            return Function(np.tanh, (0.0, 1.0))
        case "LeakyRelu":
            a = f["alpha"]
            steep = max(1.0, abs(a))
            return Function(lambda x: np.where(x >= 0, x, a * x), (-steep, steep))
        case "Elu":
            a = f["alpha"]
            steep = max(1.0, abs(a))
            return Function(lambda x: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0.0))), (-steep, steep))
        case "Erf":
            return Function(_erf, (0.0, 1.13))
        case "Softplus":
            return Function(lambda x: np.asarray(np.logaddexp(x, 0.0)), (0.0, 1.0))
        case "Trunc":
            a, b = f["factor"], f["offset"]
            return Function(lambda x: a * x + b, (0.0, a))
        case "Sign":
            size = f["scale"]
            return Function(lambda x: np.where(x >= 0, size, -size), (0.0, 0.0), jumps=True)
        case "HardSwish":
            return Function(lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0), (-1.5, 1.5))
        case _:
            return Function(_gelu_tanh if f["approximate"] == "tanh" else _gelu, (-1.13, 1.13))


def _erf(x: Floats) -> Floats:
    return np.array([erf(v) for v in x.ravel().tolist()]).reshape(x.shape)


def _gelu(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1 + _erf(x / sqrt(2))))


def _gelu_tanh(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))))
