# SPDX-License-Identifier: Apache-2.0
"""Extremes of a table's entries over many ranges of positions at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Pair = tuple[NDArray[Any], NDArray[Any]]


def between(first: Ints, last: Ints, ends: Pair) -> Pair:
    """Least of ends[0] and greatest of ends[1] over positions first..last, per element (sparse table)."""
    low, high = [ends[0]], [ends[1]]
    level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
    for k in range(int(level.max(initial=0))):
        low.append(np.minimum(low[-1][: -(1 << k)], low[-1][1 << k :]))
        high.append(np.maximum(high[-1][: -(1 << k)], high[-1][1 << k :]))
    least, most = np.empty(first.shape, ends[0].dtype), np.empty(first.shape, ends[1].dtype)
    for k in np.unique(level):
        here = level == k
        a, b = first[here], last[here] - (1 << int(k)) + 1
        least[here] = np.minimum(low[k][a], low[k][b])
        most[here] = np.maximum(high[k][a], high[k][b])
    return least, most
