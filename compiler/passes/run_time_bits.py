# SPDX-License-Identifier: Apache-2.0
"""The network as it runs at fewer activation bits: every pool layer drops the low bits of its input.

before: Conv[pool64] reads q            after: Conv[pool64, bits = B] reads q with its low 8 - B bits cleared
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..graph import Graph
from .derive_ranges import derive_ranges

REPORTED = (8, 6, 4, 2)  # each with a certificate and a count of its own


def with_bits(graph: Graph, bits: int) -> Graph:
    """The integer graph at `bits` activation bits (8: unchanged). Ranges are derived again."""
    if bits == 8:
        return graph
    nodes = []
    for node in graph.nodes:
        op: Any = node.op
        nodes.append(replace(node, op=replace(op, bits=bits)) if node.code == "pool64" else node)
    cut = Graph(graph.name, graph.inputs, graph.outputs, tuple(nodes), graph.values)
    spans, units = {}, {}
    for value in graph.values.values():
        assert value.range is not None and value.quant is not None
        spans[value.name], units[value.name] = (value.range.lo, value.range.hi), value.quant
    return derive_ranges(cut, spans, units)


def reported(graph: Graph) -> tuple[int, ...]:
    """The numbers of activation bits that reports, certificates and headers speak of."""
    return REPORTED if has_bits(graph) else REPORTED[:1]


def has_bits(graph: Graph) -> bool:
    """Whether any layer's precision can be chosen at run time."""
    return any(node.code == "pool64" for node in graph.nodes)
