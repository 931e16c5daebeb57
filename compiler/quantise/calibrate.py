# SPDX-License-Identifier: Apache-2.0
"""Ranges of every float value over calibration inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import run
from ..errors import CompileError
from ..graph import Graph

Ranges = dict[str, tuple[float, float]]


def calibrate(graph: Graph, samples: Mapping[str, NDArray[Any]]) -> Ranges:
    """(min, max) of each value over N samples per graph input, arrays N x shape."""
    counts = {name: len(array) for name, array in samples.items()}
    if not counts or min(counts.values()) == 0:
        raise CompileError("calibration", "no samples", "at least one input", "--calibration X.npz")
    count = min(counts.values())
    ranges: Ranges = {}
    for i in range(count):
        values = run(graph, {name: np.asarray(array[i], np.float64) for name, array in samples.items()})
        for name, value in values.items():
            lo, hi = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(lo, float(value.min())), max(hi, float(value.max())))
    broken = [name for name, ends in ranges.items() if not np.isfinite(ends).all()]
    if broken:
        raise CompileError("calibration", f"{broken[0]!r} is not finite on the samples", "finite activations")
    return ranges


def samples_of_box(lower: NDArray[Any], upper: NDArray[Any], count: int, seed: int = 0) -> NDArray[np.float64]:
    """Inputs in a box (shape): a quarter of the coordinates at each end, half of them random; N x shape."""
    rng = np.random.default_rng(seed)
    inside = rng.uniform(size=(count, *lower.shape))
    end = rng.uniform(size=inside.shape)
    mix = np.where(end < 0.25, 0.0, np.where(end > 0.75, 1.0, inside))
    return np.asarray(lower + mix * (upper - lower))
