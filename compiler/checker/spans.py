# SPDX-License-Identifier: Apache-2.0
"""Exact ranges of the integer network's values, from those of its inputs."""

from __future__ import annotations

import numpy as np

from .files import Rejected, need
from .layers import Layer, Network, Shape, terms
from .rounding import Ints, rounded
from .shares import share_span

SUMS = ("Conv", "Dense", "Add", "MatMul", "Mul", "AveragePool")
Span = tuple[Ints, Ints]


def spans(net: Network, at: dict[str, Span] | None = None) -> dict[str, Span]:
    """Exact ranges of every value, element by element, from those of the inputs (all their integers by
    default). From equal ends it is the network itself."""
    ends = {n: (net.meanings[n].low, net.meanings[n].high) for n in net.inputs}
    full = {n: (np.full(net.shapes[n], low), np.full(net.shapes[n], high)) for n, (low, high) in ends.items()}
    values: dict[str, Span] = dict(full if at is None else at)
    for layer in net.layers:
        values[layer.output] = _span(layer, [values[n] for n in layer.inputs], net.shapes[layer.output])
    return values


def _span(layer: Layer, xs: list[Span], shape: Shape) -> Span:
    f, (low, high) = layer.fields, xs[0]
    if len(xs) > 1 or layer.op == "Concat":
        return _joint(layer, xs, shape)
    if layer.op in SUMS:
        return _summed(layer, low, high, shape)
    if layer.op == "Requantise":
        each = (-1, *(1,) * (low.ndim - 1))
        m, s = f["multiplier"].reshape(each), f["shift"].reshape(each)
        ends_q = [rounded(end - f["zero_in"], m, s, f["mode"], f["zero"]) + f["zero"] for end in xs[0]]
        return np.clip(ends_q[0], f["lo"], f["hi"]), np.clip(ends_q[1], f["lo"], f["hi"])
    if layer.op == "MaxPool":
        index = f["index"]
        a, b = (
            np.where(index >= 0, end.reshape(-1)[np.maximum(index, 0)], -(1 << 62)) for end in (low, high)
        )
        return a.max(axis=1).reshape(shape), b.max(axis=1).reshape(shape)
    if layer.op == "Take":
        at = f["positions"]
        a, b = (np.where(at < 0, f["pad"], end.ravel()[at]) for end in (low, high))
        return a, b
    if layer.op == "Reshape":
        return low.reshape(shape), high.reshape(shape)
    if layer.op == "Transpose":
        return low.transpose(f["perm"]), high.transpose(f["perm"])
    if layer.op in ("Curve", "Table"):
        asked = list(zip((low - f["first"]).flat, (high - f["first"]).flat, strict=True))
        reach = {(a, b): f["entries"][a : b + 1] for a, b in set(asked)}
        ends_t = {key: (part.min(), part.max()) for key, part in reach.items()}
        found = np.array([ends_t[key] for key in asked])
        return found[:, 0].reshape(shape), found[:, 1].reshape(shape)
    if layer.op == "Softmax":
        return share_span(layer, low, high)
    if layer.op == "ArgMax":
        return _indices(low, high, f["last"], f["offset"], shape)
    raise Rejected(f"{layer.name}: op {layer.op}")


def _joint(layer: Layer, xs: list[Span], shape: Shape) -> Span:
    """Of an op with several inputs."""
    f = layer.fields
    if layer.op == "Add":
        factors = ((f["ma"], f["za"]), (f["mb"], f["zb"]))
        parts = [[(end - z) * m for end in x] for x, (m, z) in zip(xs, factors, strict=True)]
        turn = 1 if f["mb"] > 0 else -1  # ma is positive
        return parts[0][0] + parts[1][::turn][0], parts[0][1] + parts[1][::turn][1]
    if layer.op == "Mul":
        corners = [(a - f["za"]) * (b - f["zb"]) for a in xs[0] for b in xs[1]]
        return np.minimum.reduce(corners), np.maximum.reduce(corners)
    if layer.op == "MatMul":
        first, second = terms(f["extents"])
        of_a, of_b = (
            [(end - f["za"]).ravel()[first] for end in xs[0]],
            [(end - f["zb"]).ravel() for end in xs[1]],
        )
        corners = [a * b[second] for a in of_a for b in of_b]
        low, high = (pick.reduce(corners).sum(axis=0) for pick in (np.minimum, np.maximum))
        return low.reshape(shape), high.reshape(shape)
    need(layer.op == "Concat", f"{layer.name}: op {layer.op}")
    return np.concatenate([x[0] for x in xs], f["axis"]), np.concatenate([x[1] for x in xs], f["axis"])


def _summed(layer: Layer, low: Ints, high: Ints, shape: Shape) -> Span:
    """Of a weighted sum."""
    f = layer.fields
    lost = (1 << (8 - f.get("bits", 8))) - 1
    low, high = (low & ~lost) - f["zero"], (high & ~lost) - f["zero"]
    pad = (f["zero"] & ~lost) - f["zero"]
    if layer.op == "Dense":
        rows, bias = f["weights"][None], f["bias"][None, :, None]
        low, high = low.reshape(1, -1, 1), high.reshape(1, -1, 1)
    else:
        index, groups = f["index"], f.get("groups", len(f["index"]))
        index = index.reshape(groups, -1, index.shape[2])
        low, high = (np.where(index >= 0, end.reshape(-1)[np.maximum(index, 0)], pad) for end in (low, high))
        ones = np.ones((groups, 1, index.shape[1]), np.int64)
        rows = f["weights"].reshape(groups, -1, index.shape[1]) if layer.op == "Conv" else ones
        bias = f["bias"].reshape(groups, -1, 1) if layer.op == "Conv" else np.int64(0)
    above, under = np.maximum(rows, 0.0), np.minimum(rows, 0.0)  # floats: sums are far below 2^53
    low, high = low.astype(np.float64), high.astype(np.float64)
    ends = above @ low + under @ high, above @ high + under @ low
    need(max(np.abs(end).max() for end in ends) < 2.0**52, f"{layer.name}: sums beyond 2^52")
    a, b = ((end.astype(np.int64) + bias).reshape(shape) for end in ends)
    return a, b


def _indices(low: Ints, high: Ints, last: int, offset: int, shape: Shape) -> Span:
    """An index can win where its highest value beats the lowest of all others; of equals one end wins."""
    count = low.shape[-1]
    can = np.ones(low.shape, bool)
    for i in range(count):
        for j in range(count):
            wins_ties = i == j or (j < i if last else i < j)
            mine, other = high[..., i], low[..., j]
            can[..., i] &= i == j or (mine >= other if wins_ties else mine > other)
    first = can.argmax(axis=-1)
    final_index = count - 1 - can[..., ::-1].argmax(axis=-1)
    return (first + offset).reshape(shape), (final_index + offset).reshape(shape)
