# SPDX-License-Identifier: Apache-2.0
"""The nodes of a file, each behind what it reads: first come first served, however the file has them."""

from __future__ import annotations

from typing import Any

from .files import need

MOST = 1 << 12  # nodes of a file that has to be sorted: the first that is ready is looked for each time


def sort(graph: Any) -> None:
    """In place; rejects nodes that wait for each other."""
    nodes = list(graph.node)
    unmade = {out for node in nodes for out in node.output}
    for node in nodes:
        if not unmade.isdisjoint(node.input):
            break
        unmade -= {*node.output}
    else:
        return
    need(len(nodes) <= MOST, f"float.onnx: {len(nodes)} nodes out of order")
    found, unmade = [], {out for node in nodes for out in node.output if out}
    while nodes:
        at = next((i for i, node in enumerate(nodes) if unmade.isdisjoint(node.input)), None)
        need(at is not None, "float.onnx: nodes that wait for each other")
        assert at is not None
        unmade -= {*nodes[at].output}
        found.append(type(nodes[at]).FromString(nodes.pop(at).SerializeToString()))
    del graph.node[:]
    graph.node.extend(found)
