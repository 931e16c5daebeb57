# SPDX-License-Identifier: Apache-2.0
"""Leaves by cells of shallow networks: halved until each part is confirmed as a whole or so small that its
cells are counted off, against the affine form over the part; cells that are left open are looked at alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from . import between
from .between import Borders, Boxes
from .chain import RHO, Chain
from .envelopes import Entry
from .files import need
from .laws import Laws
from .lines import Lines, lines
from .rounding import Floats, Ints, U, above, below, gap, times, up

SMALL, LEAST = 1 << 12, 1 << 7  # cells that are counted off, and those that are whatever their form is
ROUGH = 2.0**-1  # output steps that a form may be off by where more are counted off
WORK = 1 << 31  # cells that are counted off, and
DEAR = 1 << 9  # what a part, or a cell looked at alone, counts for
ONCE, FORMS = 1 << 9, 1 << 10  # parts halved, and cells looked at alone, together
SHARE = 1 << 18  # numbers of a layer evaluated together: what a processor holds near
LEAVES = 64  # begun together


class Halves:
    """Confirms a claim, or finds a larger difference."""

    def __init__(self, chain: Chain, root: Entry, borders: Borders, claim: Floats) -> None:
        self.chain, self.root, self.borders, self.claim = chain, root, borders, claim
        ends = [np.array([f(v) for v in end]) for f, end in ((below, root.lower), (above, root.upper))]
        self.off = chain.off(ends[0], ends[1])
        self.widest = max(len(p.w) for p in chain.pairs)
        self.laws = Laws(chain, *(ends[0] * 0 + end for end in root.ends))
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
            share = max(1, SHARE // (self.widest * int(spans.prod())))
            for i in range(0, len(at), share):
                self._alike(parts, form, at[i : i + share], spans)
        return done

    def _alike(self, parts: Boxes, form: Lines, at: Ints, spans: Ints) -> None:
        """Parts `at`, all of these sides: as far as the claim is, then the cells that may be above it."""
        whole = self.laws(parts.first[at], spans)
        gaps, rest = self._about(parts.of(at), form.of(at), whole)
        claim = self.claim[:, None]
        most = (gaps.max(axis=2) + rest) * (1 + RHO)
        above = (most > claim).any(axis=0)
        self.worst = np.maximum(self.worst, most[:, ~above].max(axis=1, initial=0.0))
        if not above.any():
            return
        near = (gaps[:, above] + rest[:, above, None]) * (1 + RHO)
        owner, cell = np.nonzero((near > claim[..., None]).any(axis=0))
        at, y = at[above][owner], whole[:, above][:, owner, cell].T
        q = parts.first[at] + np.stack(np.unravel_index(cell, tuple(spans)), axis=-1)
        near[:, owner, cell] = self._closely(parts, form, at, q, y).T
        self.worst = np.maximum(self.worst, near.max(axis=(1, 2)))

    def _about(self, parts: Boxes, form: Lines, whole: Floats) -> tuple[Floats, Floats]:
        """How far the form is from the integers in the middle of each cell (outputs, parts, cells), and what
        comes to that anywhere in the part. RHO of what is added pays for all roundings."""
        start, under, over = self.borders
        step, gaps = float(self.chain.out.scales[0]), np.empty_like(whole)
        rest = form.r.T + RHO * (np.abs(form.c.T) + step * self.laws.reach[:, None])
        lines: list[Floats] = [form.c[:, o, None] for o in range(len(whole))]
        for i in reversed(range(parts.first.shape[1])):
            n = parts.first[:, i, None] + np.arange(parts.last[0, i] - parts.first[0, i] + 1) - start
            low, high = (
                np.maximum(parts.low[:, i, None], under[n]),
                np.minimum(parts.high[:, i, None], over[n]),
            )
            p = 0.5 * low + 0.5 * high
            r, from_middle = up(np.maximum(high - p, p - low)).max(axis=1), p - form.middle[:, i, None]
            for o, line in enumerate(lines):
                along = form.slope[:, i, o, None] * from_middle
                lines[o] = (along[:, :, None] + line[:, None]).reshape(len(p), -1)
                rest[o] += np.abs(form.slope[:, i, o]) * r + RHO * np.abs(along).max(axis=1)
        for line, q, each in zip(lines, whole, gaps, strict=True):
            np.multiply(q, -step, out=each)
            each += line
        return np.abs(gaps, out=gaps), rest

    def _closely(self, parts: Boxes, form: Lines, at: Ints, q: Ints, whole: Floats) -> Floats:
        """Cells of the parts `at`: (cells, outputs)."""
        cell = Boxes(q, q, parts.low[at], parts.high[at]).within(self.borders)
        y, form = times(whole.astype(np.int64), self.chain.out.scales[0]), form.of(at)
        p = 0.5 * cell.low + 0.5 * cell.high
        r = up(np.maximum(cell.high - p, p - cell.low))
        line = form.c + (form.slope * (p - form.middle)[..., None]).sum(axis=1)
        apart = ((np.abs(form.slope) * r[..., None]).sum(axis=1) + form.r) * (1 + RHO)
        found = gap(line + apart, line - apart, *y)
        loose = (found > self.claim).any(axis=1)
        found[loose] = np.minimum(found[loose], self._alone(cell.of(loose), y[0][loose], y[1][loose]))
        return found

    def _alone(self, cells: Boxes, *y: Floats) -> Floats:
        """Each of these cells by a form of its own, and by the value in its middle and the steepest slope."""
        self._spend(DEAR * len(cells.first))
        found = [np.zeros((0, len(self.claim)))]
        for i in range(0, len(cells.first), FORMS):
            some = slice(i, i + FORMS)
            here = cells.of(some)
            form = lines(self.chain, here.low, here.high)
            p = form.middle
            r, real = up(np.maximum(here.high - p, p - here.low)), self.chain.real(p)
            apart = ((np.abs(form.slope) * r[..., None]).sum(axis=1) + form.r) * (1 + RHO)
            near = ((form.steep * r[..., None]).sum(axis=1) + self.off + 4 * U * np.abs(real)) * (1 + RHO)
            most, least = np.minimum(form.c + apart, real + near), np.maximum(form.c - apart, real - near)
            found.append(gap(most, least, y[0][some], y[1][some]))
        return np.concatenate(found)
