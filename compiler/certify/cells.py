# SPDX-License-Identifier: Apache-2.0
"""Bounds by enumeration: on a cell of the input quantiser the integer network is constant, so that it is
evaluated exactly and only the float network is bounded, by its affine form and around the cell's middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

import numpy as np

from ..domains.pair import Entry
from ..domains.pair_float import Floats, Ints, U, above, below, down, multiples, scaled, up
from .chain import Chain
from .gaps import Forms, Gaps, by_states
from .linear import RHO, WIDE, Linear, linear
from .pieces import Piece
from .points import errors, points
from .single import deviations
from .states import states

CHUNK = 1 << 15  # cells at a time
FAINT = 1e-9  # where nothing is lost to the bands, cut what the output depends on
KEPT = 1 << 23  # numbers of evaluated cells that are remembered


class Kernel(Protocol):
    """What a chain's networks are evaluated with: numpy, or compiled C with the same numbers."""

    def linear(self, lower: Floats, upper: Floats) -> Linear: ...
    def points(self, x: Floats, q: Ints) -> tuple[Floats, Ints]: ...
    def states(self, first: Ints, last: Ints) -> tuple[Ints, Ints]: ...
    def gaps(self, forms: Forms, limit: float, most: int) -> list[Gaps | None]: ...


@dataclass(frozen=True)
class Numpy:
    """The kernel that needs no compiler."""

    chain: Chain

    def linear(self, lower: Floats, upper: Floats) -> Linear:
        return linear(self.chain.layers, lower, upper)

    def points(self, x: Floats, q: Ints) -> tuple[Floats, Ints]:
        return points(self.chain.layers, x, q)

    def states(self, first: Ints, last: Ints) -> tuple[Ints, Ints]:
        return states(self.chain.layers, first, last)

    def gaps(self, forms: Forms, limit: float, most: int) -> list[Gaps | None]:
        return list(by_states(self.states, self.chain.units, forms, limit, most))


@dataclass(frozen=True)
class Found:
    """Per piece: the bound per output; what to cut by; an input that comes close to the bound."""

    bound: Floats  # (pieces, outputs)
    score: Floats  # (pieces, inputs)
    near: Floats  # (pieces, inputs)
    gap: Floats  # (pieces,): the difference at `near`, in plain float64
    blur: Floats  # (pieces,): of the bound, what the float network's own rounding adds at a single point


class Cells:
    """The grid of one input's quantiser, and bounds on pieces of the box."""

    def __init__(self, chain: Chain, entry: Entry, root: Piece, kernel: Kernel) -> None:
        self.chain, self.entry, self.kernel = chain, entry, kernel
        scale, zero = entry.units.scale, entry.units.zero
        self.start = min(root.first)
        steps = 2 * (np.arange(self.start, max(root.last) + 1) - zero)
        far = 0 if entry.grid else 1
        (self.low, _), (_, self.high) = (multiples(steps + s, scale / 2) for s in (-far, far))
        if not entry.grid:  # the outermost cells hold what saturates
            self.low[: max(entry.lo + 1 - self.start, 0)] = -np.inf
            self.high[entry.hi - self.start :] = np.inf
        ends = [np.array([f(v) for v in side]) for f, side in ((below, entry.lower), (above, entry.upper))]
        self.ends = ends[0], ends[1]
        self.off = errors(chain.layers, *ends)
        self.known = _Known(self, root, *ends)

    def at(self, x: Floats, q: Ints) -> tuple[Floats, Floats]:
        """Both networks at inputs x of the cells q, in plain float64."""
        real, whole = self.kernel.points(x, q)
        steps = (whole - self.chain.units.zero).astype(np.float64)
        return real, np.asarray(float(self.chain.units.scale) * steps)

    def blur(self, lower: Floats, upper: Floats) -> Floats:
        """Of boxes (pieces, outputs): how far the float network may be from its real value."""
        if self.chain.single:
            return deviations(self.chain.layers, lower, upper)
        return np.zeros((len(lower), len(self.chain.layers[-1].w)))

    def worth(self, form: Linear, outputs: Ints) -> Floats:
        """What to cut pieces by (pieces, inputs), for one output each."""
        each = np.arange(len(outputs))
        score, reach = (np.moveaxis(v, -1, 0)[each, outputs] for v in (form.score, np.abs(form.g)))
        return np.asarray(score + FAINT * reach)

    def bounds(self, pieces: Sequence[Piece]) -> Found:
        """Bounds over all pieces, their cells at most CHUNK at a time (or one piece's)."""
        lower, upper = ends_of(pieces)
        form = self.kernel.linear(lower, upper)
        middle = 0.5 * lower + 0.5 * upper
        rad = up(np.maximum(upper - middle, middle - lower))
        counts = np.array([piece.count for piece in pieces])
        blur = self.blur(lower, upper)
        starts, parts = [0], []
        for i in range(1, len(pieces) + 1):
            if i == len(pieces) or counts[starts[-1] : i + 1].sum() > CHUNK:
                which = slice(starts[-1], i)
                part = cells_of(pieces[which]), which, form, (lower, upper, middle, rad, blur)
                parts.append(self._part(*part))
                starts.append(i)
        bound, score, near, gap = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Found(bound, score, near, gap, self.blur(middle, middle).max(axis=1))

    def alone(self, q: Ints, lower: Floats, upper: Floats) -> Found:
        """Bounds over cells q (N, inputs), each with a form of its own, between lower and upper."""
        low = np.maximum(lower, self.low[q - self.start])
        high = np.minimum(upper, self.high[q - self.start])
        middle = 0.5 * low + 0.5 * high
        each, blur = np.arange(len(q)), self.blur(low, high)
        ends = low, high, middle, up(np.maximum(high - middle, middle - low)), blur
        form = self.kernel.linear(low, high)
        return Found(*self._part((each, q, each), slice(None), form, ends), blur[:, 0])

    def _part(
        self, cells: tuple[Ints, Ints, Ints], which: slice, form: Linear, ends: tuple[Floats, ...]
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """`cells` of these pieces: the piece of each, its integers, where each piece starts."""
        lower, upper, middle, rad, blur = (v[which] for v in ends)
        owner, q, starts = cells
        low = np.maximum(lower[owner], self.low[q - self.start])
        high = np.minimum(upper[owner], self.high[q - self.start])
        p = 0.5 * low + 0.5 * high
        r = up(np.maximum(high - p, p - low))
        real, whole = self.known.points(p, q, low, high)
        y_low, y_high = scaled(whole - self.chain.units.zero, self.chain.units.scale)
        c, g, rest, lip, score = (
            np.moveaxis(v, -1, 0)[which] for v in (form.c, form.g, form.r, form.lip, form.score)
        )
        slope = np.where(rad[:, None] > 0, g / np.where(rad > 0, rad, 1.0)[:, None], 0.0)
        size = np.abs(c) + np.abs(g).sum(axis=2) + rest
        rest = rest + WIDE * (p.shape[1] + 16) * U * size
        at = np.broadcast_to(c[owner], real.shape).copy()
        blurred = blur[owner]
        wide, near = rest[owner] + blurred, self.off + blurred + WIDE * 4 * U * np.abs(real)
        for i in range(p.shape[1]):
            along = slope[:, :, i][owner]
            at += along * (p - middle[owner])[:, i, None]
            wide = wide + np.abs(along) * r[:, i, None]
            near = near + lip[:, :, i][owner] * r[:, i, None]
        wide, near = wide * (1 + RHO), near * (1 + RHO)
        over = up(up(np.minimum(at + wide, real + near)) - y_low)
        under = up(y_high - down(np.maximum(at - wide, real - near)))
        gap = np.maximum(over, under)
        bound = np.maximum.reduceat(gap, starts, axis=0)
        worst = _first_of(gap.max(axis=1), owner, starts)
        output = gap[worst].argmax(axis=1)
        each = np.arange(len(worst))
        sign = np.sign(over[worst, output] - under[worst, output])[:, None] * slope[each, output]
        corner = np.where(sign > 0, high[worst], np.where(sign < 0, low[worst], p[worst]))
        x = np.nextafter(corner, p[worst])
        real, y = self.at(x, q[worst])
        reach = np.abs(g[each, output])
        return bound, score[each, output] + FAINT * reach, x, np.abs(real - y).max(axis=1)


class _Known:
    """Both networks at the middles of whole cells of the box, remembered: halves of a piece share them."""

    def __init__(self, cells: Cells, root: Piece, lower: Floats, upper: Floats) -> None:
        outputs = len(cells.chain.layers[-1].w)
        self.kernel, self.first = cells.kernel, np.array(root.first)
        self.spans = np.array(root.last) - self.first + 1
        self.use = root.count * outputs <= KEPT
        count = root.count if self.use else 0
        self.seen = np.zeros(count, bool)
        self.real, self.whole = np.empty((count, outputs)), np.empty((count, outputs), np.int64)
        q = [np.arange(a, b + 1) - cells.start for a, b in zip(root.first, root.last, strict=True)]
        self.low = [np.maximum(v, cells.low[at]) for v, at in zip(lower, q, strict=True)]
        self.high = [np.minimum(v, cells.high[at]) for v, at in zip(upper, q, strict=True)]

    def points(self, p: Floats, q: Ints, low: Floats, high: Floats) -> tuple[Floats, Ints]:
        """Both networks for parts of cells: `low` to `high` around p in the cells q."""
        if not self.use:
            return self.kernel.points(p, q)
        at, whole = np.zeros(len(p), np.int64), np.ones(len(p), bool)
        for i, span in enumerate(self.spans):
            n = q[:, i] - self.first[i]
            at = at * span + n
            whole &= (low[:, i] == self.low[i][n]) & (high[:, i] == self.high[i][n])
        new = np.flatnonzero(whole & ~self.seen[at])
        self.real[at[new]], self.whole[at[new]] = self.kernel.points(p[new], q[new])
        self.seen[at[new]] = True
        real, integers = self.real[at], self.whole[at]
        odd = np.flatnonzero(~whole)
        real[odd], integers[odd] = self.kernel.points(p[odd], q[odd])
        return real, integers


def cells_of(pieces: Sequence[Piece]) -> tuple[Ints, Ints, Ints]:
    """All cells of all pieces: the piece of each (N), its integers (N, inputs), where each piece starts."""
    first, last = (np.array([getattr(piece, end) for piece in pieces], np.int64) for end in ("first", "last"))
    spans = last - first + 1
    counts = spans.prod(axis=1)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    owner = np.repeat(np.arange(len(pieces)), counts)
    rest = np.arange(len(owner)) - starts[owner]
    q = np.empty((len(owner), spans.shape[1]), np.int64)
    for i in reversed(range(spans.shape[1])):
        q[:, i] = first[owner, i] + rest % spans[owner, i]
        rest = rest // spans[owner, i]
    return owner, q, starts


def _first_of(value: Floats, owner: Ints, starts: Ints) -> Ints:
    """Position of each piece's largest value, the first of equal ones."""
    largest = np.maximum.reduceat(value, starts)
    at = np.flatnonzero(value == largest[owner])
    return at[np.searchsorted(owner[at], np.arange(len(starts)))]


def ends_of(pieces: Sequence[Piece]) -> tuple[Floats, Floats]:
    """Lower and upper ends (pieces, inputs), outward."""
    return (
        np.array([[_below(v) for v in piece.lower] for piece in pieces]),
        np.array([[_above(v) for v in piece.upper] for piece in pieces]),
    )


@lru_cache(maxsize=1 << 14)
def _below(v: Fraction) -> float:
    return below(v)


@lru_cache(maxsize=1 << 14)
def _above(v: Fraction) -> float:
    return above(v)
