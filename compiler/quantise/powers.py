# SPDX-License-Identifier: Apache-2.0
"""Snap weights to signed powers of two: 0, +-1, +-2, ... +-64 times a scale per output channel."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scales import float32_scale

TOP = 64


def nearest(units: NDArray[np.float64]) -> NDArray[np.int64]:
    """The nearest of 0, +-2^0 ... +-2^6; between 2^k and 2^(k+1) the threshold is 1.5 * 2^k."""
    size = np.abs(units)
    exponent = np.floor(np.log2(np.maximum(size, 0.5) / 0.75))
    snapped = np.where(size < 0.5, 0.0, 2.0 ** np.clip(exponent, 0, 6))
    return np.asarray(np.copysign(snapped, units)).astype(np.int64)


def snap(
    weights: NDArray[Any], *, power_of_two: bool = False
) -> tuple[NDArray[np.int64], tuple[Fraction, ...]]:
    """Integers in {0, +-2^0 ... +-2^6} and the scale per output channel with the least squared error.

    Only scales within a factor of two matter (powers of two are self-similar): a grid of 64 is tried.
    """
    rows = weights.reshape(weights.shape[0], -1)
    integers = np.zeros(rows.shape, np.int64)
    scales = []
    for i, row in enumerate(rows):
        peak = float(np.abs(row).max())
        grid = [1.0] if power_of_two else np.linspace(0.7, 1.4, 64)
        tries = [float32_scale(peak / TOP * g, power_of_two=power_of_two) for g in grid]
        errors = [float(((row - float(s) * nearest(row / float(s))) ** 2).sum()) for s in tries]
        best = tries[int(np.argmin(errors))]
        integers[i] = nearest(row / float(best))
        scales.append(best)
    return integers.reshape(weights.shape), tuple(scales)
