# SPDX-License-Identifier: Apache-2.0
"""What is not linear on the way back: lines around x and planes around d, chosen row by row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .nodes import MORE, Node, Sum, magnitude
from .rounding import Bools, Floats, Ints, slack
from .together import Together

FAR = 0.375  # a plane is judged so far from the middle towards its worst corner
SAME = 1e-9  # a later line is better by more than this, relative to what it multiplies


def bent(
    read: int,
    box: Floats,
    lines: Floats,
    planes: Floats,
    together: Together | None,
    free: Bools,
    still: Bools,
    *,
    whole: bool = True,
) -> Node:
    """Of ranges (6, n), lines (k, 3, n) and planes (k, 5, n). Not `free`: the first plane is d_in and more;
    `still`: x and y are constants, and the last plane is one: of a part (not `whole`) nothing reads these."""
    bend = _Bend(box, lines, planes, together, free, still)
    kept = np.full(len(free), True) if whole else ~bend.still
    n = len(free)

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        group = None if bend.together is None else bend.together.among(at, n)
        of = box[:, at], lines[..., at], planes[..., at]
        return at, [at[~bend.still[at]]], bent(read, *of, group, free[at], still[at], whole=False)

    def back(a: Floats, out: Sum) -> list[Floats]:
        return [bend.back(a, out)[:, kept]]

    return Node((read,), 8 * n + 8 * bend.free.size * len(planes), n, back, part, bend.together)


class _Bend:
    """Lines and planes around what is not linear, the best ones at the middle of the ranges."""

    def __init__(
        self, box: Floats, lines: Floats, planes: Floats, together: Together | None, free: Bools, still: Bools
    ) -> None:
        self.x, self.d = (0.5 * box[:2].sum(axis=0))[:, None], (0.5 * box[4:].sum(axis=0))[:, None]
        self.wide = 0.5 * (box[1] - box[0])[:, None], 0.5 * (box[5] - box[4])[:, None]
        size = magnitude(box)
        slope, low, high = lines.transpose(1, 0, 2)
        each = np.arange(size.size)
        top = _least((slope * self.x[:, 0] + high)[..., None], SAME * size[:, None])[0][:, 0]
        bottom = _least(-(slope * self.x[:, 0] + low)[..., None], SAME * size[:, None])[0][:, 0]
        self.above = slope[top, each], high[top, each]
        self.below = slope[bottom, each], low[bottom, each]
        self.planes = planes
        moving = planes[-1, :3].any(axis=0) | (self.above[0] != 0) | (self.below[0] != 0)
        self.still = still & ~moving
        self.free = free_at = np.flatnonzero(free & ~self.still)
        self.together = None if together is None else together.only(free_at)
        p, q, s, under, over = np.abs(planes).max(axis=0)
        steep = np.maximum(np.abs(self.above[0]), np.abs(self.below[0]))
        self.rest = np.maximum(np.abs(self.above[1]), np.abs(self.below[1]))
        self.offset = self.rest * (1 + s) + np.maximum(under, over)
        self.size = (steep * (1 + s) + p + q) * size + self.offset
        self.cost = slack(MORE, self.size)
        # Without x, and without what x was, a plane is as good for one coefficient of d as for another.
        self.bare, self.rest_of = (
            np.flatnonzero(planes[:, 1:3, free_at].any(axis=(1, 2)) == other) for other in (False, True)
        )
        p, _, _, low, high = planes[self.bare][:, :, free_at].transpose(1, 0, 2)
        there, away = p * self.d[free_at, 0], FAR * np.abs(p) * self.wide[1][free_at, 0]
        near = SAME * size[free_at, None]
        self.by_sign = [
            (pick, np.take_along_axis(worth, pick[None], axis=0)[0])
            for worth in (there + high + away, away - there - low)
            for pick in [_least(worth[..., None], near)[0][:, 0]]
            if self.bare.size
        ]

    def back(self, a: Floats, out: Sum) -> Floats:
        """Rows of what was bent."""
        out.pay(self.cost, a)
        if len(a) == 1:
            return self._over_x(a[0], out)[None]
        best, score = self._chosen(a[:, self.free])
        alone, group = a[1], self.together if out.joint else None
        if group is not None:
            other = score[np.searchsorted(self.free, group.at)]
            shared = np.where(self._as_one(group, a) < other, a[1, group.at], 0.0)
            most = group.most(shared)
            out.add(most, most, len(a[1]) + MORE)
            alone = a[1].copy()
            alone[group.at] -= shared
        p, q, s, low, high = self.planes[0][..., None]
        taken = np.where(alone > 0, high, low) * alone
        x, d, free = a[0].copy(), p * alone, self.free
        p, q, s, low, high = self.planes[best, :, free[:, None]].transpose(2, 0, 1)
        part = alone[free]
        taken[free] = np.where(part > 0, high, low) * part
        x[free] += s * part
        d[free] = p * part
        at = np.flatnonzero(self.still)
        low, high = self.planes[-1, 3:, at].T[..., None]
        taken[at], d[at] = np.where(alone[at] > 0, high, low) * alone[at], 0.0
        out.add(taken.sum(axis=0), self.offset @ np.abs(alone), len(alone) + MORE)
        x = self._over_x(x, out)
        x[free] += q * part
        new = np.stack([x, d])
        if group is not None:
            new[1, group.at] += 0.5 * shared
        return new

    def _chosen(self, a: Floats) -> tuple[Ints, Floats]:
        """Per free element and row which plane, and its score less what is no better."""
        size = np.abs(a[1])
        margin = SAME * self.size[self.free, None] * np.abs(a).sum(axis=0)

        def scores() -> Iterable[Floats]:
            if self.bare.size:
                (_, gain), (_, loss) = self.by_sign
                value, turn = self._at_middle(a[0])
                far = FAR * np.abs(turn) * self.wide[0][self.free]
                yield np.where(a[1] > 0, gain[:, None], loss[:, None]) * size + value + far
            for k in self.rest_of:
                yield self._score(self.planes[k][:, self.free, None], a, size)

        best, score = _least(scores(), margin)
        which = self.rest_of[np.maximum(best - min(self.bare.size, 1), 0)] if self.rest_of.size else best
        if self.bare.size:
            up, low = (self.bare[pick][:, None] for pick, _ in self.by_sign)
            which = np.where(best > 0, which, np.where(a[1] > 0, up, low))
        return which, score - margin

    def _as_one(self, group: Together, a: Floats) -> Floats:
        """The score of an element of the group, were it bounded together with the others."""
        line = [part[:, None] for part in (*self.above, *self.below)]
        (x, d), here = a[:, group.at], group.at
        above, below = np.maximum(x, 0.0), np.minimum(x, 0.0)
        top, bottom = line[0] * self.x + line[1], line[2] * self.x + line[3]
        score = above * top[here] + below * bottom[here] + 0.5 * d * self.d[here] + np.abs(d) * group.cost
        far = np.abs(above * line[0][here] + below * line[2][here]) * self.wide[0][here]
        return np.asarray(score + FAR * (far + 0.5 * np.abs(d) * self.wide[1][here]))

    def _score(self, plane: Floats, a: Floats, size: Floats) -> Floats:
        p, q, s, low, high = plane
        there = p * self.d[self.free] + q * self.x[self.free]
        value, turn = self._at_middle(a[0] + s * a[1])
        far = np.abs(turn + q * a[1]) * self.wide[0][self.free] + np.abs(p) * size * self.wide[1][self.free]
        return np.asarray(np.where(a[1] > 0, there + high, -there - low) * size + value + FAR * far)

    def _at_middle(self, c: Floats) -> tuple[Floats, Floats]:
        """What the lines of x make of its coefficients, at the middle of its range, and their slope there."""
        sides = ([part[self.free, None] for part in side] for side in (self.above, self.below))
        slope, rest = (np.where(c > 0, *ends) for ends in zip(*sides, strict=True))
        return c * (slope * self.x[self.free] + rest), c * slope

    def _over_x(self, c: Floats, out: Sum) -> Floats:
        plus, minus = np.maximum(c, 0.0), np.minimum(c, 0.0)
        out.add(self.above[1] @ plus + self.below[1] @ minus, self.rest @ np.abs(c), len(c) + MORE)
        return np.asarray(plus * self.above[0][:, None] + minus * self.below[0][:, None])


def _least(scores: Iterable[Floats], margin: Floats) -> tuple[Ints, Floats]:
    """Which score is the least per element, and it; an earlier one that is as good stays."""
    best, chosen = np.full(1, np.inf), np.zeros(1, np.int64)
    for i, score in enumerate(scores):
        wins = score < best - margin
        best, chosen = np.where(wins, score, best), np.where(wins, i, chosen)
    return chosen, best
