# SPDX-License-Identifier: Apache-2.0
"""Pair an integer network with a float reference from another file of the same architecture.

before: integer nodes whose origins are nodes of the quantised model
after:  the same integer nodes with the reference's node names as origins, paired in topological order
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import CompileError
from ..graph import Graph, check
from ..ops import Clip, Requantise
from ..ops.curve import Curve
from ..ops.function import Function, Table


def match_reference(reference: Graph, integer: Graph) -> tuple[Graph, Graph]:
    """(reference, integer graph with origins in it); CompileError when the architectures differ."""
    reference = with_inputs(reference, integer.inputs)
    pairs = list(zip(reference.nodes, integer.nodes, strict=False))
    if len(reference.nodes) != len(integer.nodes):
        raise CompileError(
            "--reference",
            f"{len(reference.nodes)} nodes",
            f"{len(integer.nodes)}, one per integer node",
            "compiling without it, then tinybound certify BUILD --reference",
        )
    for real, whole in pairs:
        kinds = (type(real.op), type(whole.op))
        same = (
            kinds[0] is kinds[1]
            or kinds == (Clip, Requantise)
            or (isinstance(real.op, Function) and kinds[1] in (Curve, Table))
        )
        shapes = (reference.values[real.output].shape, integer.values[whole.output].shape)
        if not same or shapes[0] != shapes[1]:
            raise CompileError(
                "--reference",
                f"{real.name!r} is {kinds[0].__name__} {shapes[0]}",
                f"a twin of {whole.name!r}, {kinds[1].__name__} {shapes[1]}",
                "the float model that was quantised, or compiling without it and certify BUILD --reference",
            )
    nodes = tuple(replace(whole, origin=real.name) for real, whole in pairs)
    paired = Graph(integer.name, integer.inputs, integer.outputs, nodes, integer.values)
    return reference, check(paired, integer=True)


def with_inputs(graph: Graph, names: tuple[str, ...]) -> Graph:
    """The graph with its inputs renamed, in order."""
    if len(graph.inputs) != len(names):
        raise CompileError("--reference", f"{len(graph.inputs)} inputs", f"{len(names)}")
    new = dict(zip(graph.inputs, names, strict=True))
    nodes = tuple(replace(n, inputs=tuple(new.get(i, i) for i in n.inputs)) for n in graph.nodes)
    values = {new.get(name, name): replace(v, name=new.get(name, name)) for name, v in graph.values.items()}
    return Graph(graph.name, names, graph.outputs, nodes, values)
