# SPDX-License-Identifier: Apache-2.0
"""Give every sum exactly one activation, and every change of quantisation one too.

before: Conv -> y -> MaxPool                      after: Conv -> y.sum -> Clip(-inf, inf) -> y -> MaxPool
before: Conv -> t -> Relu -> y                    after: the same (t is read by the Relu only)
before: x -> Concat(x, y) -> z                    after: x -> Clip(-inf, inf) -> z.in -> Concat -> z, unless
        x is an activation or a Concat that only the Concat reads: it takes the scale of z
before: x (quantised A) -> MaxPool -> y (quantised B)
after:  x (A) -> MaxPool -> y.in -> Clip(-inf, inf) -> y (B)

`known` maps values to the quantisation that the model file prescribes. Where only the output of a
reordering op has one, its input takes it over. A prescribed quantisation of a sum whose lowest integer
means 0 is the Relu that quantisers fold away: the Clip added there has lo = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..graph import Graph, Node, check
from ..ops import Clip, Concat, MaxPool, Reshape, Take, Transpose
from ..ops.base import Scaled
from ..ops.function import Function
from .rewrite import fresh, rebuild

KEEPS = (MaxPool, Reshape, Take, Transpose)  # integers pass through unchanged


def add_activations(graph: Graph, known: dict[str, Scaled]) -> tuple[Graph, dict[str, Scaled]]:
    """The float graph with identity Clips added, and `known` with what follows from it."""
    known = _pull_back(graph, dict(known))
    nodes: list[Node] = []
    values, names = set(graph.values), {node.name for node in graph.nodes}
    for node in graph.nodes:
        readers = graph.consumers(node.output)
        if isinstance(node.op, Concat):
            reads = []
            for source in node.inputs:
                reads.append(source)
                if not _takes_scale_of(graph, source, node, known):
                    reads[-1] = fresh(f"{node.output}.in", values)
                    name = fresh(f"{node.name}.in", names)
                    values.add(reads[-1])
                    names.add(name)
                    nodes.append(Node(name, Clip(), (source,), reads[-1]))
            nodes.append(replace(node, inputs=tuple(reads)))
            continue
        if node.op.accumulates:
            fused = (
                len(readers) == 1 and readers[0].op.activates and node.output not in (*known, *graph.outputs)
            )
            extra = not fused
        else:
            before, after = known.get(node.inputs[0]), known.get(node.output)
            extra = isinstance(node.op, KEEPS) and after not in (None, before)
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


def _takes_scale_of(graph: Graph, value: str, concat: Node, known: Mapping[str, Scaled]) -> bool:
    """Whether a value can be quantised as the Concat that reads it: nobody else says how."""
    maker = graph.producer(value)
    free = maker is not None and (maker.op.accumulates or isinstance(maker.op, Clip | Concat | Function))
    alone = graph.consumers(value) == [concat] and concat.inputs.count(value) == 1
    same = known.get(value) in (None, known.get(concat.output))
    return free and alone and same and value not in graph.outputs


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
