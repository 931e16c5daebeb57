# SPDX-License-Identifier: Apache-2.0
"""The difference of both networks of a chain over many boxes of cells at once, affine in the input integers.

x of the float network and d = y - x beside it, over symbols that both share: one per input for its integer
and one for where in its cell x lies; behind every layer one for what x bends by and one for what is rounded.
This is the zonotope of docs/certificate.md with two planes to choose from, and no pass per box. Boxes are on
the last axis, symbols on axis 1. The sums have one order, that of halves.c: both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..domains.pair import farthest
from ..domains.pair_float import TINY, Floats, Ints, U, above, down, up
from .cells import Cells
from .chain import Chain, Layer
from .linear import RHO, WIDE, absolute, product

PART = 64  # boxes at a time are soon done
NUMBERS = 1 << 22  # in one array


@dataclass(frozen=True)
class State:
    """x = cx + sum gx e +- rx beside d = cd + sum gd e +- rd, e in [-1, 1]."""

    cx: Floats
    gx: Floats
    rx: Floats
    cd: Floats
    gd: Floats
    rd: Floats

    def wide(self) -> tuple[Floats, Floats, Floats]:
        """How far x, d and y = x + d are from their middles."""
        spread = [absolute(g) for g in (self.gx, self.gd, self.gx + self.gd)]
        rest = self.rx, self.rd, self.rx + self.rd
        wx, wd, wy = ((s + r) * (1 + RHO) for s, r in zip(spread, rest, strict=True))
        return wx, wd, wy


@dataclass(frozen=True)
class Sums:
    """xhat = w x + b beside yhat = v y + c in real units, e = v - w; rounding moves y by at most `half`, and
    leaves it within low ... high."""

    layer: Layer
    v: Floats
    c: Floats
    e: Floats
    half: Floats
    low: float
    high: float


def shallow(chain: Chain) -> bool:
    """Whether nearly all of its work lies in the first two layers: then one cell is soon told from another,
    and little is gained by carrying on cells together; and a form has few symbols."""
    work = [layer.w.size for layer in chain.layers]
    return not chain.single and sum(work[2:]) <= sum(work[:2])


def sums_of(cells: Cells) -> list[Sums]:
    """All layers in real units."""
    found, before = [], cells.entry.units.scale
    for layer in cells.chain.layers:
        unit = layer.m.astype(np.float64) * 2.0 ** -layer.s.astype(np.float64)
        v = float(layer.scale / before) * unit[:, None] * layer.counts
        half = np.array([above(layer.scale * farthest(layer.mode, int(s))) for s in layer.s])
        scale, ends = float(layer.scale), (layer.lo - layer.zero, layer.hi - layer.zero)
        found.append(
            Sums(layer, v, scale * unit * layer.bias, v - layer.w, half, scale * ends[0], scale * ends[1])
        )
        before = layer.scale
    return found


def bounds_of(
    cells: Cells, sums: Sequence[Sums], first: Ints, last: Ints, lower: Floats, upper: Floats
) -> Floats:
    """|y - x| at most (boxes, outputs), of cells first ... last, x between lower and upper."""
    sizes = [first.shape[1], *(each.half.size for each in sums)]
    part = max(1, NUMBERS // (2 * sum(sizes) * max(sizes)))  # pieces times symbols times the widest layer
    found = []
    for i in range(0, max(len(first), 1), min(part, PART)):
        here = slice(i, i + min(part, PART))
        x = entered(cells, first[here].T, last[here].T, lower[here].T, upper[here].T)
        for each in sums:
            x = rounded(summed(x, each), each)
        found.append(up((np.abs(x.cd) + x.wide()[1]) * (1 + RHO)).T)
    return np.concatenate(found)


def entered(cells: Cells, first: Ints, last: Ints, lower: Floats, upper: Floats) -> State:
    """The input: y on the grid, and x in its cell. All (inputs, boxes)."""
    scale, zero = float(cells.entry.units.scale), cells.entry.units.zero
    ends, many, far = [], first < last, 0.0 if cells.entry.grid else above(cells.entry.units.scale / 2)
    for q, sign in ((last, 1), (first, -1)):  # least and largest y - x are at the outer ends, or at a border
        border = upper if sign > 0 else lower
        inside = np.clip(border, cells.low[q - cells.start], cells.high[q - cells.start])
        gap = scale * (q - zero) - inside
        gap = gap - sign * 8 * U * (np.abs(inside) + np.abs(gap))
        ends.append(np.where(many, sign * np.minimum(sign * gap, -far), gap))
    cd = 0.5 * ends[0] + 0.5 * ends[1]
    rest = up(np.maximum(ends[1] - cd, cd - ends[0]))
    cy, wide = scale * (0.5 * (first + last) - zero), scale * (0.5 * (last - first))
    own, place = _diagonal(np.asarray(wide)), _diagonal(rest)
    rx = WIDE * 16 * U * (np.abs(cy) + wide + np.abs(cd) + rest) + TINY
    gx, gd = np.concatenate([own, -place], axis=1), np.concatenate([np.zeros_like(own), place], axis=1)
    return State(cy - cd, gx, rx, cd, gd, np.zeros_like(rx))


def summed(x: State, s: Sums) -> State:
    """Both sums."""
    w, b, c = s.layer.w, s.layer.b[:, None], s.c[:, None]
    share = WIDE * 1.01 * (2 * w.shape[1] + 16) * U
    wx, wd, _ = x.wide()
    sx, sd = np.abs(x.cx) + wx, np.abs(x.cd) + wd
    rx = product(np.abs(w), x.rx + share * sx) + share * np.abs(b)
    rd = product(np.abs(s.v), x.rd + share * sd) + product(np.abs(s.e), x.rx)
    rd = rd + share * (product(np.abs(s.v) + np.abs(w), sx) + (np.abs(b) + np.abs(c)))
    return State(
        product(w, x.cx) + b,
        product(w, x.gx),
        rx * (1 + RHO) + TINY,
        product(s.v, x.cd) + product(s.e, x.cx) + (c - b),
        product(s.v, x.gd) + product(s.e, x.gx),
        rd * (1 + RHO) + TINY,
    )


def rounded(x: State, s: Sums) -> State:
    """x clipped, y rounded and clipped: d by the chords of both, or as a share of the difference before."""
    wx, wd, wy = x.wide()
    lower, upper, half = down(x.cx - wx), up(x.cx + wx), s.half[:, None]
    low, high = down(x.cx + x.cd - wy), up(x.cx + x.cd + wy)
    a, c = s.layer.a, s.layer.c
    lam, mid, bend = chord(lower, upper, a, c)
    lay, may, bay = chord(low, high, s.low, s.high)
    still = (up(high + half) <= s.low) | (down(low - half) >= s.high)  # beyond its ends, y is rounded to them
    lay, bay = np.where(still, 0.0, lay), np.where(still, 0.0, bay)
    may = np.where(still, np.where(low > s.low, s.high, s.low), may)
    noise = np.where(still, 0.0, bay + half)
    # Of one maximum on both sides, d is between 0 and D with what is rounded.
    most = np.abs(x.cd) + wd
    same = (a == 0.0) & (s.low == 0.0) & (upper <= c) & (up(high + half) <= s.high)
    share = same & ~still & (up(0.5 * most + half) < bend + noise)
    py = np.where(share, 0.5, lay)
    px = np.where(share, 0.0, lay - lam)
    noise = np.where(share, up(0.5 * most + half), noise)
    apart = np.where(share, 0.0, -bend)
    size = np.abs(x.cx) + wx + np.abs(x.cd) + wd
    more = WIDE * 32 * U * (size + np.abs(mid) + np.abs(may) + bend + noise) + TINY
    at, over = py[:, None], px[:, None]
    bent, fresh = _diagonal(bend), np.zeros((s.half.size, s.half.size, bend.shape[1]))
    return State(
        lam * x.cx + mid,
        np.concatenate([lam[:, None] * x.gx, bent, fresh], axis=1),
        lam * x.rx + more,
        py * x.cd + px * x.cx + np.where(share, 0.0, may - mid),
        np.concatenate([at * x.gd + over * x.gx, _diagonal(apart), _diagonal(noise)], axis=1),
        py * x.rd + np.abs(px) * x.rx + more,
    )


def chord(low: Floats, high: Floats, a: float, c: float) -> tuple[Floats, Floats, Floats]:
    """clip(v, a, c) = lam v + mid +- half for v in low ... high."""
    kept, fixed = (low >= a) & (high <= c), (high <= a) | (low >= c)
    wide = np.where(high > low, high - low, 1.0)
    lam = np.clip((np.clip(high, a, c) - np.clip(low, a, c)) / wide, 0.0, 1.0)
    lam = np.where(kept, 1.0, np.where(fixed, 0.0, lam))
    rest = [np.clip(t, a, c) - lam * t for t in (low, high, np.clip(a, low, high), np.clip(c, low, high))]
    top, least = np.maximum.reduce(rest), np.minimum.reduce(rest)
    mid = 0.5 * top + 0.5 * least
    half = np.maximum(top - mid, mid - least) + WIDE * 32 * U * np.maximum(np.abs(low), np.abs(high))
    flat = np.where(high <= a, a, c)
    return lam, np.where(kept, 0.0, np.where(fixed, flat, mid)), np.where(kept | fixed, 0.0, half)


def _diagonal(v: Floats) -> Floats:
    """(n, boxes) as a symbol for each element."""
    out: Floats = np.zeros((len(v), *v.shape))
    each: Ints = np.arange(len(v))
    out[each, each] = v
    return out
