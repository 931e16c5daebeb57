# SPDX-License-Identifier: Apache-2.0
"""The network as frozen values and nodes: one graph for the float, one for the integer network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .errors import CompileError
from .ops.base import Op
from .ranges import Range


@dataclass(frozen=True)
class Quant:
    """real = scale * (q - zero). One exact scale, or one per channel (axis 0)."""

    scale: tuple[Fraction, ...]
    zero: int

    @classmethod
    def of(cls, scale: Fraction | float, zero: int = 0) -> Quant:
        """Per-tensor quantisation; a float stands for the exact dyadic number it is."""
        return cls((Fraction(scale),), zero)


@dataclass(frozen=True)
class Value:
    """A tensor without its batch axis. Integer values carry a range and what the integers mean."""

    name: str
    shape: tuple[int, ...]
    quant: Quant | None = None
    range: Range | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the largest of an integer value's integers."""
        assert self.range is not None
        return self.range.lo, self.range.hi

    @property
    def word(self) -> str:
        """The narrowest of numpy's signed integers that holds the range, and the zero point: padding is
        one, also where a Clip has cut it off the range."""
        zero = Range.of(0 if self.quant is None else self.quant.zero)
        bits = (zero if self.range is None else self.range.union(zero)).bits
        return next(f"int{width}" for width in (8, 16, 32, 64) if bits <= width)


@dataclass(frozen=True)
class Rounded:
    """What a float layer's weights and bias no longer show of the file's nodes that were folded into them.

    `count`: roundings of a float32 evaluation beside those of one sum of products. Per output: `size`, the
    magnitudes of all that is added, summed (a bias of 0 may be 1 - 1), and `gain`, the largest factor by
    which an intermediate result is larger or smaller than what it contributes.
    """

    count: int
    size: NDArray[np.float64]
    gain: NDArray[np.float64]


@dataclass(frozen=True)
class Node:
    """One op applied to values. `origin` names the float node this integer node stands for; `rounded`, of a
    float node: what was folded into it."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    origin: str = ""
    code: str = ""
    rounded: Rounded | None = None


class Graph:
    """Nodes in topological order. Frozen: passes build new graphs."""

    __slots__ = ("_node_of", "inputs", "name", "nodes", "outputs", "values")
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]

    def __init__(
        self,
        name: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        nodes: tuple[Node, ...],
        values: Mapping[str, Value],
    ) -> None:
        put = object.__setattr__
        put(self, "name", name)
        put(self, "inputs", tuple(inputs))
        put(self, "outputs", tuple(outputs))
        put(self, "nodes", tuple(nodes))
        put(self, "values", MappingProxyType(dict(values)))
        put(self, "_node_of", {node.name: node for node in nodes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a graph is frozen: {name} cannot be set")

    def __reduce__(self) -> tuple[type[Graph], tuple[object, ...]]:
        """Pickled for other processes: by its parts, since attributes cannot be set."""
        return Graph, (self.name, self.inputs, self.outputs, self.nodes, dict(self.values))

    def node(self, name: str) -> Node:
        """The node of that name."""
        found: Node = self._node_of[name]  # type: ignore[attr-defined]
        return found

    def producer(self, value: str) -> Node | None:
        """The node that computes a value; None for a graph input."""
        return next((node for node in self.nodes if node.output == value), None)

    def consumers(self, value: str) -> list[Node]:
        """The nodes that read a value."""
        return [node for node in self.nodes if value in node.inputs]

    def stored(self) -> Iterator[Value]:
        """Every value an executor keeps in memory: all but accumulators, which only their Requantise sees."""
        hidden = {node.output for node in self.nodes if node.op.accumulates}
        return (value for value in self.values.values() if value.name not in hidden)


def check(graph: Graph, *, integer: bool) -> Graph:
    """Raise CompileError unless the graph is legal; runs after every pass. Returns the graph."""
    known = set(graph.inputs)
    names: set[str] = set()
    for node in graph.nodes:
        if node.name in names:
            raise CompileError(node.name, "two nodes of this name", "one node per name")
        names.add(node.name)
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise CompileError(node.name, f"reads {missing[0]!r} before it is computed", "topological order")
        if node.output in known:
            raise CompileError(node.name, f"writes {node.output!r} a second time", "one producer per value")
        known.add(node.output)
        shapes = [graph.values[name].shape for name in node.inputs]
        shape = node.op.shape(*shapes)
        if shape != graph.values[node.output].shape:
            raise CompileError(node.name, f"output shape {graph.values[node.output].shape}", f"{shape}")
        if node.op.accumulates:
            _check_accumulator(graph, node)
    lost = [name for name in graph.outputs if name not in known]
    if lost:
        raise CompileError(graph.name, f"output {lost[0]!r} is never computed", "every output computed")
    if integer:
        _check_integers(graph)
    return graph


def _check_accumulator(graph: Graph, node: Node) -> None:
    """An accumulator has one reader, the activation that follows it (Clip or Requantise)."""
    readers = graph.consumers(node.output)
    if len(readers) != 1 or not readers[0].op.activates or node.output in graph.outputs:
        raise CompileError(
            node.name, f"accumulator read by {[r.name for r in readers]}", "one activation node"
        )


def _check_integers(graph: Graph) -> None:
    for value in graph.values.values():
        if value.range is None or value.quant is None:
            raise CompileError(value.name, "integer value without range or scale", "both")
        if len(value.quant.scale) not in (1, value.shape[0] if value.shape else 1):
            raise CompileError(value.name, f"{len(value.quant.scale)} scales", "one, or one per channel")
    for node in graph.nodes:
        if not node.origin:
            raise CompileError(node.name, "no origin", "the name of the float node it stands for")
        span = graph.values[node.output].range
        assert span is not None
        if node.op.accumulates and not (span.bits <= 32 or node.op.wide or _wide(graph, node)):
            raise CompileError(
                node.name,
                f"accumulator range [{span.lo}, {span.hi}] needs {span.bits} bits",
                "at most 32",
                "fewer inputs per output",
            )


def _wide(graph: Graph, node: Node) -> bool:
    """Whether a node reads integers of more than 8 bits: its sums may have 64."""
    return any(graph.values[name].word != "int8" for name in node.inputs)
