# SPDX-License-Identifier: Apache-2.0
"""Scales and zero points from ranges: activations per tensor, weights per output channel."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from ..ops.base import Scaled
from ..ranges import INT16

MAX_SCALE = 2.0**100


def float32_scale(value: float, *, power_of_two: bool) -> Fraction:
    """A scale that a float32 holds exactly, not below `value`'s power of two when one is asked for."""
    if not value > 0 or value < 2.0**-100:
        return Fraction(1)
    if not value <= MAX_SCALE:
        raise CompileError(
            "quantisation", f"a scale of {value:.3g}", "one that a float32 holds", "smaller values"
        )
    if power_of_two:
        return Fraction(2) ** ceil(log2(value) - 1e-12)
    return Fraction(float(np.float32(value)))


def activation(lo: float, hi: float, *, power_of_two: bool = False, wide: bool = False) -> Scaled:
    """int8 quantisation that covers [lo, hi] and holds 0 exactly; `wide`: int16, symmetric around 0."""
    if wide:
        return Scaled(float32_scale(max(-lo, hi, 0.0) / INT16[1], power_of_two=power_of_two), 0, *INT16)
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = float32_scale((hi - lo) / 255, power_of_two=power_of_two)
    zero = round(-128 - Fraction(lo) / scale)
    return Scaled(scale, min(max(zero, -128), 127), -128, 127)


def per_channel(weights: NDArray[Any], top: int, *, power_of_two: bool = False) -> tuple[Fraction, ...]:
    """Scale per output channel so that the largest weight of a channel becomes `top`."""
    peaks = np.abs(weights.reshape(weights.shape[0], -1)).max(axis=1)
    return tuple(float32_scale(float(peak) / top, power_of_two=power_of_two) for peak in peaks)


def divide(weights: NDArray[Any], scales: tuple[Fraction, ...]) -> NDArray[np.float64]:
    """weights / scale per output channel."""
    each = np.array([float(s) for s in scales]).reshape(-1, *(1,) * (weights.ndim - 1))
    return np.asarray(weights / each)
