# SPDX-License-Identifier: Apache-2.0
"""Shared by float passes: a graph from changed nodes, shapes derived again."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CompileError
from ..graph import Graph, Node, Value, check


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
