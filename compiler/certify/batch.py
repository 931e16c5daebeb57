# SPDX-License-Identifier: Apache-2.0
"""Numbers, many inputs at once: the exact domain with a leading batch axis. Used to search, not to prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import Array, Exact
from ..graph import Graph


class Batch(Exact):
    """Words on (N, *shape) arrays."""

    def gather(self, x: Array, index: NDArray[np.int64], pad: float) -> Array:
        flat = np.append(x.reshape(len(x), -1), np.full((len(x), 1), pad, x.dtype), axis=1)
        return flat.take(index, axis=1)  # -1 is what was appended

    def concat(self, xs: Sequence[Array], axis: int) -> Array:
        return np.concatenate(xs, axis=axis + 1)

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return x.reshape(len(x), *shape)

    def max(self, x: Array, axis: int) -> Array:
        return np.asarray(x.max(axis=axis + 1))

    def argmax(self, x: Array, last: int, offset: int) -> Array:
        rows = super().argmax(x, last, offset)
        return rows if x.ndim > 2 else rows.reshape(len(x), 1)

    def requantise(self, x: Array, *how: Any) -> Array:
        swapped = np.moveaxis(x, 0, -1)  # channels first, as the golden model wants them
        return np.moveaxis(super().requantise(swapped, *how), -1, 0)


def evaluate(graph: Graph, inputs: Mapping[str, Array], wanted: list[str]) -> dict[str, Array]:
    """Values of the graph for N inputs; everything else is dropped when it is no longer read."""
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    values: dict[str, Any] = dict(inputs)
    for node in graph.nodes:
        if all(name in values for name in wanted):
            break
        values[node.output] = node.op.meaning(Batch(), *(values[name] for name in node.inputs))
        for name in set(node.inputs):
            if last[name] == node.name and name not in wanted:
                del values[name]
    return {name: values[name] for name in wanted}
