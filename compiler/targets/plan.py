# SPDX-License-Identifier: Apache-2.0
"""What both targets run: steps in order, each one fused kernel, over values in physical order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encodings import Encoding, encoding_of, make_pool
from ..encodings.pool64 import Pool64
from ..graph import Graph, Node
from ..ops import Conv, Dense, Requantise, Reshape, Transpose
from ..passes.layout import Order, movement, orders
from .weights import physical_rows


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


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps, the physical order of every storage, and the network's pool if it has one."""

    graph: Graph
    steps: tuple[Step, ...]
    order: dict[str, Order]
    pool: Pool64 | None
    size: dict[str, int] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def readers(self, storage: str) -> list[Step]:
        """Steps that read a storage."""
        return [step for step in self.steps if storage in step.sources]


def make_plan(graph: Graph) -> Plan:
    """The plan of an integer graph."""
    order = orders(graph)
    pool = make_pool(physical_rows(node, order) for node in graph.nodes if node.code == "pool64")
    alias: dict[str, str] = {}
    steps: list[Step] = []
    size = {name: graph.values[name].size for name in graph.inputs}
    placed = dict(order)

    def add(kind: str, node: Node, sources: tuple[str, ...], target: str, requantise: Requantise | None,
            view: dict[str, Any], value: str) -> None:
        steps.append(Step(len(steps), kind, node, sources, target, value, requantise, view))
        size[target] = graph.values[value].size

    for name in graph.inputs:
        moved = _not_identity(order[name])
        if moved is not None:
            add("reorder", Node(f"{name}.layout", Reshape(()), (name,), name), (name,), f"{name}.physical",
                None, {"movement": moved}, name)
            alias[name] = f"{name}.physical"
            placed[f"{name}.physical"] = order[name]
            placed[name] = np.arange(graph.values[name].size)
    for node in graph.nodes:
        sources = tuple(alias.get(name, name) for name in node.inputs)
        if node.op.accumulates:
            reader = graph.consumers(node.output)[0]
            assert isinstance(reader.op, Requantise)
            view = {**shapes(graph, node), **_weights(node, order, pool), **node.op.view()}
            add(_kind(node), node, sources, reader.output, reader.op, view, reader.output)
        elif isinstance(node.op, Requantise):
            if not _follows_sum(graph, node):
                add("requantise", node, sources, node.output, node.op, shapes(graph, node), node.output)
        elif isinstance(node.op, Reshape | Transpose):
            moved = movement(graph, node, order)
            if moved is None:
                alias[node.output] = sources[0]
            else:
                add("reorder", node, sources, node.output, None, {"movement": moved}, node.output)
        else:
            add(_kind(node), node, sources, node.output, None, {**shapes(graph, node), **node.op.view()}, node.output)
    outputs = []
    for name in graph.outputs:
        storage = alias.get(name, name)
        if _not_identity(order[name]) is not None or storage in graph.inputs or storage in outputs:
            back = np.argsort(order[name])
            add("reorder", Node(f"{name}.layout", Reshape(()), (name,), name), (storage,), f"{name}.logical",
                None, {"movement": back}, name)
            placed[f"{name}.logical"] = np.arange(graph.values[name].size)
            storage = f"{name}.logical"
        outputs.append(storage)
    for step in steps:
        placed.setdefault(step.target, order[step.value])
    return Plan(graph, tuple(steps), placed, pool, size, tuple(outputs))


def _not_identity(order: Order) -> Order | None:
    return None if (order == np.arange(len(order))).all() else order


def _follows_sum(graph: Graph, node: Node) -> bool:
    producer = graph.producer(node.inputs[0])
    return producer is not None and producer.op.accumulates


def _kind(node: Node) -> str:
    name = type(node.op).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def shapes(graph: Graph, node: Node) -> dict[str, Any]:
    """Input and output shapes as (C, H, W); vectors count as channels."""
    def three(name: str) -> tuple[int, int, int]:
        shape = graph.values[name].shape
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (int(np.prod(shape)), 1, 1)

    return {"input": three(node.inputs[0]), "output": three(node.output)}


def _weights(node: Node, order: dict[str, Order], pool: Pool64 | None) -> dict[str, Any]:
    """Stored weights and the bias with the zero point folded in, for a weighted node."""
    if not isinstance(node.op, Conv | Dense):
        return {}
    rows = physical_rows(node, order)
    encoding: Encoding = encoding_of(node.code, pool)
    offset = node.op.zero + (128 if node.code == "pool64" else 0)  # pools run on u = q + 128
    bias: NDArray[np.int64] = node.op.bias - offset * rows.sum(axis=1)
    return {"code": node.code, "stored": encoding.encode(rows), "rows": rows, "bias": bias}


def exposed(plan: Plan) -> Iterator[tuple[int, str, Order]]:
    """(step index, graph value, physical order) of every layer that a verification build shows."""
    for step in plan.steps:
        yield step.index, step.value, plan.order[step.target]
