# SPDX-License-Identifier: Apache-2.0
"""Fold per-channel factors and offsets (BatchNormalization, constant Add and Mul) into weights.

before: Conv(w, b) -> ChannelAffine(f, o)          after: Conv(f * w, f * b + o)
before: x -> ChannelAffine(f, o), x not a sum      after: a 1 x 1 depthwise Conv
before: Conv -> x -> ChannelAffine(f, o), x stored after: the same as where x is not a sum

`stored` are the values that the model file quantises: what rounds and saturates between two layers stays.

Products are exact rationals, rounded once to the nearest double; the certifier allows for that rounding.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import CompileError
from ..graph import Graph, Node, Rounded
from ..ops import ChannelAffine, Conv, Dense
from ..ops.channel_affine import MOST, exact
from .rewrite import read_once, rebuild
from .rounded_product import rounded_product
from .vector_factors import vector_factors


def fold_channel_affine(graph: Graph, stored: Collection[str] = ()) -> Graph:
    """A float graph without ChannelAffine nodes."""
    graph = vector_factors(rebuild(graph, _chained(graph, stored)), stored)
    nodes: list[Node] = []
    for node in graph.nodes:
        if not isinstance(node.op, ChannelAffine):
            nodes.append(node)
            continue
        source = node.inputs[0]
        at = _foldable(graph, nodes, source, stored)
        if at is not None and isinstance(nodes[at].op, Conv | Dense):
            nodes[at] = replace(_scaled(node.name, nodes[at], node.op), output=node.output)
        else:
            unit = replace(node, op=_unit(node, graph.values[source].shape))
            nodes.append(_scaled(node.name, unit, node.op))
    return rebuild(graph, nodes)


def _foldable(graph: Graph, nodes: list[Node], value: str, stored: Collection[str]) -> int | None:
    """Place of the node that computes a value which only one node reads, as it is."""
    alone = read_once(graph, value, stored)
    return next((i for i, n in enumerate(nodes) if n.output == value and alone), None)


def _chained(graph: Graph, stored: Collection[str]) -> list[Node]:
    """The nodes with ChannelAffines that follow each other made one, exactly: only the result is rounded."""
    nodes: list[Node] = []
    for node in graph.nodes:
        at = _foldable(graph, nodes, node.inputs[0], stored)
        before = None if at is None else nodes[at].op
        if at is not None and isinstance(node.op, ChannelAffine) and isinstance(before, ChannelAffine):
            factor = tuple(f * g for f, g in zip(node.op.factor, before.factor, strict=True))
            offset = tuple(
                f * o + p for f, o, p in zip(node.op.factor, before.offset, node.op.offset, strict=True)
            )
            size = tuple(
                abs(f) * o + p for f, o, p in zip(node.op.factor, before.size, node.op.size, strict=True)
            )
            gain = tuple(min(f * g, float(MOST)) for f, g in zip(node.op.gain, before.gain, strict=True))
            both = ChannelAffine(factor, offset, size, gain, node.op.rounds + before.rounds)
            nodes[at] = replace(nodes[at], op=both, output=node.output)
        else:
            nodes.append(node)
    return nodes


def _scaled(where: str, node: Node, by: ChannelAffine) -> Node:
    """The weighted op with factor and offset multiplied in, and what float32 makes of that."""
    op: Any = node.op
    weights, size = np.empty(op.weights.shape), np.empty(len(by.factor))
    rows, out = op.weights.reshape(len(by.factor), -1), weights.reshape(len(by.factor), -1)
    bias = np.empty(len(by.factor))
    try:
        for i, (factor, offset) in enumerate(zip(by.factor, by.offset, strict=True)):
            out[i] = rounded_product(factor, rows[i])
            own = factor * exact(op.bias[i])[0]
            bias[i], size[i] = float(own + offset), float(abs(own) + by.size[i])
    except OverflowError as error:
        raise CompileError(where, "a product that no double holds", "parameters of ordinary size") from error
    rounded = Rounded(by.rounds, size, np.array(by.gain))
    return replace(node, op=replace(op, weights=weights, bias=bias), rounded=rounded)


def _unit(node: Node, shape: tuple[int, ...]) -> Any:
    """A weighted op of its own that changes nothing yet."""
    if len(shape) != 3:
        raise CompileError(node.name, f"a per-channel factor on shape {shape}", "(C, H, W) or a vector")
    channels, height, width = shape
    return Conv(np.ones((channels, 1, 1, 1)), np.zeros(channels), (channels, height, width), groups=channels)
