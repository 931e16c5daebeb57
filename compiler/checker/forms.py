# SPDX-License-Identifier: Apache-2.0
"""Ranges and affine forms of (x, d), d = y - x: the state of the analysis.

A box is an array (6, *shape): lx, ux, ly, uy, ld, ud. A form is x = cx + sum gx_i e_i + [-rx, rx], and so d,
with symbols e_i in [-1, 1] that all tensors share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rounding import TINY, Floats, Ints, U, above, below, down, total, up

LIMIT = 1 << 24  # numbers in one generator matrix


class Pad(NamedTuple):
    """What is read outside: x exactly, ranges of y and of d."""

    x: float = 0.0
    y: tuple[float, float] = (0.0, 0.0)
    d: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, x: float, y: Fraction) -> Pad:
        """Of two exact numbers."""
        d = y - Fraction(x)
        return cls(x, (below(y), above(y)), (below(d), above(d)))


def tighten(box: Floats) -> Floats:
    """Each of x, y, d from the other two."""
    lx, ux, ly, uy, ld, ud = box
    ld, ud = np.maximum(ld, down(ly - ux)), np.minimum(ud, up(uy - lx))
    ly, uy = np.maximum(ly, down(lx + ld)), np.minimum(uy, up(ux + ud))
    lx, ux = np.maximum(lx, down(ly - ud)), np.minimum(ux, up(uy - ld))
    return np.stack([lx, ux, ly, uy, ld, ud])


def meet(a: Floats, b: Floats) -> Floats:
    """Intersection, tightened."""
    out = np.minimum(a, b)
    out[::2] = np.maximum(a[::2], b[::2])
    return tighten(out)


@dataclass(frozen=True)
class Form:
    """c, r (2, *shape): centres, remainders of x and d; g (2, symbols, base) read through `at` (-1: 0s)."""

    c: Floats
    r: Floats
    g: Floats
    at: Ints
    ids: Ints

    def gather(self, index: Ints, pad: Pad) -> Form:
        """Flat positions; -1 reads x = 0 and d within pad."""
        inside, at = index >= 0, np.maximum(index, 0)
        fill = np.array([pad.x, 0.5 * pad.d[0] + 0.5 * pad.d[1]]).reshape(2, *(1,) * index.ndim)
        rest = np.array([0.0, 1.000001 * (pad.d[1] - pad.d[0])]).reshape(fill.shape)
        c, r = (
            np.where(inside, part.reshape(2, -1)[:, at], f) for part, f in ((self.c, fill), (self.r, rest))
        )
        return Form(c, r, self.g, np.where(inside, self.at.reshape(-1)[at], -1), self.ids)

    def reshape(self, shape: tuple[int, ...]) -> Form:
        """The same elements in another shape."""
        return Form(
            self.c.reshape(2, *shape), self.r.reshape(2, *shape), self.g, self.at.reshape(shape), self.ids
        )

    def rows(self, first: int = 0, last: int | None = None) -> Floats:
        """Generators (2, symbols, *shape)."""
        at = self.at.reshape(-1)
        part = self.g[:, first:last]
        if at.size != part.shape[2] or not np.array_equal(at, np.arange(at.size)):
            part = part[:, :, np.maximum(at, 0)]
            part[:, :, at < 0] = 0.0
        return part.reshape(2, part.shape[1], *self.at.shape)

    def sums(self) -> Floats:
        """(2, *shape): sums of |g|, rounded up."""
        return np.stack([np.append(total(part), 0.0)[self.at] for part in self.g])

    def radius(self) -> Floats:
        """(2, *shape): upper bounds of |x - cx| and |d - cd|."""
        return up(self.sums() + self.r)

    def box(self, known: Floats) -> Floats:
        """Ranges that the form implies, met with known ones."""
        g, w = self.rows(), self.radius()
        cy = self.c[0] + self.c[1]
        wy = up(total(g[0] + g[1]) * (1 + 2 * U) + (self.r[0] + self.r[1]))
        wy = up(wy + 2 * U * np.abs(cy))
        ends = [
            end
            for c, r in ((self.c[0], w[0]), (cy, wy), (self.c[1], w[1]))
            for end in (down(c - r), up(c + r))
        ]
        return meet(np.stack(ends), known)

    def reduced(self, limit: int) -> Form:
        """At most `limit` symbols; the smallest ones go into the remainders."""
        if self.ids.size <= limit:
            return self
        order = np.argsort(-np.abs(self.g).sum(axis=(0, 2)), kind="stable")
        keep, drop = np.sort(order[:limit]), order[limit:]
        lost = np.stack([np.append(total(part[drop]), 0.0)[self.at] for part in self.g])
        return replace(self, r=up(self.r + lost), g=self.g[:, keep], ids=self.ids[keep])


@dataclass(frozen=True)
class Change:
    """x' = lam x + mid + half ex,  d' = p d + q x + m + e ed + s half ex; ex gets a symbol where `apart`."""

    lam: Floats
    mid: Floats
    half: Floats
    p: Floats
    q: Floats
    s: Floats
    m: Floats
    e: Floats
    apart: NDArray[np.bool_]

    def of(self, x: Form, fresh: int) -> Form:
        """The changed form; new symbols are numbered from `fresh`."""
        n, shape = x.at.size, x.at.shape
        size = np.abs(x.c) + x.radius()
        lam, p, q, s = self.lam, self.p, self.q, self.s
        push = np.abs(s) * self.half
        rx = np.abs(lam) * x.r[0] + 16 * U * (np.abs(lam) * size[0] + np.abs(self.mid) + self.half) + TINY
        spent = np.abs(p) * size[1] + np.abs(q) * size[0] + np.abs(self.m) + self.e + push
        rd = np.abs(p) * x.r[1] + np.abs(q) * x.r[0] + 16 * U * spent + TINY
        shared, own = np.where(self.apart, self.half, 0.0).ravel(), self.e.ravel()
        weight = np.concatenate([shared * (1 + np.abs(s).ravel()), own])
        best = np.argsort(-weight, kind="stable")[: max(LIMIT // max(n, 1) - x.ids.size, 0)]
        keep = np.zeros(2 * n, bool)
        keep[best[weight[best] > 0]] = True
        of_x, of_d = keep[:n].reshape(shape), keep[n:].reshape(shape)
        r = np.stack([
            up(rx + np.where(of_x, 0.0, self.half)),
            up(rd + np.where(of_x, 0.0, push) + np.where(of_d, 0.0, self.e)),
        ])  # fmt: skip
        at_x, at_d = np.flatnonzero(keep[:n]), np.flatnonzero(keep[n:])
        count, nx, nd = x.ids.size, at_x.size, at_d.size
        old, g = x.rows().reshape(2, count, n), np.zeros((2, count + nx + nd, n))
        g[0, :count] = lam.ravel() * old[0]
        g[1, :count] = p.ravel() * old[1]
        if q.any():
            g[1, :count] += q.ravel() * old[0]
        g[0, count + np.arange(nx), at_x] = shared[at_x]
        g[1, count + np.arange(nx), at_x] = (s.ravel() * shared)[at_x]
        g[1, count + nx + np.arange(nd), at_d] = own[at_d]
        c = np.stack([lam * x.c[0] + self.mid, p * x.c[1] + q * x.c[0] + self.m])
        ids = np.concatenate([x.ids, fresh + np.arange(nx + nd)])
        return Form(c, r, g, np.arange(n).reshape(shape), ids)
