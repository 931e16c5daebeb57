# SPDX-License-Identifier: Apache-2.0
"""Physical order of every value: what a memory or a stream holds, against the order of the ONNX tensor.

before: Conv -> (8, 4, 4) -> Flatten -> (128,) -> Dense     elements in ONNX order
after:  (8, 4, 4) is kept channels-last; Flatten moves nothing; Dense takes its columns in that order
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph, Node
from ..ops import Conv, Dense, Reshape, Take, Transpose

Order = NDArray[np.int64]


def channels_last(shape: tuple[int, ...]) -> Order:
    """Logical position of each physical element; identity unless the shape is (C, H, W)."""
    flat: Order = np.arange(int(np.prod(shape, dtype=np.int64)))
    return flat.reshape(shape).transpose(1, 2, 0).ravel() if len(shape) == 3 else flat


def orders(graph: Graph) -> dict[str, Order]:
    """order[value][physical position] = logical position, for every value of the graph."""
    found: dict[str, Order] = {}
    for name in graph.inputs:
        shape, readers = graph.values[name].shape, graph.consumers(name)
        moved = readers and all(isinstance(reader.op, Reshape | Take | Transpose) for reader in readers)
        # Inputs come in ONNX order. What is only moved is moved once, or not at all: (H, W, C) to (C, H, W).
        found[name] = np.arange(graph.values[name].size) if moved else channels_last(shape)
    for node in graph.nodes:
        shape = graph.values[node.output].shape
        readers = graph.consumers(node.output)
        if isinstance(node.op, Reshape) and len(shape) != 3 and _only_dense(graph, node.output, readers):
            found[node.output] = found[node.inputs[0]]
        else:
            found[node.output] = channels_last(shape)
    return found


def _only_dense(graph: Graph, value: str, readers: list[Node]) -> bool:
    return value not in graph.outputs and all(isinstance(reader.op, Dense) for reader in readers)


def movement(graph: Graph, node: Node, order: Mapping[str, Order]) -> Order | None:
    """physical_out[i] = physical_in[movement[i]] of an op that moves elements, or the zero point where
    movement[i] is -1; None when nothing moves."""
    assert isinstance(node.op, Reshape | Take | Transpose)
    size = graph.values[node.inputs[0]].size
    logical = np.arange(size)
    if isinstance(node.op, Transpose):
        logical = logical.reshape(node.op.size).transpose(node.op.perm).ravel()
    elif isinstance(node.op, Take):
        logical = node.op.positions.ravel()
    where = np.empty(size + 1, np.int64)
    where[order[node.inputs[0]]] = np.arange(size)
    where[-1] = -1
    moved = where[logical[order[node.output]]]
    return None if np.array_equal(moved, np.arange(size)) else moved


def columns(node: Node, order: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Logical column of each physical column of a layer's weight matrix (O, K): channels innermost."""
    op: Any = node.op
    if isinstance(op, Conv):
        depth = op.weights.shape[1:]
        return np.arange(int(np.prod(depth))).reshape(depth).transpose(1, 2, 0).ravel()
    return np.asarray(order[node.inputs[0]])
