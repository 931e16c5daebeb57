# SPDX-License-Identifier: Apache-2.0
"""Weight pools: every vector of 8 weights is replaced by one of 64 vectors shared by the whole network.

After Li and Gupta, Bit-serial Weight Pools, MLSys 2022 (arXiv 2201.11651); here with a scale per output
channel, which costs nothing because the requantisation is per channel anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .scales import divide, float32_scale, per_channel

SIZE, WIDTH = 64, 8


def k_means(vectors: NDArray[np.float64], count: int, seed: int = 0, rounds: int = 30) -> NDArray[np.float64]:
    """`count` centres, or all distinct vectors if those are fewer, by Lloyd's iteration; deterministic."""
    distinct = np.unique(vectors, axis=0)
    if len(distinct) <= count:
        return distinct
    rng = np.random.default_rng(seed)
    centres = [vectors[0]]
    gaps = ((vectors - centres[0]) ** 2).sum(axis=1)
    while len(centres) < count:  # k-means++: far vectors are likely starts
        centres.append(vectors[rng.choice(len(vectors), p=gaps / gaps.sum())])
        gaps = np.minimum(gaps, ((vectors - centres[-1]) ** 2).sum(axis=1))
    pool = np.array(centres)
    for _ in range(rounds):
        member = assign(vectors, pool)
        sums = np.zeros_like(pool)
        np.add.at(sums, member, vectors)
        counts = np.bincount(member, minlength=len(pool))[:, None]
        pool = np.where(counts > 0, sums / np.maximum(counts, 1), pool)
    return pool


def assign(vectors: NDArray[np.float64], pool: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest pool vector (Euclidean) for each vector."""
    distance = (pool**2).sum(axis=1) - 2 * vectors @ pool.T
    return np.asarray(distance.argmin(axis=1))


def share(
    layers: Sequence[NDArray[np.float64]], *, power_of_two: bool = False
) -> list[tuple[NDArray[np.int64], tuple[Fraction, ...]]]:
    """Integer weights and scales per output channel for layers given as (O, K), K a multiple of 8.

    Consecutive groups of 8 columns are the vectors; columns stand in physical (channels-last) order.
    """
    first = [per_channel(rows, 127) for rows in layers]
    units = [divide(rows, scale).reshape(-1, WIDTH) for rows, scale in zip(layers, first, strict=True)]
    vectors = np.concatenate(units)
    zero = np.zeros((int(not vectors.any(axis=1).all()), WIDTH))  # pruned weights stay pruned
    pool = np.unique(np.concatenate([np.rint(k_means(vectors, SIZE - len(zero))), zero]), axis=0)
    shared = []
    for rows, scales, parts in zip(layers, first, units, strict=True):
        integers = pool[assign(parts, pool)].reshape(rows.shape)
        fitted = []
        for row, whole, scale in zip(rows, integers, scales, strict=True):
            energy = float(whole @ whole)
            fit = float(row @ whole) / energy if energy else float(scale)
            fitted.append(float32_scale(fit if fit > 0 else float(scale), power_of_two=power_of_two))
        shared.append((integers.astype(np.int64), tuple(fitted)))
    return shared
