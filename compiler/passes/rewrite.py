# SPDX-License-Identifier: Apache-2.0
"""Shared by float passes: a graph from changed nodes, shapes derived again."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

from ..errors import CompileError
from ..graph import Graph, Node, Value


def fresh(wanted: str, taken: Container[str]) -> str:
    """`wanted` if it is free, else the first of wanted_2, wanted_3, ... that is."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


def read_once(graph: Graph, value: str, stored: Collection[str]) -> bool:
    """Whether one node alone reads a value, as it is: no output, and nothing that the file quantises."""
    return len(graph.consumers(value)) == 1 and value not in (*graph.outputs, *stored)


def rebuild(graph: Graph, nodes: Sequence[Node], outputs: Sequence[str] | None = None) -> Graph:
    """The float graph of these nodes; every shape follows from the inputs. Checked."""
    values = {name: graph.values[name] for name in graph.inputs}
    for node in nodes:
        shapes = [values[name].shape for name in node.inputs]
        shape = node.op.shape(*shapes)
        if not shape and shapes[0]:
            raise CompileError(node.name, f"{type(node.op).__name__} cannot take shapes {shapes}")
        values[node.output] = Value(node.output, shape)
    wanted = tuple(graph.outputs if outputs is None else outputs)
    return Graph(graph.name, graph.inputs, wanted, tuple(nodes), values)
