# SPDX-License-Identifier: Apache-2.0
"""Give every sum exactly one activation, and every change of quantisation one too.

before: Conv -> y -> MaxPool                      after: Conv -> y.sum -> Clip(-inf, inf) -> y -> MaxPool
before: Conv -> t -> Relu -> y                    after: the same (t is read by the Relu only)
before: x (quantised A) -> MaxPool -> y (quantised B)
after:  x (A) -> MaxPool -> y.in -> Clip(-inf, inf) -> y (B)

`known` maps values to the quantisation that the model file prescribes. Where only the output of a
reordering op has one, its input takes it over. A prescribed quantisation of a sum whose lowest integer
means 0 is the Relu that quantisers fold away: the Clip added there has lo = 0.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph import Graph, Node, check
from ..ops import Clip, MaxPool, Reshape, Take, Transpose
from ..ops.base import Scaled
from .rewrite import fresh, rebuild

KEEPS = (MaxPool, Reshape, Take, Transpose)  # integers pass through unchanged


def add_activations(graph: Graph, known: dict[str, Scaled]) -> tuple[Graph, dict[str, Scaled]]:
    """The float graph with identity Clips added, and `known` with what follows from it."""
    known = _pull_back(graph, dict(known))
    nodes: list[Node] = []
    values, names = set(graph.values), {node.name for node in graph.nodes}
    for node in graph.nodes:
        readers = graph.consumers(node.output)
        if node.op.accumulates:
            fused = (
                len(readers) == 1 and readers[0].op.activates and node.output not in (*known, *graph.outputs)
            )
            extra = not fused
        else:
            before, after = known.get(node.inputs[0]), known.get(node.output)
            extra = isinstance(node.op, KEEPS) and before is not None and after not in (None, before)
        if not extra:
            nodes.append(node)
            continue
        inner = fresh(f"{node.output}.{'sum' if node.op.accumulates else 'in'}", values)
        name = fresh(f"{node.name}.activation", names)
        values.add(inner)
        names.add(name)
        nodes.append(replace(node, output=inner))
        folded_relu = (
            node.op.accumulates and node.output in known and known[node.output].zero == known[node.output].lo
        )
        clip = Clip(0.0) if folded_relu else Clip()
        nodes.append(Node(name, clip, (inner,), node.output))
    return check(rebuild(graph, nodes), integer=False), known


def _pull_back(graph: Graph, known: dict[str, Scaled]) -> dict[str, Scaled]:
    for node in reversed(graph.nodes):
        source = node.inputs[0]
        alone = len(graph.consumers(source)) == 1 and source not in graph.outputs
        if isinstance(node.op, KEEPS) and node.output in known and source not in known and alone:
            known[source] = known[node.output]
    for node in graph.nodes:
        if isinstance(node.op, KEEPS) and node.inputs[0] in known:
            known.setdefault(node.output, known[node.inputs[0]])
    return known
