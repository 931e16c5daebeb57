# SPDX-License-Identifier: Apache-2.0
"""Affine forms of (x, d) over shared noise symbols: the state of the differential zonotope (notes 4.3).

x = cx + sum_i gx[i] * e_i + [-rx, rx],  d = cd + sum_i gd[i] * e_i + [-rd, rd],  every e_i in [-1, 1].
The remainders rx, rd take rounding errors and symbols that were given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .pair_box import NOTHING, Box, Pad, centre
from .pair_float import TINY, Floats, Ints, U, down, total, up

LIMIT = 1 << 24  # most numbers in one generator matrix (128 MB)


@dataclass(frozen=True)
class Forms:
    """Generators are (g, base) matrices read through `index` (flat positions, -1 = 0), so that overlapping
    patches are never stored; `symbols` are the ids of their rows, ascending. `box`: ranges known so far."""

    cx: Floats
    cd: Floats
    rx: Floats
    rd: Floats
    gx: Floats
    gd: Floats
    index: Ints
    symbols: Ints
    box: Box

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.cx.shape

    def gather(self, index: Ints, pad: Pad = NOTHING) -> Forms:
        """Elements at flat positions; -1 is padding."""
        inside, at = index >= 0, np.maximum(index, 0)
        middle, radius = centre(*np.array(pad.d))

        def read(part: Floats, fill: Any) -> Floats:
            return np.where(inside, part.reshape(-1)[at], fill)

        where = np.where(inside, self.index.reshape(-1)[at], -1)
        return Forms(
            read(self.cx, pad.x), read(self.cd, middle), read(self.rx, 0.0), read(self.rd, radius),
            self.gx, self.gd, where, self.symbols, self.box.gather(index, pad),
        )  # fmt: skip

    def reshape(self, shape: tuple[int, ...]) -> Forms:
        """The same elements in another shape."""
        return Forms(
            self.cx.reshape(shape), self.cd.reshape(shape), self.rx.reshape(shape), self.rd.reshape(shape),
            self.gx, self.gd, self.index.reshape(shape), self.symbols, self.box.reshape(shape),
        )  # fmt: skip

    def rows(self, first: int = 0, last: int | None = None) -> tuple[Floats, Floats]:
        """Generators first..last of every element: two arrays (g, *shape)."""
        at, parts = self.index.reshape(-1), (self.gx[first:last], self.gd[first:last])
        if at.size != self.gx.shape[1] or not np.array_equal(at, np.arange(at.size)):
            parts = np.take(parts[0], at, axis=1, mode="clip"), np.take(parts[1], at, axis=1, mode="clip")
            outside = at < 0
            if outside.any():
                parts[0][:, outside] = parts[1][:, outside] = 0.0
        return parts[0].reshape(len(parts[0]), *self.shape), parts[1].reshape(len(parts[1]), *self.shape)

    def sizes(self) -> tuple[Floats, Floats]:
        """Upper bounds of |x - cx| and |d - cd|."""
        sums = [
            np.append(total(matrix), 0.0)[self.index] for matrix in (self.gx, self.gd)
        ]  # index -1 reads the 0
        return up(sums[0] + self.rx), up(sums[1] + self.rd)

    def width(self, p: Floats, q: Floats) -> Floats:
        """Radius of P * d + Q * x, symbols shared: a score only, not a proof."""
        gx, gd = self.rows()
        mixed = p * gd
        mixed += q * gx
        return np.asarray(np.abs(mixed, out=mixed).sum(axis=0) + np.abs(p) * self.rd + np.abs(q) * self.rx)

    def concretise(self) -> Box:
        """Ranges of x, y = x + d and d that the forms imply, met with the known ones."""
        wx, wd = self.sizes()
        gx, gd = self.rows()
        wy = up(total(gx + gd) * (1 + 2 * U) + (self.rx + self.rd))
        cy = self.cx + self.cd
        wy = up(wy + 2 * U * np.abs(cy))
        ends = [
            side for c, w in ((self.cx, wx), (cy, wy), (self.cd, wd)) for side in (down(c - w), up(c + w))
        ]
        return Box(*ends).meet(self.box).tighten()

    def known(self, box: Box) -> Forms:
        """The same forms with ranges replaced by better ones."""
        return replace(self, box=box)


@dataclass(frozen=True)
class Change:
    """x' = lam x + mid + half * ex,  d' = P d + Q x + m + e * ed + s * half * ex, per element; ex, ed fresh.

    `apart` says where ex is worth a symbol of its own; elsewhere it goes into the remainders.
    """

    lam: Floats
    mid: Floats
    half: Floats
    p: Floats
    q: Floats
    s: Floats
    m: Floats
    e: Floats
    apart: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def changed(x: Forms, how: Change, fresh: int) -> Forms:
    """Apply a change; new symbols are numbered from `fresh` on. The result's box is unknown (infinite)."""
    n = x.cx.size
    wx, wd = x.sizes()
    sx, sd = np.abs(x.cx) + wx, np.abs(x.cd) + wd
    gx, gd = (part.reshape(-1, n) for part in x.rows())
    lam, p, q = how.lam.ravel(), how.p.ravel(), how.q.ravel()
    rx = np.abs(how.lam) * x.rx + 16 * U * (np.abs(how.lam) * sx + np.abs(how.mid) + how.half) + TINY
    spent = np.abs(how.p) * sd + np.abs(how.q) * sx + np.abs(how.m) + how.e + np.abs(how.s) * how.half
    rd = np.abs(how.p) * x.rd + np.abs(how.q) * x.rx + 16 * U * spent + TINY
    shared = np.where(how.apart, how.half, 0.0).ravel()
    own = how.e.ravel()
    weight = np.concatenate([shared * (1 + np.abs(how.s).ravel()), own])
    room = max(LIMIT // max(n, 1) - gx.shape[0], 0)
    keep = np.zeros(2 * n, bool)
    best = np.argsort(-weight, kind="stable")[:room]
    keep[best[weight[best] > 0]] = True
    symbol_x, symbol_d = keep[:n].reshape(x.shape), keep[n:].reshape(x.shape)
    rx = up(rx + np.where(symbol_x, 0.0, how.half))
    rd = up(rd + np.where(symbol_x, 0.0, np.abs(how.s) * how.half) + np.where(symbol_d, 0.0, how.e))
    at_x, at_d = np.flatnonzero(keep[:n]), np.flatnonzero(keep[n:])
    g, nx, nd = gx.shape[0], at_x.size, at_d.size
    new_x, new_d = np.zeros((g + nx + nd, n)), np.zeros((g + nx + nd, n))
    new_x[:g], new_d[:g] = lam * gx, p * gd + q * gx
    new_x[g + np.arange(nx), at_x] = shared[at_x]
    new_d[g + np.arange(nx), at_x] = (how.s.ravel() * shared)[at_x]
    new_d[g + nx + np.arange(nd), at_d] = own[at_d]
    symbols = np.concatenate([x.symbols, fresh + np.arange(nx + nd)])
    cx, cd = how.lam * x.cx + how.mid, how.p * x.cd + how.q * x.cx + how.m
    return Forms(cx, cd, rx, rd, new_x, new_d, np.arange(n).reshape(x.shape), symbols, unknown(x.shape))


def unknown(shape: tuple[int, ...]) -> Box:
    """The box that says nothing."""
    high = np.full(shape, np.inf)
    return Box(-high, high, -high, high, -high, high)


def reduced(x: Forms, limit: int) -> Forms:
    """At most `limit` symbols: the smallest ones become part of the remainders (their sharing is lost)."""
    if x.symbols.size <= limit:
        return x
    weight = np.abs(x.gx).sum(axis=1) + np.abs(x.gd).sum(axis=1)
    order = np.argsort(-weight, kind="stable")
    keep, drop = np.sort(order[:limit]), order[limit:]
    lost_x, lost_d = (np.append(total(matrix[drop]), 0.0)[x.index] for matrix in (x.gx, x.gd))
    return replace(
        x, rx=up(x.rx + lost_x), rd=up(x.rd + lost_d), gx=x.gx[keep], gd=x.gd[keep], symbols=x.symbols[keep]
    )


def joined(parts: Sequence[Forms], axis: int) -> Forms:
    """Forms one after the other along an axis, over the symbols of all of them."""
    n = sum(x.cx.size for x in parts)
    parts = [reduced(x, LIMIT // (n * len(parts))) for x in parts]
    places = np.cumsum([x.cx.shape[axis] for x in parts])[:-1]
    cx, cd, rx, rd = (
        np.concatenate([getattr(x, name) for x in parts], axis) for name in ("cx", "cd", "rx", "rd")
    )
    box, index = Box.concat([x.box for x in parts], axis), np.arange(n).reshape(cx.shape)
    symbols = np.unique(np.concatenate([x.symbols for x in parts]))
    gx, gd = np.zeros((symbols.size, n)), np.zeros((symbols.size, n))
    for x, where in zip(parts, np.split(index, places, axis), strict=True):
        to = np.ix_(np.searchsorted(symbols, x.symbols), where.ravel())
        gx[to], gd[to] = (part.reshape(x.symbols.size, where.size) for part in x.rows())
    return Forms(cx, cd, rx, rd, gx, gd, index, symbols, box)
