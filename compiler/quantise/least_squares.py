# SPDX-License-Identifier: Apache-2.0
"""Few-bit weights: the scale per output channel with the least squared error, found exactly.

For scale s the best integers are q = clip(rint(w / s), low, high); for integers q the best scale is
<w, q> / <q, q>, which leaves <w, w> - <w, q>^2 / <q, q>. While 1 / s grows from 0, one entry of q after
the other grows by one: K * (high or -low) integer vectors, among them the best. Their error is a running
sum, so all of them are tried (the aim of OMSE, Choukroun et al., ICCVW 2019; a grid there).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scales import float32_scale

INT4 = (-8, 7)
NOTHING = 2.0**-64  # of the largest weight: rounds to 0 at every scale worth trying


def round_to(units: NDArray[np.float64], low: int, high: int) -> NDArray[np.int64]:
    """The nearest integers in low ... high."""
    return np.clip(np.rint(units), low, high).astype(np.int64)


def best_scale(row: NDArray[np.float64], low: int, high: int) -> float:
    """The scale that leaves the least squared error over all real scales; 0 for a row of zeros."""
    peak = float(np.abs(row).max())
    if peak == 0:
        return 0.0
    entries = row[np.abs(row) > peak * NOTHING] / peak
    size, most = np.abs(entries), np.where(entries > 0, high, -low)
    steps = np.arange(1, max(high, -low) + 1)
    at = (steps - 0.5)[:, None] / size  # 1 / s where an entry reaches this step
    reached = steps[:, None] <= most
    order = np.argsort(at[reached], kind="stable")
    dot = np.cumsum(np.broadcast_to(size, at.shape)[reached][order])
    energy = np.cumsum(np.broadcast_to(2 * steps[:, None] - 1, at.shape)[reached][order])
    best = int(np.argmax(dot / energy * dot))
    return peak * float(dot[best] / energy[best])


def squared_error(row: NDArray[np.float64], scale: Fraction, low: int, high: int) -> float:
    """Of a row at a scale."""
    return float(((row - float(scale) * round_to(row / float(scale), low, high)) ** 2).sum())


def fit(
    weights: NDArray[Any], low: int, high: int, *, power_of_two: bool = False
) -> tuple[NDArray[np.int64], tuple[Fraction, ...]]:
    """Integers in low ... high (low < 0 < high) and float32 scales, or the best powers of two."""
    rows = weights.reshape(weights.shape[0], -1).astype(np.float64)
    integers, scales = np.zeros(rows.shape, np.int64), []
    for i, row in enumerate(rows):
        scale = float32_scale(best_scale(row, low, high), power_of_two=False)
        if power_of_two:
            peak = float(np.abs(row).max())
            tries = [float32_scale(peak * 2.0**-k, power_of_two=True) for k in range(-1, 12)]
            scale = min(tries, key=lambda s: squared_error(row, s, low, high))
        integers[i] = round_to(row / float(scale), low, high)
        scales.append(scale)
    return integers.reshape(weights.shape), tuple(scales)
