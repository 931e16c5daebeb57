# SPDX-License-Identifier: Apache-2.0
"""The integer network on a box of input integers, exactly: layer by layer only what can move there, and each
vector of integers once."""

from __future__ import annotations

from typing import Any

import numpy as np

from .chain import Chain, Pair
from .rounding import Floats, Ints, rounded

WHOLE32, WHOLE64 = 2.0**24, 2.0**53  # whole numbers up to here are floats


def reached(chain: Chain, first: Ints, last: Ints, *, once: bool = True) -> tuple[Ints, Ints]:
    """The vectors that the outputs can be (k, outputs), and which of them belongs to each vector of inputs
    from first to last (the last one counts fastest); with `once` no vector twice behind the second layer."""
    low, high = first.astype(np.float64), last.astype(np.float64)
    x, which = np.zeros((1, 0)), np.zeros(int(np.prod(last - first + 1)), np.int64)
    for i, p in enumerate(chain.pairs):
        a, b, size = low - p.zero, high - p.zero, np.abs(p.counts)
        middle, half = p.counts @ (a + b) / 2 + p.bias, size @ (b - a) / 2  # halves of whole numbers: exact
        each = np.abs(middle) + half + size @ np.maximum(np.abs(a), np.abs(b))
        ends = (_then(p, v[None], float(each.max()), slice(None))[0] for v in (middle - half, middle + half))
        moving, (under, over) = low < high, ends
        rows = under < over
        most = float(each[rows].max(initial=0.0))  # a neuron that never moves may have an enormous bias
        kind: Any = np.float32 if most < WHOLE32 else np.float64
        w, fixed = p.counts[rows][:, moving].astype(kind), p.counts[rows][:, ~moving] @ a[~moving]
        start = (p.bias[rows] + fixed).astype(kind)
        if i == 0:
            acc, which = start[None], np.arange(len(which))
            for column, m, n in zip(w.T, a[moving], b[moving], strict=True):
                steps = np.arange(m, n + 1).astype(kind)[:, None] * column
                acc = (acc[:, None] + steps).reshape(len(acc) * len(steps), len(start))
        else:
            less = x.astype(kind)
            less -= kind(p.zero)
            acc = less @ w.T
            acc += start
        x = _then(p, acc, most, rows)
        low, high = under, over
        if once and (i > 0 or p is chain.pairs[-1]):
            x, place = _once(x, low[rows], high[rows])
            which = place[which]
    out = np.repeat(low[None], len(x), axis=0)
    out[:, low < high] = x
    return out.astype(np.int64), which


def _then(p: Pair, acc: Floats, most: float, rows: Any) -> Floats:
    """The Requantise behind some of the sums, none above `most`."""
    m, s = p.then.m[rows], p.then.s[rows]
    if p.then.mode == "half-even" and most * float(m.max(initial=1)) < WHOLE64:
        q = acc.astype(np.float64)  # then in place: fresh memory takes longer than the sums
        q *= np.ldexp(m.astype(np.float64), -s)  # exact
        np.rint(q, out=q)
    else:
        q = rounded(acc.astype(np.int64), m, s, p.then.mode).astype(np.float64)
    q += p.then.zero
    return np.clip(q, p.then.lo, p.then.hi, out=q)


def _once(x: Floats, low: Floats, high: Floats) -> tuple[Floats, Ints]:
    """Different rows of x, and where each row is among them. A row is a number to a varying base, in as many
    pieces as float64 needs."""
    pieces, base = [np.zeros(len(x))], 1.0
    for column, a, span in zip(x.T, low, high - low + 1, strict=True):
        if base * span > WHOLE64 / 2:
            pieces.append(np.zeros(len(x)))
            base = 1.0
        pieces[-1] += (column - a) * base
        base *= span
    order = np.lexsort(pieces)
    new = np.ones(len(x), bool)
    new[1:] = np.any([piece[order][1:] != piece[order][:-1] for piece in pieces], axis=0)
    place = np.empty(len(x), np.int64)
    place[order] = np.cumsum(new) - 1
    return x[order[new]], place
