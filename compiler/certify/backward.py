# SPDX-License-Identifier: Apache-2.0
"""Gradients of the float network, many inputs at once: each word keeps how to go back through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from .batch import Batch

Array = NDArray[Any]
Back = Callable[[Array], Array]


@dataclass(eq=False)
class Kept:
    """A tensor (N, *shape), and per tensor it was made of how a gradient goes back to it."""

    value: Array
    sources: tuple[tuple[Kept, Back], ...] = ()


class Tape:
    """The words of a float network on Kept tensors."""

    def __init__(self) -> None:
        self.numbers = Batch()

    def gather(self, x: Kept, index: NDArray[np.int64], pad: float) -> Kept:
        shape, inside = x.value.shape, index >= 0
        at = index[inside]

        def back(g: Array) -> Array:
            size = int(np.prod(shape[1:]))
            rows = [np.bincount(at, row[inside], size) for row in g]
            return np.array(rows).reshape(shape)

        return Kept(self.numbers.gather(x.value, index, pad), ((x, back),))

    def reshape(self, x: Kept, shape: tuple[int, ...]) -> Kept:
        old = x.value.shape
        return Kept(self.numbers.reshape(x.value, shape), ((x, lambda g: g.reshape(old)),))

    def concat(self, xs: Sequence[Kept], axis: int) -> Kept:
        places = np.cumsum([0, *(x.value.shape[axis + 1] for x in xs)])

        def part(first: int, last: int) -> Back:
            return lambda g: np.take(g, np.arange(first, last), axis=axis + 1)

        sources = [(x, part(int(a), int(b))) for x, a, b in zip(xs, places, places[1:], strict=False)]
        return Kept(self.numbers.concat([x.value for x in xs], axis), tuple(sources))

    def affine(self, x: Kept, weights: Array, bias: Array, zero: int) -> Kept:
        back = np.swapaxes(weights, 1, 2)
        return Kept(self.numbers.affine(x.value, weights, bias, zero), ((x, lambda g: back @ g),))

    def add(self, a: Kept, b: Kept, ma: int, mb: int, za: int, zb: int) -> Kept:
        value = self.numbers.add(a.value, b.value, ma, mb, za, zb)
        return Kept(value, ((a, lambda g: ma * g), (b, lambda g: mb * g)))

    def multiply(self, a: Kept, b: Kept, za: int, zb: int) -> Kept:
        value = self.numbers.multiply(a.value, b.value, za, zb)
        return Kept(value, ((a, lambda g: g * b.value), (b, lambda g: g * a.value)))

    def clip(self, x: Kept, lo: float, hi: float) -> Kept:
        moves = (lo < x.value) & (x.value < hi)
        return Kept(self.numbers.clip(x.value, lo, hi), ((x, lambda g: g * moves),))

    def max(self, x: Kept, axis: int) -> Kept:
        value = self.numbers.max(x.value, axis)
        wins = x.value == np.expand_dims(value, axis + 1)
        return Kept(value, ((x, lambda g: np.expand_dims(g, axis + 1) * wins),))

    def softmax(self, x: Kept, *how: Any) -> Kept:
        p = self.numbers.softmax(x.value, *how)
        return Kept(p, ((x, lambda g: p * (g - (g * p).sum(axis=-1, keepdims=True))),))

    def function(self, x: Kept, fn: Any) -> Kept:
        step = 1e-6 * (1 + np.abs(x.value))
        slope = (fn(x.value + step) - fn(x.value - step)) / (2 * step)
        return Kept(np.asarray(fn(x.value)), ((x, lambda g: g * slope),))


def gradients(
    graph: Graph, inputs: Mapping[str, Array], seeds: Mapping[str, Array], wanted: Sequence[str]
) -> dict[str, Array]:
    """Gradient, with respect to the values `wanted` (N, *shape), of the sum of seeds * value."""
    tape, values = Tape(), {name: Kept(np.asarray(x, np.float64)) for name, x in inputs.items()}
    needed = {*seeds, *wanted}
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
    for node in graph.nodes:
        op: Any = node.op  # without final ops, a float network has no words but those above
        if node.output in needed:
            values[node.output] = op.meaning(tape, *(values[name] for name in node.inputs))
    asked = {name: values[name] for name in wanted}
    keep = {id(kept) for kept in asked.values()}
    order: list[Kept] = []
    seen: set[int] = set()
    for name in seeds:
        _order(values[name], order, seen)
    slopes: dict[int, Array] = {}
    for name, seed in seeds.items():
        slopes[id(values[name])] = slopes.get(id(values[name]), 0.0) + seed
    for kept in reversed(order):
        slope = slopes[id(kept)] if not kept.sources or id(kept) in keep else slopes.pop(id(kept))
        for source, back in kept.sources:
            slopes[id(source)] = slopes.get(id(source), 0.0) + back(slope)
    return {name: slopes.get(id(kept), np.zeros(np.shape(kept.value))) for name, kept in asked.items()}


def _order(last: Kept, order: list[Kept], seen: set[int]) -> None:
    """Sources before what is made of them."""
    stack: list[tuple[Kept, bool]] = [(last, False)]
    while stack:
        kept, done = stack.pop()
        if done:
            order.append(kept)
        elif id(kept) not in seen:
            seen.add(id(kept))
            stack.append((kept, True))
            stack += [(source, False) for source, _ in kept.sources]
