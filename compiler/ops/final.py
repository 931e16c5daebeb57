# SPDX-License-Identifier: Apache-2.0
"""Ops that end a network: behind them elements are moved at most. An ArgMax must, a Softmax may."""

from __future__ import annotations

from typing import Any

import numpy as np

from .argmax import ArgMax
from .base import Op
from .reshape import Reshape
from .softmax import Softmax
from .take import Take
from .transpose import Transpose

FINAL = (ArgMax, Softmax)


def moves(op: Op) -> bool:
    """Whether an op only puts elements elsewhere."""
    return isinstance(op, Reshape | Transpose) or (isinstance(op, Take) and bool(np.all(op.positions >= 0)))


def final(graph: Any, value: str) -> Any:
    """The node of a final op whose result, moved at most, is this value of a graph; None for others, and for
    a Softmax with whose result a layer computes."""
    node = maker(graph, value)
    ends = node is not None and isinstance(node.op, FINAL) and _only_moved(graph, node.output)
    return node if ends else None


def maker(graph: Any, value: str) -> Any:
    """The node that computes a value, whatever moves it afterwards; None for an input."""
    node = graph.producer(value)
    while node is not None and moves(node.op):
        node = graph.producer(node.inputs[0])
    return node


def _only_moved(graph: Any, value: str) -> bool:
    return all(moves(node.op) and _only_moved(graph, node.output) for node in graph.consumers(value))
