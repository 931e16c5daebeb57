# SPDX-License-Identifier: Apache-2.0
"""The integer network on a whole box of input cells: neurons that cannot move there are left out, and cells
whose integers have become the same are carried on as one. Everything is exact.

Requantisation forgets: of 200,000 cells of an ACAS Xu network some thousand different vectors are left behind
the third layer, and one or two behind the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..domains.pair_float import Floats, Ints, rounded
from ..rounding import HALF_EVEN
from .chain import Layer

SINGLE, DOUBLE = 2.0**24, 2.0**53  # up to where whole numbers are exact in float32 and float64
PACKED = 2.0**52  # different vectors that one float64 names
MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


@dataclass(frozen=True)
class Part:
    """What can move of a layer: n = weights (q - zero_in) + start of the `rows` that move, from the integers
    that moved before it; no sum is above `most`, and behind it q lies within low ... high."""

    layer: Layer
    rows: Ints
    weights: Floats
    start: Floats
    most: float
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Plan:
    """All parts, and the first and last integer of every output."""

    parts: tuple[Part, ...]
    low: Floats
    high: Floats

    def whole(self, x: Floats) -> Ints:
        """Outputs (k, outputs) of which those that move are known."""
        out = np.repeat(self.low[None], len(x), axis=0)
        out[:, self.low < self.high] = x
        return out.astype(np.int64)


def plan(layers: Sequence[Layer], first: Ints, last: Ints) -> Plan:
    """What moves on the way of these cells."""
    low, high, parts = first.astype(np.float64), last.astype(np.float64), list[Part]()
    for layer in layers:
        under, over, sizes = _reach(layer, low, high)
        moves, rows = low < high, np.flatnonzero(under < over)
        most = float(sizes[rows].max(initial=0.0))
        start = layer.bias[rows] + layer.counts[rows][:, ~moves] @ (low[~moves] - layer.zero_in)
        weights = layer.counts[rows][:, moves]
        parts.append(Part(layer, rows, weights, start, most, under[rows], over[rows]))
        low, high = under, over
    return Plan(tuple(parts), low, high)


def states(layers: Sequence[Layer], first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Different outputs (k, outputs), and which of them each cell has (the first element varies slowest)."""
    which, x, way = np.arange(int(np.prod(last - first + 1))), np.empty(0), plan(layers, first, last)
    for i, part in enumerate(way.parts):
        kind: Any = np.float32 if part.most < SINGLE else np.float64
        weights, start, zero = part.weights.astype(kind), part.start.astype(kind), part.layer.zero_in
        if i == 0:
            ends = zip(first, last, strict=True)
            acc = _outer(weights, start, [np.arange(a, b + 1) - zero for a, b in ends if a < b])
        else:
            acc = (x - zero).astype(kind) @ weights.T + start
        x = _requantised(part.layer, part.rows, acc, part.most)
        if i or len(way.parts) == 1:
            kept, each = _merged(x, part.low, part.high)
            x, which = x[kept], each[which]
    return way.whole(x), which


def _reach(layer: Layer, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
    """First and last integer behind a layer, and per row what no sum on the way is above."""
    up, down = np.maximum(layer.counts, 0.0), np.minimum(layer.counts, 0.0)
    a, b = low - layer.zero_in, high - layer.zero_in
    ends = up @ a + down @ b + layer.bias, up @ b + down @ a + layer.bias
    sizes = np.asarray(np.abs(layer.counts) @ np.maximum(np.abs(a), np.abs(b)) + np.abs(layer.bias))
    rows = np.arange(len(layer.bias))
    under, over = (_requantised(layer, rows, end[None], float(sizes.max()))[0] for end in ends)
    return under, over, sizes


def fine(layer: Layer, most: float) -> bool:
    """Whether a Requantise of sums up to `most` is exact in float64: half to even of exact products."""
    return layer.mode == HALF_EVEN and most * float(layer.m.max()) < DOUBLE


def _requantised(layer: Layer, rows: Ints, acc: Floats, most: float) -> Floats:
    """By the law."""
    m, s = layer.m[rows], layer.s[rows]
    if fine(layer, most):
        t = np.rint(acc * (m * 2.0 ** -s.astype(np.float64)))
    else:
        t = rounded(acc.astype(np.int64), m, s, layer.mode).astype(np.float64)
    t += layer.zero
    return np.clip(t, layer.lo, layer.hi, out=t)


def _outer(weights: Floats, bias: Floats, inputs: Sequence[Ints]) -> Floats:
    """Sums of the first layer over every combination of inputs (cells, rows)."""
    acc = bias[None]
    for column, values in zip(weights.T, inputs, strict=True):
        terms = values[:, None].astype(weights.dtype) * column
        acc = (acc[:, None] + terms).reshape(len(acc) * len(terms), len(bias))
    return acc


def _merged(x: Floats, low: Floats, high: Floats) -> tuple[Ints, Ints]:
    """Where each different row of x stands first, and which of these rows each row is."""
    names = _names(x, low, high)
    key = names[:, 0]
    if names.shape[1] > 1:
        key = (names.astype(np.uint64) * np.resize(MIX, names.shape[1])).sum(axis=1, dtype=np.uint64)
    _, kept, each = np.unique(key, return_index=True, return_inverse=True)
    if names.shape[1] > 1 and not (names[kept][each] == names).all():  # two rows of one key
        return np.arange(len(x)), np.arange(len(x))
    return kept, each


def _names(x: Floats, low: Floats, high: Floats) -> Floats:
    """Numbers that tell rows of x apart: its elements as digits, as many to a number as float64 keeps."""
    digits, column, size = np.zeros((x.shape[1], max(x.shape[1], 1))), 0, 1.0
    for i, span in enumerate(high - low + 1):
        if size > 1 and size * span > PACKED:
            column, size = column + 1, 1.0
        digits[i, column], size = size, size * span
    return np.asarray((x - low) @ digits[:, : column + 1])
