# SPDX-License-Identifier: Apache-2.0
"""The bound of one large piece by its cells, block by block: each block's different integers against the
affine form of the float network, over the block as a whole if that is enough, else cell by cell. Only cells
where the form is too loose are looked at around their middles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..domains.pair_float import Floats, Ints, U, scaled, up
from .cells import Cells, ends_of
from .gaps import Forms, gap
from .linear import RHO, WIDE, Linear
from .pieces import Piece

BLOCK = 1 << 15  # cells


@dataclass(frozen=True)
class Bounded:
    """The bound per output, an input where it is nearly attained, and the difference there; how much of the
    bound is the float network's own rounding, at most."""

    bound: Floats
    near: Floats
    gap: float
    blur: float


class _Form:
    """The affine form of one piece, taken apart: what every integer of every input adds to it."""

    def __init__(self, cells: Cells, piece: Piece, form: Linear, at: int) -> None:
        (self.lower,), (self.upper,) = ends_of([piece])
        self.c, g, rest, self.lip = (v[..., at] for v in (form.c, form.g, form.r, form.lip))
        middle = 0.5 * self.lower + 0.5 * self.upper
        rad = up(np.maximum(self.upper - middle, middle - self.lower))
        self.slope = np.where(rad > 0, g / np.where(rad > 0, rad, 1.0), 0.0)
        size = np.abs(self.c) + np.abs(g).sum(axis=1) + rest
        (self.blur,) = cells.blur(self.lower[None], self.upper[None])
        self.point = float(cells.blur(middle[None], middle[None]).max())  # no cut takes this away
        self.rest = rest + WIDE * (len(rad) + 16) * U * size + self.blur
        self.first = np.array(piece.first)
        ends, middles = [], []
        for i, (a, b) in enumerate(zip(piece.first, piece.last, strict=True)):
            q = np.arange(a, b + 1) - cells.start
            low, high = np.maximum(self.lower[i], cells.low[q]), np.minimum(self.upper[i], cells.high[q])
            p = 0.5 * low + 0.5 * high
            ends.append((low, high))
            middles.append((p, up(np.maximum(high - p, p - low))))
        self.ends, self.middles = ends, middles
        self.along = [np.outer(p - m, s) for (p, _), m, s in zip(middles, middle, self.slope.T, strict=True)]
        self.away = [np.outer(r, np.abs(s)) for (_, r), s in zip(middles, self.slope.T, strict=True)]

    def whole(self, first: Ints, last: Ints) -> tuple[Floats, Floats]:
        """Least and largest value of the form in a block."""
        spans = list(zip(first - self.first, last - self.first + 1, strict=True))
        most, least, wide = self.c, self.c, self.rest
        for along, away, (a, b) in zip(self.along, self.away, spans, strict=True):
            most, least = most + along[a:b].max(axis=0), least + along[a:b].min(axis=0)
            wide = wide + away[a:b].max(axis=0)
        wide = wide * (1 + RHO)
        return least - wide, most + wide

    def each(self, first: Ints, last: Ints) -> tuple[Floats, Floats]:
        """Least and largest value of the form in every cell of a block (cells, outputs)."""
        at, wide = self.c[None], self.rest[None]
        for along, away, a, b in zip(
            self.along, self.away, first - self.first, last - self.first + 1, strict=True
        ):
            at = (at[:, None] + along[a:b]).reshape(-1, len(self.c))
            wide = (wide[:, None] + away[a:b]).reshape(-1, len(self.c))
        wide = wide * (1 + RHO)
        return at - wide, at + wide


def bounded(cells: Cells, piece: Piece, form: Linear, at: int, limit: float, most: int) -> Bounded | None:
    """`form`: of several pieces, this one's is number `at`. Bounds above `limit` (the float network's own
    rounding aside) are narrowed cell by cell; None if more than `most` cells need it."""
    lines, zero = _Form(cells, piece, form, at), cells.chain.units.zero
    limit += lines.point
    bound, worst, place = np.zeros(len(lines.c)), -np.inf, np.array(piece.first)
    for first, last in blocks(np.array(piece.first), np.array(piece.last)):
        whole, which = cells.kernel.states(first, last)
        low, high = scaled(whole - zero, cells.chain.units.scale)
        top = gap(lines.whole(first, last), low.min(axis=0), high.max(axis=0))
        if top.max() <= limit:
            bound = np.maximum(bound, top)
            if top.max() > worst:
                worst, place = top.max(), (first + last) // 2
            continue
        gaps = gap(lines.each(first, last), low[which], high[which])
        open_ = np.flatnonzero(gaps.max(axis=1) > limit)
        most -= len(open_)
        if most < 0:
            return None
        if len(open_):
            gaps[open_] = np.minimum(gaps[open_], _around(cells, lines, integers(first, last, open_)))
        bound = np.maximum(bound, gaps.max(axis=0))
        if gaps.max() > worst:
            worst = gaps.max()
            place = integers(first, last, gaps.max(axis=1).argmax()[None])[0]
    near, found = _attained(cells, lines, place)
    return Bounded(bound, near, found, lines.point)


def forms_from(cells: Cells, first: Ints, last: Ints, lower: Floats, upper: Floats, form: Linear) -> Forms:
    """The forms of pieces (pieces, inputs), as _Form takes one form apart."""
    c, g, rest = (np.moveaxis(v, -1, 0) for v in (form.c, form.g, form.r))
    middle = 0.5 * lower + 0.5 * upper
    rad = up(np.maximum(upper - middle, middle - lower))[:, None]
    slope = np.where(rad > 0, g / np.where(rad > 0, rad, 1.0), 0.0)
    size = np.zeros_like(c)
    for i in range(g.shape[2]):  # in the order of halves.c
        size += np.abs(g[:, :, i])
    rest = rest + WIDE * (lower.shape[1] + 16) * U * (np.abs(c) + size + rest)
    return Forms(first, last, lower, upper, middle, slope, c, rest, cells.start, cells.low, cells.high)


def blocks(first: Ints, last: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Parts of a box of cells, of at most BLOCK cells: its last elements whole, the one before in slices."""
    spans, at, inner = last - first + 1, len(first), 1
    while at > 0 and inner * int(spans[at - 1]) <= BLOCK:
        at -= 1
        inner *= int(spans[at])
    if at == 0:
        yield first, last
        return
    step, sliced = max(BLOCK // inner, 1), at - 1  # the elements from `at` on fit
    for head in np.ndindex(*spans[:sliced]):
        for a in range(int(first[sliced]), int(last[sliced]) + 1, step):
            b = min(a + step - 1, int(last[sliced]))
            start = first[:sliced] + np.array(head, np.int64)
            yield np.array([*start, a, *first[at:]]), np.array([*start, b, *last[at:]])


def integers(first: Ints, last: Ints, places: Ints) -> Ints:
    """The cells at these positions of a block (N, inputs)."""
    return np.stack(np.unravel_index(places, tuple(last - first + 1)), axis=-1) + first


def _parts(lines: _Form, q: Ints, of: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Of every cell q what its integers have in the tables `of`."""
    places = list(zip(of, (q - lines.first).T, strict=True))
    one, other = (np.stack([each[k][n] for each, n in places], axis=-1) for k in (0, 1))
    return one, other


def _around(cells: Cells, lines: _Form, q: Ints) -> Floats:
    """The difference in cells q, at most: by the form, and from the value in the middle and the steepest
    slope."""
    p, r = _parts(lines, q, lines.middles)
    real, whole = cells.kernel.points(p, q)
    low, high = scaled(whole - cells.chain.units.zero, cells.chain.units.scale)
    near = cells.off + lines.blur + WIDE * 4 * U * np.abs(real)
    for i in range(p.shape[1]):
        near = near + lines.lip[:, i] * r[:, i, None]
    near = near * (1 + RHO)
    (at, wide), n = (lines.c[None], lines.rest[None]), (q - lines.first).T
    for along, away, k in zip(lines.along, lines.away, n, strict=True):
        at, wide = at + along[k], wide + away[k]
    wide = wide * (1 + RHO)
    return np.minimum(gap((at - wide, at + wide), low, high), gap((real - near, real + near), low, high))


def _attained(cells: Cells, lines: _Form, q: Ints) -> tuple[Floats, float]:
    """The corner of a cell that takes the float network away from the integers, just inside."""
    low, high = (v[0] for v in _parts(lines, q[None], lines.ends))
    p = 0.5 * low + 0.5 * high
    real, y = cells.at(p[None], q[None])
    output = int(np.abs(real - y)[0].argmax())
    sign = np.sign((real - y)[0, output]) * lines.slope[output]
    x = np.nextafter(np.where(sign > 0, high, np.where(sign < 0, low, p)), p)
    real, y = cells.at(x[None], q[None])
    return x, float(np.abs(real - y).max())
