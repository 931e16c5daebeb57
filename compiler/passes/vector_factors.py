# SPDX-License-Identifier: Apache-2.0
"""Factors and offsets of a vector that follow no layer, on a map of one place: a weight per element.

before: x (C,) -> ChannelAffine -> Clip -> y (C,)
after:  x -> Reshape (C, 1, 1) -> ChannelAffine -> Clip -> Reshape (C,) -> y; without a Clip the same

A Dense would need C x C weights for C numbers. In memory a Reshape moves nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..graph import Graph, Node
from ..ops import ChannelAffine, Clip, Dense, Reshape
from .rewrite import fresh, read_once, rebuild


def vector_factors(graph: Graph, stored: Collection[str] = ()) -> Graph:
    """The graph; what ChannelAffines of vectors it has left fold into a Dense. `stored`: quantised values."""
    nodes: list[Node] = []
    names, values = {node.name for node in graph.nodes}, set(graph.values)
    maps: dict[str, tuple[str, str]] = {}  # what a Clip reads -> the map of it, and how to call its Reshape

    def put(node: Node) -> str:
        nodes.append(replace(node, name=fresh(node.name, names)))
        names.add(nodes[-1].name)
        values.add(node.output)
        return node.output

    for node in graph.nodes:
        source, out = node.inputs[0], node.output
        factor = isinstance(node.op, ChannelAffine) and len(graph.values[out].shape) == 1
        if source not in maps and not (factor and not _folds(graph, source, stored)):
            nodes.append(node)
            continue
        size, inner = graph.values[out].shape[0], fresh(f"{out}.map", values)
        if source in maps:
            source, back = maps.pop(source)
        else:
            seen = fresh(f"{out}.in", values)
            source = put(Node(f"{node.name}.map", Reshape((size, 1, 1)), (source,), seen))
            back = f"{node.name}.line"
            if read_once(graph, out, stored) and isinstance(graph.consumers(out)[0].op, Clip):
                maps[out] = out, back
                inner = out
        nodes.append(replace(node, inputs=(source,), output=inner))
        values.add(inner)
        if inner != out:
            put(Node(back, Reshape((size,)), (inner,), out))
    return rebuild(graph, nodes)


def _folds(graph: Graph, source: str, stored: Collection[str]) -> bool:
    maker = graph.producer(source)
    return maker is not None and isinstance(maker.op, Dense) and read_once(graph, source, stored)
