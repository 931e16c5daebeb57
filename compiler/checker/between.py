# SPDX-License-Identifier: Apache-2.0
"""Boxes of cells of shallow networks, as a whole: x and d = y - x over the same symbols, many boxes at once
(the last axis; symbols on axis 1). Where that confirms the claim, no cell need be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .chain import RHO, Chain, Pair
from .envelopes import Entry
from .rounding import TINY, Floats, Ints, U, above, down, moved, up

ONCE = 256  # boxes
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
    """c + sum g e +- r. `own` (kinds, elements, boxes): symbols of the last step, each of one element."""

    c: Floats
    g: Floats
    own: Floats
    r: Floats

    def far(self) -> Floats:
        return np.asarray((_sizes(self.g) + np.abs(self.own).sum(axis=0) + self.r) * (1 + RHO))


@dataclass(frozen=True)
class _Twin:
    """x and d over the same symbols, and what d alone has: of earlier steps, and of the last one."""

    x: _Side
    d: _Side
    noise: Floats
    fresh: Floats

    def far(self) -> Floats:
        """Of d."""
        return np.asarray(self.d.far() + self.alone())

    def alone(self) -> Floats:
        return np.asarray((_sizes(self.noise) + self.fresh) * (1 + RHO))

    def y(self) -> tuple[Floats, Floats]:
        """x + d: its middle, and how far it is from there."""
        x, d = self.x, self.d
        both = _Side(x.c + d.c, x.g + d.g, x.own + d.own, x.r + d.r)
        return both.c, np.asarray(both.far() + self.alone())


def shallow(chain: Chain) -> bool:
    """Whether most of the work is done behind two layers."""
    work = [p.w.size for p in chain.pairs]
    return sum(work[2:]) <= sum(work[:2])


def bound(chain: Chain, root: Entry, boxes: Boxes) -> Floats:
    """Largest |y - x| per box and output; x no further than the cells are."""
    once = max(1, min(ONCE, NUMBERS // _numbers(chain)))
    each = (boxes.of(slice(i, i + once)) for i in range(0, len(boxes.first), once))
    return np.concatenate([_bound(chain, root, some) for some in each])


def _numbers(chain: Chain) -> int:
    """Of the largest array of one leaf: all symbols of the widest layer."""
    sizes: list[int] = [chain.pairs[0].w.shape[1], *(len(p.w) for p in chain.pairs)]
    return 2 * sum(sizes) * max(sizes)


def _bound(chain: Chain, root: Entry, boxes: Boxes) -> Floats:
    both, unit = _entered(root, boxes), root.scale
    for p in chain.pairs:
        both = _rounded(_summed(both, p, unit), p)
        unit = p.then.scale
    return up((np.abs(both.d.c) + both.far()) * (1 + RHO)).T


def _entered(root: Entry, boxes: Boxes) -> _Twin:
    """y is on the grid, and x somewhere in the cells of the box."""
    first, last, a, b = boxes.first.T, boxes.last.T, boxes.low.T, boxes.high.T
    scale, half = float(root.scale), 0.0 if root.grid else above(root.scale / 2)
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
    none, zero = np.zeros((len(wide), 0, wide.shape[1])), np.zeros_like(wide)
    x = _Side(y - middle, none, np.stack([wide, -far]), rest)
    return _Twin(x, _Side(middle, none, np.stack([zero, far]), zero), none, zero)


def _summed(both: _Twin, p: Pair, unit: Fraction) -> _Twin:
    """W x + b, and V d + (V - W) x + (c - b); `unit`: the scale of the integers that are read."""
    x, d, w, b = both.x, both.d, p.w, p.b[:, None]
    gain = p.then.m * np.ldexp(1.0, -p.then.s)
    v, c = (
        float(p.then.scale / unit) * gain[:, None] * p.counts,
        (float(p.then.scale) * gain * p.bias)[:, None],
    )
    e, size = v - w, np.abs(w)
    share = 1.01 * (2 * w.shape[1] + 16) * U
    whole = np.abs(x.c) + x.far()
    rx = size @ (x.r + share * whole) + share * np.abs(b)
    rd = np.abs(v) @ (d.r + share * (np.abs(d.c) + both.far())) + np.abs(e) @ x.r
    rd = rd + share * ((np.abs(v) + size) @ whole + np.abs(b) + np.abs(c))
    none, zero = np.zeros((0, *rx.shape)), np.zeros_like(rx)
    gx, gd = _spread(w, x.g, x.own), _spread(v, d.g, d.own)
    gd += _spread(e, x.g, x.own)
    return _Twin(
        _Side(w @ x.c + b, gx, none, rx * (1 + RHO) + TINY),
        _Side(v @ d.c + e @ x.c + (c - b), gd, none, rd * (1 + RHO) + TINY),
        _spread(v, both.noise, both.fresh[None]),
        zero,
    )


def _spread(w: Floats, g: Floats, own: Floats) -> Floats:
    """w times all symbols."""
    (n, many, boxes), rows = g.shape, len(w)
    out: Floats = np.empty((rows, many + len(own) * n, boxes))
    np.matmul(w, g.reshape(n, -1), out=out.reshape(rows, -1)[:, : many * boxes])
    for k, each in enumerate(own):
        at = many + k * n
        np.multiply(w[:, :, None], each[None], out=out[:, at : at + n])
    return out


def _rounded(both: _Twin, p: Pair) -> _Twin:
    """x clipped beside y rounded and clipped."""
    then, scale, x, d = p.then, float(p.then.scale), both.x, both.d
    half, (a, c) = moved(then.scale, then.s, then.mode)[:, None], then.limits
    bottom, top = scale * (then.lo - then.zero), scale * (then.hi - then.zero)
    far, apart, (middle, away) = x.far(), both.far(), both.y()
    lx, ux, ly, uy = down(x.c - far), up(x.c + far), down(middle - away), up(middle + away)
    lam, mid, bend = _chord(lx, ux, a, c)
    slope, offset, rest = _chord(ly, uy, bottom, top)
    under, over = up(uy + half) <= bottom, down(ly - half) >= top
    stays = under | over
    slope, rest = np.where(stays, 0.0, slope), np.where(stays, 0.0, rest + half)
    offset = np.where(under, bottom, np.where(over, top, offset))
    # max(xhat + D + rounding, 0) - max(xhat, 0) lies between 0 and D + rounding.
    share = up(0.5 * (np.abs(d.c) + apart) + half)
    alike = (a == 0.0) & (then.lo == then.zero) & (ux <= c) & (up(uy + half) <= top)
    alike &= ~stays & (share < bend + rest)
    at, over_x = np.where(alike, 0.5, slope), np.where(alike, 0.0, slope - lam)
    rest, shift = np.where(alike, share, rest), np.where(alike, 0.0, offset - mid)
    sizes = np.abs(x.c) + far + np.abs(d.c) + apart
    more = 32 * U * (sizes + np.abs(mid) + np.abs(offset) + bend + rest) + TINY
    gd = at[:, None] * d.g
    gd += over_x[:, None] * x.g
    return _Twin(
        _Side(lam * x.c + mid, lam[:, None] * x.g, bend[None], lam * x.r + more),
        _Side(
            at * d.c + over_x * x.c + shift,
            gd,
            np.where(alike, 0.0, -bend)[None],
            at * d.r + np.abs(over_x) * x.r + more,
        ),
        at[:, None] * both.noise,
        rest,
    )


def _chord(low: Floats, high: Floats, a: float, c: float) -> tuple[Floats, Floats, Floats]:
    """clip(v, a, c) is slope v + offset, give or take `rest`."""
    first, last = np.maximum(low, a), np.minimum(high, c)  # kinks between low and high, where it bends
    ends = np.minimum(first, c), np.maximum(last, a)
    inside, beyond = (low >= a) & (high <= c), (high <= a) | (low >= c)
    slope = np.minimum((ends[1] - ends[0]) / np.where(high > low, high - low, 1.0), 1.0)
    kinks = (ends[0], low), (ends[1], high), (first, first), (last, last)
    off = [value - slope * v for value, v in kinks]
    most, least = np.maximum.reduce(off), np.minimum.reduce(off)
    mid = 0.5 * most + 0.5 * least
    rest = np.maximum(most - mid, mid - least) + 32 * U * np.maximum(np.abs(low), np.abs(high))
    slope = np.where(inside, 1.0, np.where(beyond, 0.0, slope))
    mid = np.where(inside, 0.0, np.where(beyond, ends[0], mid))
    return slope, mid, np.where(inside | beyond, 0.0, rest)


def _sizes(g: Floats) -> Floats:
    """Of all symbols."""
    return np.asarray(np.abs(g).sum(axis=1))
