# SPDX-License-Identifier: Apache-2.0
"""The law once more, by the letter: Python integers and Fractions, loops, no code of the product.

Written from docs/semantics.md, not from compiler/ops. Arrays are numpy on the outside only.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import ceil
from typing import Any

import numpy as np


def rhe(x: Fraction) -> int:
    """Round half to even, without Python's round()."""
    below = x.numerator // x.denominator
    rest = x - below
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1):
        return below + 1
    return below


def clip(q: int, lo: int, hi: int) -> int:
    """Saturate."""
    return max(lo, min(q, hi))


def conv(op: Any, x: Any) -> Any:
    """acc = bias + sum of (x' - zero) * w; x' is x or the zero point, its low bits cleared at few bits."""
    outputs, depth, kh, kw = op.weights.shape
    channels, height, width = op.size
    top, left, bottom, right = op.pads
    oh = (height + top + bottom - (kh - 1) * op.dilations[0] - 1) // op.strides[0] + 1
    ow = (width + left + right - (kw - 1) * op.dilations[1] - 1) // op.strides[1] + 1
    per_group = outputs // op.groups
    assert depth * op.groups == channels
    step = 1 << (8 - op.bits)
    w, b, x = op.weights.tolist(), op.bias.tolist(), x.tolist()
    out = []
    for o, i, j in product(range(outputs), range(oh), range(ow)):
        first = (o // per_group) * depth
        acc = b[o]
        for c, u, v in product(range(depth), range(kh), range(kw)):
            r = i * op.strides[0] + u * op.dilations[0] - top
            s = j * op.strides[1] + v * op.dilations[1] - left
            q = x[first + c][r][s] if 0 <= r < height and 0 <= s < width else op.zero
            acc += (q // step * step - op.zero) * w[o][c][u][v]
        out.append(acc)
    return np.array(out).reshape(outputs, oh, ow)


def dense(op: Any, x: Any) -> Any:
    """One sum per row of the matrix."""
    step = 1 << (8 - op.bits)
    x = [q // step * step for q in x.tolist()]
    rows = zip(op.weights.tolist(), op.bias.tolist(), strict=True)
    return np.array([b + sum((q - op.zero) * w for q, w in zip(x, row, strict=True)) for row, b in rows])


def add(op: Any, a: Any, b: Any) -> Any:
    """(a - za) * ma + (b - zb) * mb."""
    pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    return np.array([(p - op.za) * op.ma + (q - op.zb) * op.mb for p, q in pairs]).reshape(a.shape)


def mul(op: Any, a: Any, b: Any) -> Any:
    """(a - za) * (b - zb)."""
    pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    return np.array([(p - op.za) * (q - op.zb) for p, q in pairs]).reshape(a.shape)


def mat_mul(op: Any, a: Any, b: Any) -> Any:
    """Each row of a with each row of b of the same group."""
    groups, rows, columns, _ = op.extents
    a, b, out = a.tolist(), b.tolist(), []
    for g, m in product(range(groups), range(rows)):
        pairs = [zip(a[g * rows + m], b[g * columns + n], strict=True) for n in range(columns)]
        out += [sum((p - op.za) * (q - op.zb) for p, q in row) for row in pairs]
    return np.array(out).reshape(groups * rows, columns)


def _windows(op: Any) -> Any:
    """Per output element the list of its taps (c, row, column) inside the input, in scan order."""
    (channels, height, width), dilations = op.size, op.dilations
    oh = (height + op.pads[0] + op.pads[2] - (op.kernel[0] - 1) * dilations[0] - 1) // op.strides[0] + 1
    ow = (width + op.pads[1] + op.pads[3] - (op.kernel[1] - 1) * dilations[1] - 1) // op.strides[1] + 1
    for c, i, j in product(range(channels), range(oh), range(ow)):
        taps = []
        for u, v in product(range(op.kernel[0]), range(op.kernel[1])):
            r = i * op.strides[0] + u * dilations[0] - op.pads[0]
            s = j * op.strides[1] + v * dilations[1] - op.pads[1]
            if 0 <= r < height and 0 <= s < width:
                taps.append((c, r, s))
        yield taps


def _map_shape(op: Any, flat: list[int]) -> Any:
    channels = op.size[0]
    span = (op.kernel[0] - 1) * op.dilations[0] + 1
    oh = (op.size[1] + op.pads[0] + op.pads[2] - span) // op.strides[0] + 1
    return np.array(flat).reshape(channels, oh, -1)


def average_pool(op: Any, x: Any) -> Any:
    """Plain sum of (x - zero); padding adds nothing."""
    return _map_shape(op, [sum(int(x[t]) - op.zero for t in taps) for taps in _windows(op)])


def max_pool(op: Any, x: Any) -> Any:
    """Largest tap inside the input."""
    return _map_shape(op, [max(int(x[t]) for t in taps) for taps in _windows(op)])


def half_up(x: Fraction) -> int:
    """Round to nearest, ties towards +infinity."""
    return (2 * x + 1).numerator // (2 * (2 * x + 1).denominator)


def half_away(x: Fraction) -> int:
    """Round to nearest, ties away from 0."""
    return half_up(x) if x >= 0 else -half_up(-x)


def quotient(product: int, s: int, mode: str) -> int:
    """product / 2^s as a Requantise of this mode rounds it."""
    if mode == "tflite-average":
        return half_away(Fraction(product, 2**s))
    if mode == "half-even":
        return rhe(Fraction(product, 2**s))
    if mode == "half-even-mean":
        return rhe(Fraction(half_up(Fraction(product, 2 ** (s - 15))), 2**15))
    if mode == "tflite-single":
        return half_up(Fraction(product, 2**s))
    assert mode == "tflite-double"
    first = half_up(Fraction(product, 2 ** min(s, 31)))
    return half_away(Fraction(first, 2 ** max(s - 31, 0)))


def requantise(op: Any, x: Any) -> Any:
    """clip(round((x - zero_in) * m / 2^s) + zero, lo, hi), channel by channel."""
    out = np.empty_like(x)
    for c in range(x.shape[0]):
        at = c if len(op.multiplier) > 1 else 0
        m, s = int(op.multiplier[at]), int(op.shift[at])
        for place in np.ndindex(x.shape[1:]):
            total, zero = int(x[c, *place]) - op.zero_in, op.zero
            if op.mode == "tflite-average":  # of the integers themselves, which hold the zero point already
                total, zero = total + zero * ceil(Fraction(2**s, m)), 0
            out[c, *place] = clip(quotient(total * m, s, op.mode) + zero, op.lo, op.hi)
    return out


def reshape(op: Any, x: Any) -> Any:
    """Same elements in C order."""
    out = np.empty(op.target, np.int64)
    for place, value in zip(np.ndindex(*op.target), x.ravel().tolist(), strict=True):
        out[place] = value
    return out


def transpose(op: Any, x: Any) -> Any:
    """out[i_perm[0], i_perm[1], ...] = x[i_0, i_1, ...]."""
    out = np.empty([op.size[a] for a in op.perm], np.int64)
    for place in np.ndindex(*op.size):
        out[tuple(place[a] for a in op.perm)] = x[place]
    return out


def concat(op: Any, *xs: Any) -> Any:
    """Slices of the inputs along the axis, one after the other."""
    parts = [x.swapaxes(0, op.axis)[i] for x in xs for i in range(x.shape[op.axis])]
    return np.stack(parts).swapaxes(0, op.axis)


def take(op: Any, x: Any) -> Any:
    """x at the flat positions; the zero point at -1."""
    flat = x.ravel().tolist()
    taken = [int(op.pad) if at < 0 else flat[at] for at in op.positions.ravel().tolist()]
    return np.array(taken).reshape(op.positions.shape)


def softmax(op: Any, x: Any) -> Any:
    """min(rhe(2^bits * e_i / d) + zero, top), e_i = table[max - q_i] or the upper word of a product; d the
    sum of e, larger by extra / 2^24 of itself, halves rounded up."""
    rows, wide = [], op.table.ndim == 2
    for q in x.reshape(-1, x.shape[-1]).tolist():
        if wide:
            bytes_of = [divmod(max(q) - v, 256) for v in q]
            e = [int(op.table[0][a]) * int(op.table[1][b]) >> 32 for a, b in bytes_of]
        else:
            e = [int(op.table[max(q) - v]) for v in q]
        d = sum(e) + half_up(Fraction(op.extra * sum(e), 2**24))
        rows.append([min(rhe(Fraction(2**op.bits * v, d)) + op.zero, op.top) for v in e])
    return np.array(rows).reshape(x.shape)


def argmax(op: Any, x: Any) -> Any:
    """Where the largest element of each row lies first (or last), plus the offset."""
    rows = [[i for i, v in enumerate(q) if v == max(q)] for q in x.reshape(-1, x.shape[-1]).tolist()]
    return np.array([r[-1 if op.last else 0] + op.offset for r in rows]).reshape(x.shape[:-1] or (1,))


def table(op: Any, x: Any) -> Any:
    """entries[q - first]."""
    return np.array([int(op.entries[q - op.first]) for q in x.ravel().tolist()]).reshape(x.shape)


def curve(op: Any, x: Any) -> Any:
    """The place of q among the knots, the parabola there, one rounding."""
    size, knees = 1 << op.bits, op.knees.tolist()
    begins, first = [], 0  # of every stretch between knees: its first integer and its first knot
    for start, stop in zip([-32768, *knees], [*knees, 32768], strict=True):
        begins.append((start, first))
        first += ceil(Fraction(stop - start, size)) + 1
    out = []
    for q in x.ravel().tolist():
        start, first = [b for b in begins if b[0] <= q][-1]
        k, r = first + (q - start) // size, (q - start) % size
        left, right, bend = int(op.knots[k]), int(op.knots[k + 1]), int(op.bends[k])
        v = left * (size - r) + right * r + bend * r * (size - r) // 2 ** (2 * op.bits - 8)
        out.append(clip(rhe(Fraction(v, 1 << 14)) + op.parity, op.lo, op.hi))
    return np.array(out).reshape(x.shape)


MEANINGS = {
    "Add": add, "ArgMax": argmax, "AveragePool": average_pool, "Concat": concat, "Conv": conv, "Curve": curve,
    "Dense": dense, "MatMul": mat_mul, "MaxPool": max_pool, "Mul": mul, "Requantise": requantise,
    "Reshape": reshape, "Softmax": softmax, "Table": table, "Take": take, "Transpose": transpose,
}  # fmt: skip


def run(graph: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Every value of an integer graph. KeyError names an op without a slow meaning: write one above."""
    values = dict(inputs)
    for node in graph.nodes:
        values[node.output] = MEANINGS[type(node.op).__name__](node.op, *(values[n] for n in node.inputs))
    return values
