# SPDX-License-Identifier: Apache-2.0
"""What both targets run: steps in order, each one fused kernel, over values in physical order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encodings import Encoding, encoding_of, make_pool
from ..encodings.pool64 import Pool64
from ..graph import Graph, Node
from ..ops import Concat, Conv, Dense, Requantise, Reshape, Take, Transpose
from ..passes.layout import Order, movement, orders
from ..passes.rewrite import fresh
from ..rounding import AVERAGE, DOUBLE, HALF_EVEN, MEAN, SINGLE
from .moves import separated
from .weights import physical_rows

# How kernels and blocks are told a mode.
ROUNDINGS = {HALF_EVEN: 0, SINGLE: 1, DOUBLE: 2, AVERAGE: 3, MEAN: 4}


@dataclass(frozen=True, eq=False)
class Step:
    """One kernel call or hardware block.

    `kind` names its templates; `sources` and `target` are storage names (aliases resolved); `value` is the
    graph value it computes; `requantise` is fused when the op accumulates.
    """

    index: int
    kind: str
    node: Node
    sources: tuple[str, ...]
    target: str
    value: str
    requantise: Requantise | None
    view: dict[str, Any]


def zeros(step: Step) -> tuple[int, int]:
    """Zero points that a sum subtracts and that its result gets: none where a mean is of stored integers."""
    if step.requantise is None or step.requantise.mode == AVERAGE:
        return 0, 0
    return int(getattr(step.node.op, "zero", 0)), step.requantise.zero


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps, the physical order of every storage, and the network's pool if it has one.

    size: elements of every storage. words: bytes of each of these, 1 or 2 as their range needs; all inputs
    of the network have the same, and all its outputs.
    """

    graph: Graph
    steps: tuple[Step, ...]
    order: dict[str, Order]
    pool: Pool64 | None
    size: dict[str, int]
    words: dict[str, int]
    outputs: tuple[str, ...]

    @cached_property
    def _readers(self) -> dict[str, list[Step]]:
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            for source in dict.fromkeys(step.sources):
                found.setdefault(source, []).append(step)
        return found

    def bytes(self, storage: str) -> int:
        """Bytes of a storage."""
        return self.size[storage] * self.words[storage]

    @property
    def wide(self) -> bool:
        """Whether any storage has integers of 16 bits."""
        return max(self.words.values()) > 1

    def readers(self, storage: str) -> list[Step]:
        """Steps that read a storage."""
        return self._readers.get(storage, [])

    @cached_property
    def heights(self) -> dict[str, int]:
        """Rows of every storage; 1 unless it is a (C, H, W) map, or an input that is read as one."""
        names = {name: name for name in self.graph.inputs} | {s.target: s.value for s in self.steps}
        shapes = {storage: self.graph.values[value].shape for storage, value in names.items()}
        found = {storage: shape[1] if len(shape) == 3 else 1 for storage, shape in shapes.items()}
        for name in self.graph.inputs:
            read_as = {step.view["input"][1] for step in self.readers(name) if "input" in step.view}
            if len(read_as) == 1:
                found[name] = read_as.pop()
        return found


@lru_cache(maxsize=8)
def make_plan(graph: Graph) -> Plan:
    """The plan of an integer graph."""
    planner = _Planner(graph)
    for name in graph.inputs:
        planner.take_input(name)
    for node in graph.nodes:
        planner.take(node)
    outputs = tuple([planner.give_output(name) for name in graph.outputs])
    rest = planner.placed, planner.pool, planner.size, planner.words
    return Plan(graph, tuple(planner.steps), *rest, outputs)


class _Planner:
    """Adds steps in order; reshapes that move nothing become aliases of the storage they read."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order = orders(graph)
        self.pool = make_pool(physical_rows(n, self.order) for n in graph.nodes if n.code == "pool64")
        self.steps: list[Step] = []
        self.alias: dict[str, str] = {}
        self.size = {name: graph.values[name].size for name in graph.inputs}
        self.placed: dict[str, Order] = {name: np.arange(size) for name, size in self.size.items()}
        self.taken: list[str] = []
        self.words = dict.fromkeys(graph.inputs, widest(graph, graph.inputs))

    def add(
        self,
        node: Node,
        target: str,
        view: dict[str, Any],
        kind: str = "",
        requantise: Requantise | None = None,
    ) -> None:
        """One step that writes `target`, the storage of node.output or of the node's Requantise."""
        value = target if target in self.graph.values else node.output
        sources = tuple(self.alias.get(name, name) for name in node.inputs)
        index = len(self.steps)
        self.words.setdefault(target, widest(self.graph, [value]))
        view = {**view, "words": tuple(self.words[name] for name in (*sources, target))}
        self.steps.append(Step(index, kind or _kind(node), node, sources, target, value, requantise, view))
        self.size[target] = self.graph.values[value].size
        self.placed.setdefault(target, self.order[value])

    def move(self, node: Node, target: str, movement: Order, pad: int = 0) -> None:
        """One step that writes target[i] = source[movement[i]], `pad` where that is -1."""
        ends = [self.graph.values[name].shape for name in (node.output, *node.inputs)]
        axes = separated(movement, [*ends, *((*shape[1:], shape[0]) for shape in ends if len(shape) == 3)])
        if axes is not None and 2 * sum(map(len, axes)) > len(movement):  # as long as a table of 16 bits
            axes = None
        self.add(node, target, {"movement": movement, "pad": pad, "axes": axes}, "reorder")

    def take_input(self, name: str) -> None:
        """Inputs come in ONNX order; maps with several channels are reordered first, and so is what is stored
        longer than it need be, because another input has 16 bits."""
        if not _identity(self.order[name]) or self.words[name] != widest(self.graph, [name]):
            node = Node(f"{name}.layout", Reshape(()), (name,), name)
            storage = fresh(f"{name}.physical", self.graph.values)
            self.move(node, storage, self.order[name])
            self.alias[name] = storage
            self.placed[storage] = self.order[name]

    def take(self, node: Node) -> None:
        """The step of one node, if it has one of its own."""
        graph, op = self.graph, node.op
        if op.accumulates:
            reader = graph.consumers(node.output)[0]
            assert isinstance(reader.op, Requantise)
            view = {**shapes(graph, node), **_weights(node, self.order, self.pool), **op.view()}
            self.add(node, reader.output, view, requantise=reader.op)
        elif isinstance(op, Requantise):
            if not _follows_sum(graph, node):
                self.add(node, node.output, shapes(graph, node), requantise=op)
        elif isinstance(op, Reshape | Take | Transpose):
            moved = movement(graph, node, self.order)
            if moved is None:
                self.alias[node.output] = self.alias.get(node.inputs[0], node.inputs[0])
            else:
                pad = int(op.pad) if isinstance(op, Take) else 0
                self.move(node, node.output, moved, pad)
        elif isinstance(op, Concat):
            self.add(node, node.output, {**shapes(graph, node), **_chunks(graph, node, op.axis)})
        else:
            self.add(node, node.output, {**shapes(graph, node), **op.view()})

    def give_output(self, name: str) -> str:
        """The storage of a graph output: in ONNX order, as long as the others, and no other output's or
        input's storage."""
        storage, longest = self.alias.get(name, name), widest(self.graph, self.graph.outputs)
        whole = _identity(self.order[name]) and self.words[storage] == longest
        if not whole or storage in self.graph.inputs or storage in self.taken:
            node = Node(f"{name}.layout", Reshape(()), (name,), name)
            storage = fresh(f"{name}.logical", self.graph.values)
            self.words[storage] = longest
            self.move(node, storage, np.argsort(self.order[name]))
            self.placed[storage] = np.arange(self.graph.values[name].size)
        self.taken.append(storage)
        return storage


def widest(graph: Graph, values: Iterable[str]) -> int:
    """Bytes of the longest word that one of these values needs in memory."""
    return max(2 if graph.values[name].word == "int16" else 1 for name in values)


def _identity(order: Order) -> bool:
    return bool((order == np.arange(len(order))).all())


def _follows_sum(graph: Graph, node: Node) -> bool:
    producer = graph.producer(node.inputs[0])
    return producer is not None and producer.op.accumulates


def _kind(node: Node) -> str:
    name = type(node.op).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _chunks(graph: Graph, node: Node, axis: int) -> dict[str, Any]:
    """How often (`outer`) so many elements of each input (`chunks`) follow each other in the output."""
    found = []
    for name in node.inputs:
        shape = graph.values[name].shape
        last, at = ((*shape[1:], shape[0]), (axis - 1) % 3) if len(shape) == 3 else (shape, axis)
        found.append((prod(last[:at]), prod(last[at:])))
    return {"outer": found[0][0], "chunks": [chunk for _, chunk in found]}


def shapes(graph: Graph, node: Node) -> dict[str, Any]:
    """Input and output shapes as (C, H, W), vectors as channels; how long a row of the input is."""

    def three(name: str) -> tuple[int, int, int]:
        shape = graph.values[name].shape
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (int(np.prod(shape)), 1, 1)

    row = graph.values[node.inputs[0]].shape[-1]
    return {"input": three(node.inputs[0]), "output": three(node.output), "row": row}


def _weights(node: Node, order: dict[str, Order], pool: Pool64 | None) -> dict[str, Any]:
    """Stored weights and the bias with the zero point folded in, for a weighted node."""
    if not isinstance(node.op, Conv | Dense):
        return {}
    rows = physical_rows(node, order)
    encoding: Encoding = encoding_of(node.code, pool)
    offset = node.op.zero + (128 if node.code == "pool64" else 0)  # pools run on u = q + 128
    bias: NDArray[np.int64] = node.op.bias - offset * rows.sum(axis=1)
    stored = encoding.encode(rows)
    view: dict[str, Any] = {"code": node.code, "stored": stored, "rows": rows, "bias": bias}
    if isinstance(encoding, Pool64):
        view |= {"pool": encoding.vectors, "less": encoding.raised()[stored].sum(axis=1)}
    return view


def exposed(plan: Plan) -> Iterator[tuple[int, str, Order]]:
    """(step index, graph value, physical order) of every layer that a verification build shows."""
    for step in plan.steps:
        yield step.index, step.value, plan.order[step.target]
