# SPDX-License-Identifier: Apache-2.0
"""Test vectors: edge values beside random ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph, Value


def edge_vectors(value: Value) -> NDArray[np.int64]:
    """All lowest, all highest, all zero point, alternating extremes, a ramp; N x shape."""
    assert value.quant is not None
    count = value.size
    places = np.arange(count)
    rows = [
        np.full(count, -128),
        np.full(count, 127),
        np.full(count, value.quant.zero),
        np.where(places % 2 == 0, -128, 127),
        np.where(places % 2 == 0, 127, -128),
        (places * 37) % 256 - 128,
    ]
    return np.array(rows, np.int64).reshape(len(rows), *value.shape)


def test_vectors(graph: Graph, count: int, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """`count` integer vectors per input: the edge vectors first, then uniform random ones."""
    rng = np.random.default_rng(seed)
    vectors = {}
    for name in graph.inputs:
        value = graph.values[name]
        edges = edge_vectors(value)[:count]
        free = rng.integers(-128, 128, (count - len(edges), *value.shape))
        vectors[name] = np.concatenate([edges, free])
    return vectors
