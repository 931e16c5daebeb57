# SPDX-License-Identifier: Apache-2.0
"""Boxes of cells of shallow networks, as a whole: x and d = y - x over the same symbols, many boxes at once
(axis 0; symbols on axis 1). Where that confirms the claim, no cell need be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .chain import RHO, Chain, Pair
from .envelopes import Entry
from .rounding import TINY, Floats, Ints, U, above, down, moved, up

ONCE = 64  # boxes
NUMBERS = 1 << 22  # in one array
Borders = tuple[int, Floats, Floats]  # the first integer of the root, and all ends of cells


@dataclass(frozen=True)
class Boxes:
    """Cells first ... last, and the ends of x in them (boxes, inputs)."""

    first: Ints
    last: Ints
    low: Floats
    high: Floats

    @property
    def count(self) -> Ints:
        """Cells of each."""
        return np.asarray((self.last - self.first + 1).prod(axis=1))

    def of(self, some: Any) -> Boxes:
        """Some of them."""
        return Boxes(self.first[some], self.last[some], self.low[some], self.high[some])

    def within(self, borders: Borders) -> Boxes:
        """x no further than the cells are."""
        start, under, over = borders
        low = np.maximum(self.low, under[self.first - start])
        return Boxes(self.first, self.last, low, np.minimum(self.high, over[self.last - start]))


@dataclass(frozen=True)
class _Side:
    """c + sum g e +- r."""

    c: Floats
    g: Floats
    r: Floats

    def far(self) -> Floats:
        return np.asarray((np.abs(self.g).sum(axis=1) + self.r) * (1 + RHO))

    def size(self) -> Floats:
        return np.abs(self.c) + self.far()


def shallow(chain: Chain) -> bool:
    """Whether most of the work is done behind two layers."""
    work = [p.w.size for p in chain.pairs]
    return sum(work[2:]) <= sum(work[:2])


def bound(chain: Chain, root: Entry, boxes: Boxes, borders: Borders) -> Floats:
    """Largest |y - x| per box and output."""
    once = max(1, min(ONCE, NUMBERS // _numbers(chain)))
    each = (boxes.of(slice(i, i + once)) for i in range(0, len(boxes.first), once))
    return np.concatenate([_bound(chain, root, some, borders) for some in each])


def _numbers(chain: Chain) -> int:
    """Of the largest array of one leaf: all symbols of the widest layer."""
    sizes: list[int] = [chain.pairs[0].w.shape[1], *(len(p.w) for p in chain.pairs)]
    return 2 * sum(sizes) * max(sizes)


def _bound(chain: Chain, root: Entry, boxes: Boxes, borders: Borders) -> Floats:
    x, d = _entered(root, boxes, borders)
    unit = root.scale
    for p in chain.pairs:
        x, d = _rounded(*_summed(x, d, p, unit), p)
        unit = p.then.scale
    return up((np.abs(d.c) + d.far()) * (1 + RHO))


def _entered(root: Entry, boxes: Boxes, borders: Borders) -> tuple[_Side, _Side]:
    """y is on the grid, and x somewhere in the cells of the box."""
    first, last, start, under, over = boxes.first, boxes.last, *borders
    scale, half = float(root.scale), 0.0 if root.grid else above(root.scale / 2)
    a, b = np.maximum(boxes.low, under[first - start]), np.minimum(boxes.high, over[last - start])
    top, least = scale * (first - root.zero) - a, scale * (last - root.zero) - b  # of y - x, at both ends
    top = top + 4 * U * (np.abs(a) + np.abs(top) + scale * np.abs(first - root.zero))
    least = least - 4 * U * (np.abs(b) + np.abs(least) + scale * np.abs(last - root.zero))
    several = first < last
    top = np.where(several, np.maximum(top, half), top)
    least = np.where(several, np.minimum(least, -half), least)
    middle = 0.5 * top + 0.5 * least
    far = up(np.maximum(top - middle, middle - least))
    y, wide = scale * (0.5 * (first + last) - root.zero), scale * (0.5 * (last - first))
    rest = 16 * U * (np.abs(y) + wide + np.abs(middle) + far) + TINY
    grid, place, none = _each(np.asarray(wide)), _each(far), np.zeros(2 * (wide.shape[1],))
    none = np.broadcast_to(none, grid.shape)
    x = _Side(y - middle, np.concatenate([grid, -place], axis=1), rest)
    return x, _Side(middle, np.concatenate([none, place], axis=1), np.zeros_like(rest))


def _summed(x: _Side, d: _Side, p: Pair, unit: Fraction) -> tuple[_Side, _Side]:
    """W x + b, and V d + (V - W) x + (c - b); `unit`: the scale of the integers that are read."""
    gain = p.then.m * np.ldexp(1.0, -p.then.s)
    v, c = float(p.then.scale / unit) * gain[:, None] * p.counts, float(p.then.scale) * gain * p.bias
    e, w = v - p.w, np.abs(p.w)
    share = 1.01 * (2 * p.w.shape[1] + 16) * U
    rx = (x.r + share * x.size()) @ w.T + share * np.abs(p.b)
    rd = (d.r + share * d.size()) @ np.abs(v).T + x.r @ np.abs(e).T
    rd = rd + share * (x.size() @ (np.abs(v) + w).T + np.abs(p.b) + np.abs(c))
    return (
        _Side(x.c @ p.w.T + p.b, x.g @ p.w.T, rx * (1 + RHO) + TINY),
        _Side(d.c @ v.T + x.c @ e.T + (c - p.b), d.g @ v.T + x.g @ e.T, rd * (1 + RHO) + TINY),
    )


def _rounded(x: _Side, d: _Side, p: Pair) -> tuple[_Side, _Side]:
    """x clipped beside y rounded and clipped."""
    then, scale = p.then, float(p.then.scale)
    half, (a, c) = moved(then.scale, then.s, then.mode), then.limits
    bottom, top = scale * (then.lo - then.zero), scale * (then.hi - then.zero)
    y = _Side(x.c + d.c, x.g + d.g, x.r + d.r)
    lx, ux, ly, uy = (f(side.c + s * side.far()) for side in (x, y) for f, s in ((down, -1), (up, 1)))
    lam, mid, bend = _chord(lx, ux, a, c)
    slope, offset, rest = _chord(ly, uy, bottom, top)
    under, over = up(uy + half) <= bottom, down(ly - half) >= top
    stays = under | over
    slope, rest = np.where(stays, 0.0, slope), np.where(stays, 0.0, rest + half)
    offset = np.where(under, bottom, np.where(over, top, offset))
    # max(xhat + D + rounding, 0) - max(xhat, 0) lies between 0 and D + rounding.
    share = up(0.5 * d.size() + half)
    alike = (a == 0.0) & (then.lo == then.zero) & (ux <= c) & (up(uy + half) <= top)
    alike &= ~stays & (share < bend + rest)
    at, over_x = np.where(alike, 0.5, slope), np.where(alike, 0.0, slope - lam)
    rest, shift = np.where(alike, share, rest), np.where(alike, 0.0, offset - mid)
    more = 32 * U * (x.size() + d.size() + np.abs(mid) + np.abs(offset) + bend + rest) + TINY
    fresh = np.zeros((len(half), len(half)))
    zero: Any = np.broadcast_to(fresh, (len(lx), *fresh.shape))
    gx = np.concatenate([lam[:, None] * x.g, _each(bend), zero], axis=1)
    gd = at[:, None] * d.g + over_x[:, None] * x.g
    gd = np.concatenate([gd, _each(np.where(alike, 0.0, -bend)), _each(rest)], axis=1)
    return (
        _Side(lam * x.c + mid, gx, lam * x.r + more),
        _Side(at * d.c + over_x * x.c + shift, gd, at * d.r + np.abs(over_x) * x.r + more),
    )


def _chord(low: Floats, high: Floats, a: float, c: float) -> tuple[Floats, Floats, Floats]:
    """clip(v, a, c) is slope v + offset, give or take `rest`."""
    ends = np.clip(low, a, c), np.clip(high, a, c)
    inside, beyond = (low >= a) & (high <= c), (high <= a) | (low >= c)
    slope = np.clip((ends[1] - ends[0]) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    kinks = np.stack([low, high, np.clip(a, low, high), np.clip(c, low, high)])
    off = np.clip(kinks, a, c) - slope * kinks
    most, least = off.max(axis=0), off.min(axis=0)
    mid = 0.5 * most + 0.5 * least
    rest = np.maximum(most - mid, mid - least) + 32 * U * np.maximum(np.abs(low), np.abs(high))
    slope = np.where(inside, 1.0, np.where(beyond, 0.0, slope))
    mid = np.where(inside, 0.0, np.where(beyond, ends[0], mid))
    return slope, mid, np.where(inside | beyond, 0.0, rest)


def _each(v: Floats) -> Floats:
    """A symbol per element."""
    return np.asarray(v[:, :, None] * np.eye(v.shape[1]))
