# SPDX-License-Identifier: Apache-2.0
"""Test vectors: edge values beside random ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph, Value
from ..ranges import UINT8

RAMP = (37, 9377)  # steps of a ramp, of 8 and of 16 bits


def edge_vectors(value: Value) -> NDArray[np.int64]:
    """All lowest, all highest, all zero point, alternating extremes, a ramp; N x shape."""
    assert value.quant is not None
    count, (lo, hi) = value.size, value.ends
    places = np.arange(count)
    rows = [
        np.full(count, lo),
        np.full(count, hi),
        np.full(count, value.quant.zero),
        np.where(places % 2 == 0, lo, hi),
        np.where(places % 2 == 0, hi, lo),
        (places * RAMP[hi - lo > UINT8[1]]) % (hi - lo + 1) + lo,
    ]
    return np.array(rows, np.int64).reshape(len(rows), *value.shape)


def test_vectors(graph: Graph, count: int, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """`count` integer vectors per input: the edge vectors first, then uniform random ones."""
    rng = np.random.default_rng(seed)
    vectors = {}
    for name in graph.inputs:
        value = graph.values[name]
        edges = edge_vectors(value)[:count]
        free = rng.integers(value.ends[0], value.ends[1] + 1, (count - len(edges), *value.shape))
        vectors[name] = np.concatenate([edges, free])
    return vectors
