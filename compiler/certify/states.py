# SPDX-License-Identifier: Apache-2.0
"""The integer network on a whole box of input cells: neurons that cannot move there are left out, and cells
whose integers have become the same are carried on as one. Everything is exact.

Requantisation forgets: of 200,000 cells of an ACAS Xu network some thousand different vectors are left behind
the third layer, and one or two behind the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domains.pair_float import Floats, Ints, rounded
from .chain import Layer

SINGLE, DOUBLE = 2.0**24, 2.0**53  # up to where whole numbers are exact in float32 and float64
PACKED = 2.0**52  # different vectors that one float64 names
MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


def states(layers: Sequence[Layer], first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Different outputs (k, outputs), and which of them each cell has (the first element varies slowest)."""
    which, x = np.arange(int(np.prod(last - first + 1))), np.empty(0)
    low, high = first.astype(np.float64), last.astype(np.float64)
    for i, layer in enumerate(layers):
        under, over, most = _reach(layer, low, high)
        moves, rows = low < high, np.flatnonzero(under < over)
        kind: Any = np.float32 if most < SINGLE else np.float64
        bias = layer.bias[rows] + layer.counts[rows][:, ~moves] @ (low[~moves] - layer.zero_in)
        weights, bias = layer.counts[rows][:, moves].astype(kind), bias.astype(kind)
        if i == 0:
            ends = zip(first[moves], last[moves], strict=True)
            acc = _outer(weights, bias, [np.arange(a, b + 1) - layer.zero_in for a, b in ends])
        else:
            acc = (x - layer.zero_in).astype(kind) @ weights.T + bias
        x = _requantised(layer, rows, acc, most)
        low, high = under, over
        if i or i == len(layers) - 1:
            kept, each = _merged(x, under[rows], over[rows])
            x, which = x[kept], each[which]
    whole = np.repeat(low[None], len(x), axis=0)
    whole[:, low < high] = x
    return whole.astype(np.int64), which


def _reach(layer: Layer, low: Floats, high: Floats) -> tuple[Floats, Floats, float]:
    """First and last integer behind a layer, and the largest sum on the way."""
    up, down = np.maximum(layer.counts, 0.0), np.minimum(layer.counts, 0.0)
    a, b = low - layer.zero_in, high - layer.zero_in
    ends = up @ a + down @ b + layer.bias, up @ b + down @ a + layer.bias
    most = (np.abs(layer.counts) @ np.maximum(np.abs(a), np.abs(b)) + np.abs(layer.bias)).max()
    rows = np.arange(len(layer.bias))
    under, over = (_requantised(layer, rows, end[None], most)[0] for end in ends)
    return under, over, float(most)


def _requantised(layer: Layer, rows: Ints, acc: Floats, most: float) -> Floats:
    """By the law. Half to even in float64, where every product is exact."""
    m, s = layer.m[rows], layer.s[rows]
    if layer.mode == "half-even" and most * float(layer.m.max()) < DOUBLE:
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
