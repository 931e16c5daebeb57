# SPDX-License-Identifier: Apache-2.0
"""Scales inside a quantised model, of values that its file does not quantise.

Exact where that is possible: a Clip of a stored value keeps the integers of that value, and what is only
moved until it is stored or joined has the scale of that, also with its sign turned round twice (a Min). Of a
PRelu, max(x, 0) + slope * min(x, 0), one term is always 0: with the scale of the sum the second term is the
sum, rounded once. Elsewhere a range, within which nothing saturates that the file does not saturate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..domains.exact import Exact
from ..graph import Graph, Node
from ..ops import Add, Clip, Concat, Conv, Dense, MatMul
from ..ops.base import Scaled
from ..passes.activations import KEEPS


def exact_scales(graph: Graph, known: Mapping[str, Scaled]) -> dict[str, Scaled]:
    """Values that `known` does not quantise, with scales that lose nothing."""
    found: dict[str, Scaled] = {}
    for node in graph.nodes:
        if node.output in known:
            continue
        if isinstance(node.op, Clip | Concat):
            before = "" if isinstance(node.op, Concat) else node.inputs[0]  # its parts may have other scales
            source = known.get(before) or found.get(before) or _ahead(graph, node, known)
            if source is not None:
                found[node.output] = source.whole
        elif isinstance(node.op, Add) and node.op.mb == 1:
            total = known.get(graph.consumers(node.output)[0].output)
            scaled = _slope(graph, node)
            if total is not None and scaled:
                found[scaled] = total.whole
    return found


def _ahead(graph: Graph, node: Node, known: Mapping[str, Scaled]) -> Scaled | None:
    """How the file stores what it only moves, joins and turns round behind a node."""
    turned = False
    while node.output not in (*known, *graph.outputs) and len(graph.consumers(node.output)) == 1:
        (node,) = graph.consumers(node.output)
        free = isinstance(node.op, Clip) and (node.op.lo, node.op.hi) == (-np.inf, np.inf)
        if _negates(node):
            turned, free = not turned, True
        if not free and not isinstance(node.op, (*KEEPS, Concat)):
            return None
    found = known.get(node.output)
    if found is None or not turned:
        return found
    return replace(found, zero=-1 - found.zero, lo=-1 - found.hi, hi=-1 - found.lo)  # -y is stored as -1 - q


def _negates(node: Node) -> bool:
    """Whether a node turns the sign of every element: a Min, written as a Max, does so twice."""
    if not isinstance(node.op, Conv) or not _scales(node.op):
        return False
    return bool((node.op.weights == -1).all())


def summed(graph: Graph) -> set[str]:
    """Values that are sums of products: what intervals reach hardly ever occurs, samples show what does."""
    sums = {node.output for node in graph.nodes if _sums(node)}
    return sums | {node.output for node in graph.nodes if node.inputs[0] in sums}


def _sums(node: Node) -> bool:
    """Whether a node adds products up, not only multiplies each element by a constant."""
    if isinstance(node.op, MatMul):
        return True
    if not isinstance(node.op, Conv | Dense):
        return False
    rows = node.op.weights.reshape(len(node.op.weights), -1)
    return bool(np.count_nonzero(rows, axis=1).max() > 1)


def _scales(op: Conv) -> bool:
    """Whether each element stays where it is, times a constant."""
    still = op.weights.shape == (op.groups, 1, 1, 1) and not any(op.pads) and op.strides == (1, 1)
    return still and not op.bias.any()


def _slope(graph: Graph, total: Node) -> str:
    """The value slope * min(x, 0) that a sum adds to max(x, 0), element by element; empty: there is none."""
    for one, other in (total.inputs, total.inputs[::-1]):
        above, path = graph.producer(other), _back(graph, one)
        if above is None or not path or not isinstance(above.op, Clip):
            continue
        below, (scaled, *_) = path[-1], [node for node in path if isinstance(node.op, Clip)]
        assert isinstance(below.op, Clip) and isinstance(scaled.op, Clip)
        free = (scaled.op.lo, scaled.op.hi) == (-np.inf, np.inf)
        if above.inputs != below.inputs or above.op.lo != 0 or below.op.hi != 0 or not free:
            continue
        places = np.arange(graph.values[below.output].size).reshape(graph.values[below.output].shape)
        moved = places
        for node in path[-2::-1]:
            moved = node.op.meaning(Exact(), moved) if isinstance(node.op, KEEPS) else moved
        if np.array_equal(moved, places):
            return scaled.output
    return ""


def _back(graph: Graph, value: str) -> list[Node]:
    """The nodes from a factor per element back to the Clip in front of it; empty: there is no such path."""
    path: list[Node] = []
    for wanted in (Clip, Conv, Clip):
        while True:
            node = graph.producer(value)
            alone = len(graph.consumers(value)) == 1 and value not in graph.outputs
            if node is None or not alone or not isinstance(node.op, (*KEEPS, wanted)):
                return []
            path.append(node)
            value = node.inputs[0]
            if isinstance(node.op, wanted):
                break
        if isinstance(node.op, Conv) and not _scales(node.op):
            return []
    return path
