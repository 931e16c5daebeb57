# SPDX-License-Identifier: Apache-2.0
"""Leaves by cells of shallow networks: halved until each part is confirmed as a whole or so small that its
cells are counted off, against the affine form over the part; cells that are left open are looked at alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from . import between
from .between import Borders, Boxes
from .chain import RHO, Chain, Pair
from .envelopes import Entry
from .files import need
from .lines import Lines, lines
from .rounding import Floats, Ints, U, above, below, down, rounded, times, up

SMALL, LEAST = 1 << 12, 1 << 7  # cells that are counted off, and those that are whatever their form is
ROUGH = 2.0**-1  # output steps that a form may be off by where more are counted off
WORK = 1 << 31  # cells that are counted off, and
DEAR = 1 << 9  # what a part, or a cell looked at alone, counts for
ONCE, FORMS = 1 << 7, 1 << 10  # parts halved, and cells looked at alone, together
SHARE = 1 << 13  # cells evaluated together
LEAVES = 64  # begun together
WHOLE = 2.0**53


class Halves:
    """Confirms a claim, or finds a larger difference."""

    def __init__(self, chain: Chain, root: Entry, borders: Borders, claim: Floats) -> None:
        self.chain, self.root, self.borders, self.claim = chain, root, borders, claim
        ends = [np.array([f(v) for v in end]) for f, end in ((below, root.lower), (above, root.upper))]
        self.off = chain.off(ends[0], ends[1])
        self.laws, low, high = list[_Law](), ends[0] * 0 + root.ends[0], ends[0] * 0 + root.ends[1]
        for p in chain.pairs:
            self.laws.append(_Law(p, np.maximum(abs(low - p.zero), abs(high - p.zero))))
            low, high = (np.full(len(p.w), float(end)) for end in (p.then.lo, p.then.hi))
        self.work, self.worst = 0, np.zeros(len(chain.pairs[-1].w))

    def bounds(self, boxes: Boxes, heard: Callable[[int], None] = lambda _more: None) -> Iterator[Floats]:
        """Largest |y - x| per output over all boxes, or something between that and the claim: as far as is
        known after each of many parts, and at last."""
        for i in range(0, len(boxes.first), LEAVES):
            begun = boxes.of(slice(i, i + LEAVES))
            waiting = [begun]
            while waiting:
                parts = waiting.pop()
                if len(parts.first) > ONCE:
                    waiting.append(parts.of(slice(ONCE, None)))
                halves = self._halved(parts.of(slice(ONCE)).within(self.borders))
                if len(halves.first):
                    waiting.append(halves)
                yield self.worst
            heard(len(begun.first))

    def _spend(self, work: int) -> None:
        self.work += work
        need(self.work <= WORK, "leaves by cells: too many cells")

    def _halved(self, parts: Boxes) -> Boxes:
        """What is left of them, once what is confirmed as a whole and what is small has been dealt with."""
        self._spend(DEAR * len(parts.first))
        found = between.bound(self.chain, self.root, parts)
        enough = (found <= self.claim).all(axis=1)
        self.worst = np.maximum(self.worst, found[enough].max(axis=0, initial=0.0))
        parts = parts.of(~enough)
        parts = parts.of(~self._counted(parts))
        spans = parts.last - parts.first
        each, i = np.arange(len(spans)), spans.argmax(axis=1)
        middle, last, first = (
            parts.first[each, i] + spans[each, i] // 2,
            parts.last.copy(),
            parts.first.copy(),
        )
        last[each, i], first[each, i] = middle, middle + 1
        starts, ends = np.concatenate([parts.first, first]), np.concatenate([last, parts.last])
        return Boxes(starts, ends, np.tile(parts.low, (2, 1)), np.tile(parts.high, (2, 1)))

    def _counted(self, parts: Boxes) -> NDArray[np.bool_]:
        """Cell by cell, those of the same sides together; which parts were small enough for that."""
        done = parts.count <= SMALL
        near = np.flatnonzero(done)
        form = lines(self.chain, parts.low[near], parts.high[near])
        fine = (form.r <= ROUGH * float(self.chain.out.scales[0])).all(axis=1) | (parts.count[near] <= LEAST)
        done[near] = fine
        parts, form = parts.of(done), form.of(fine)
        self._spend(int(parts.count.sum()))
        sides, which = np.unique(parts.last - parts.first + 1, axis=0, return_inverse=True)
        for k, spans in enumerate(sides):
            at = np.flatnonzero(which.ravel() == k)
            share = max(1, SHARE // int(spans.prod()))
            for i in range(0, len(at), share):
                self._alike(parts, form, at[i : i + share], spans)
        return done

    def _alike(self, parts: Boxes, form: Lines, at: Ints, spans: Ints) -> None:
        """Parts `at`, all of these sides. Arrays are (rows, parts times cells)."""
        start, under, over = self.borders
        grid = np.indices(tuple(spans)).reshape(len(spans), 1, -1)
        q = (parts.first[at].T[:, :, None] + grid).reshape(len(spans), -1)
        x: Floats = q.astype(np.float64)
        for law in self.laws:
            x = law(x)
        outputs, many = len(x), (len(at), *spans)
        y = times((x - self.chain.out.zero).astype(np.int64), self.chain.out.scales[0])
        loose = np.zeros(x.shape[1], bool)
        gaps = np.empty_like(x)
        for o in range(outputs):
            line, apart = (v[at, o].reshape(-1, *(1,) * len(spans)) for v in (form.c, form.r))
            for i, span in enumerate(spans):
                n = parts.first[at, i][:, None] + np.arange(span) - start
                low = np.maximum(parts.low[at, i][:, None], under[n])
                high = np.minimum(parts.high[at, i][:, None], over[n])
                p = 0.5 * low + 0.5 * high
                r, slope = up(np.maximum(high - p, p - low)), form.slope[at, i, o][:, None]
                shape = [len(at)] + [1] * len(spans)
                shape[1 + i] = span
                line = line + (slope * (p - form.middle[at, i][:, None])).reshape(shape)
                apart = apart + (np.abs(slope) * r).reshape(shape)
            line, apart = (np.broadcast_to(v, many).ravel() for v in (line, apart * (1 + RHO)))
            gaps[o] = _gap(line + apart, line - apart, y[0][o], y[1][o])
            loose |= gaps[o] > self.claim[o]
        open_ = np.flatnonzero(loose)
        if open_.size:
            owner = at[open_ // int(spans.prod())]
            alone = self._alone(q[:, open_].T, parts.low[owner], parts.high[owner])
            gaps[:, open_] = np.minimum(gaps[:, open_], alone.T)
        self.worst = np.maximum(self.worst, gaps.max(axis=1))

    def _alone(self, q: Ints, low: Floats, high: Floats) -> Floats:
        """Each of these cells by a form of its own, and by the value in its middle and the steepest slope."""
        self._spend(DEAR * len(q))
        cell = Boxes(q, q, low, high).within(self.borders)
        found = []
        for i in range(0, len(q), FORMS):
            here = cell.of(slice(i, i + FORMS))
            form = lines(self.chain, here.low, here.high)
            p, y = (
                form.middle,
                times(self.chain.whole(here.first) - self.chain.out.zero, self.chain.out.scales[0]),
            )
            r, real = up(np.maximum(here.high - p, p - here.low)), self.chain.real(p)
            apart = ((np.abs(form.slope) * r[..., None]).sum(axis=1) + form.r) * (1 + RHO)
            near = ((form.steep * r[..., None]).sum(axis=1) + self.off + 4 * U * np.abs(real)) * (1 + RHO)
            most, least = np.minimum(form.c + apart, real + near), np.maximum(form.c - apart, real - near)
            found.append(_gap(most, least, *y))
        return np.concatenate(found)


class _Law:
    """A layer of integers: sums of whole numbers, exact in float64 where none is above 2^53, then rounded."""

    def __init__(self, p: Pair, reach: Floats) -> None:
        self.p, t = p, p.then
        most = float((np.abs(p.counts) @ reach + np.abs(p.bias)).max())
        need(most < WHOLE, "leaves by cells: too large sums")
        self.plain = t.mode == "half-even" and most * float(t.m.max(initial=1)) < WHOLE
        self.scale = np.ldexp(t.m.astype(np.float64), -t.s)[:, None]

    def __call__(self, q: Floats) -> Floats:
        """(inputs, cells) to (neurons, cells)."""
        p, t = self.p, self.p.then
        q = p.counts @ (q - p.zero)
        q += p.bias[:, None]
        if self.plain:
            q *= self.scale  # exact, and in place: fresh memory takes longer than sums
            np.rint(q, out=q)
            q += t.zero
        else:
            q = (rounded(q.T.astype(np.int64), t.m, t.s, t.mode, t.zero) + t.zero).T.astype(np.float64)
        return np.clip(q, t.lo, t.hi, out=q)


def _gap(most: Floats, least: Floats, low: Floats, high: Floats) -> Floats:
    return np.maximum(up(up(most) - low), up(high - down(least)))
