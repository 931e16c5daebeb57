# SPDX-License-Identifier: Apache-2.0
"""Ops that may only end a network: behind them elements are moved at most."""

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
    """The node of a final op whose result, moved at most, is this value of a graph; None for others."""
    node = graph.producer(value)
    while node is not None and moves(node.op):
        node = graph.producer(node.inputs[0])
    return node if node is not None and isinstance(node.op, FINAL) else None
