# SPDX-License-Identifier: Apache-2.0
"""Backward substitution: rows a x + b d of a tensor, bounded from above by rows of what it was computed from.

Coefficients are arrays (1 or 2, elements, rows): of x, and of d unless the rows have none. A coefficient that
was computed counts as exact; its error is paid for with the size of what it multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .forms import Pad, meet
from .pairs import Affine
from .relax import Envelope
from .rounding import Floats, Ints, slack, up
from .together import ROOM, Together, gathered, off_by, undecided

BUDGET = 1 << 32  # multiply-adds of all passes; a pass takes at most a quarter of what is left
PART = 1 << 20  # numbers in one array of coefficients
MORE = 32  # operations of an element beside its inner products
FAR = 0.375  # a plane is judged so far from the middle towards its worst corner
SAME = 1e-9  # a later line is better by more than this, relative to what it multiplies
ROWS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1))
Triple = tuple[Floats | float, Floats | float, Floats | float]


class Sum:
    """What rows have gathered on their way, and the magnitudes that went into it."""

    def __init__(self, rows: int, *, joint: bool = False) -> None:
        self.joint = joint  # elements of a bend may be bounded together
        self.value, self.size, self.terms = np.zeros(rows), np.zeros(rows), MORE

    def add(self, value: Floats, size: Floats, terms: int) -> None:
        """`terms` products whose absolute values sum to `size`."""
        self.value, self.size = self.value + value, self.size + size
        self.terms = max(self.terms, terms + MORE) + 1

    def pay(self, cost: Floats, a: Floats) -> None:
        """An error of `cost` per unit of an element's coefficients."""
        lost = cost @ np.abs(a).sum(axis=0)
        self.add(lost, lost, len(cost))


@dataclass(frozen=True)
class Node:
    """A tensor on the tape: what it reads, multiply-adds and most numbers of a row, and the way back; its
    ranges (6, elements) where nothing linear leads to it, and what is bounded together there."""

    reads: tuple[int, ...]
    work: int
    width: int
    back: Callable[[Floats, Sum], list[Floats]]
    known: Floats | None = None
    together: Together | None = None


def magnitude(box: Floats) -> Floats:
    """|x| + |d| at most, flat."""
    ends = np.abs(box).reshape(3, 2, -1).max(axis=1)
    return up(ends[0] + ends[2])


class Tape:
    """All tensors of one analysis, in order."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.left = BUDGET

    def put(self, node: Node) -> int:
        """Its place."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def root(self, box: Floats) -> int:
        """A tensor of which nothing is known but its ranges."""
        flat = box.reshape(6, -1)
        return self.put(Node((), 0, box[0].size, lambda a, out: _at_ranges(flat[..., None], a, out), flat))

    def moved(self, read: int, index: Ints, box: Floats, pad: Pad) -> int:
        """Flat positions of a tensor with these ranges, -1 for padding."""
        flat, n = index.ravel(), box[0].size
        held = np.flatnonzero(flat >= 0)
        order = held[np.argsort(flat[held], kind="stable")]
        to, first, count = np.unique(flat[order], return_index=True, return_counts=True)
        outside = np.flatnonzero(flat < 0)
        filled = np.array([pad.x, pad.x, *pad.y, *pad.d]).reshape(6, 1, 1)
        cost = slack(int(count.max(initial=1)), np.append(magnitude(box), 0.0)[flat])

        def back(a: Floats, out: Sum) -> list[Floats]:
            if outside.size:
                _at_ranges(filled, a[:, outside], out)
            out.pay(cost, a)
            new = np.zeros((len(a), n, a.shape[2]))
            if to.size:
                new[:, to] = np.add.reduceat(a[:, order], first, axis=1)
            return [new]

        return self.put(Node((read,), flat.size, max(flat.size, n), back))

    def joined(self, reads: Sequence[int], places: Sequence[Ints]) -> int:
        """Tensors side by side."""
        width = sum(place.size for place in places)
        return self.put(Node(tuple(reads), 0, width, lambda a, _: [a[:, place] for place in places]))

    def blurred(self, read: int, by: Floats) -> int:
        """x + e and d - e with |e| <= by."""

        def back(a: Floats, out: Sum) -> list[Floats]:
            lost = by.ravel() @ np.abs(a[0] - a[1] if len(a) == 2 else a[0])
            out.add(lost, lost, by.size)
            return [a]

        return self.put(Node((read,), by.size, by.size, back))

    def affine(self, read: int, t: Affine, box: Floats) -> int:
        """The pair of affine maps on a tensor (G, K, P) with these ranges."""
        groups, outs, ins = t.w.shape
        places = t.index.shape[2]
        full, k = (groups, outs, places), groups * ins * places
        size = (np.abs(t.w) + np.abs(t.v)) @ magnitude(box).reshape(groups, ins, places) + t.offset
        cost = slack(outs + MORE, np.broadcast_to(size, full).ravel())
        b, shift, offset = (np.broadcast_to(part, full).ravel() for part in (t.b, t.c - t.b, t.offset))
        w, v = t.w.transpose(0, 2, 1), t.v.transpose(0, 2, 1)

        def times(m: Floats, a: Floats) -> Floats:
            return np.asarray((m @ a.reshape(groups, outs, -1)).reshape(k, a.shape[1]))

        def back(a: Floats, out: Sum) -> list[Floats]:
            out.pay(cost, a)
            value = b @ a[0] if len(a) == 1 else b @ a[0] + shift @ a[1]
            out.add(value, offset @ np.abs(a).sum(axis=0), len(b))
            if len(a) == 1:
                return [times(w, a[0])[None]]
            of_y = times(v, a[1])
            return [np.stack([times(w, a[0] - a[1]) + of_y, of_y])]

        return self.put(Node((read,), t.w.size * places, groups * places * max(outs, ins), back))

    def blended(self, reads: Sequence[int], triples: Sequence[Triple], boxes: Sequence[Floats]) -> int:
        """The sum over the inputs of x' = r x, d' = v d + e x, element by element."""
        n = boxes[0][0].size
        each = [[np.broadcast_to(np.ravel(part), n)[:, None] for part in triple] for triple in triples]
        sizes = [
            sum(np.abs(part[:, 0]) for part in triple) * magnitude(box)
            for triple, box in zip(each, boxes, strict=True)
        ]
        cost = slack(MORE, np.sum(sizes, axis=0))

        def back(a: Floats, out: Sum) -> list[Floats]:
            out.pay(cost, a)
            if len(a) == 1:
                return [r * a for r, _, _ in each]
            return [np.stack([r * a[0] + e * a[1], v * a[1]]) for r, v, e in each]

        return self.put(Node(tuple(reads), n, n, back))

    def bent(
        self,
        read: int,
        box: Floats,
        after: Floats,
        lines: Sequence[Floats],
        planes: Sequence[Floats],
        together: Together | None = None,
    ) -> int:
        """Lines (slope, low, high) of x and planes (p, q, s, low, high) of d over the same element: x is in
        slope x_in + [low, high], d in p d_in + q x_in + s x + [low, high]. Ranges before and after."""
        n = box[0].size
        flat = np.stack(lines).reshape(-1, 3, n), np.stack(planes).reshape(-1, 5, n)
        bend = _Bend(box.reshape(6, n), *flat, together)
        known = after.reshape(6, n)
        return self.put(Node((read,), 16 * n * len(planes), n, bend.back, known, together))

    def joint(self, read: int, box: Floats, env: Envelope, limits: tuple[float, float]) -> Together | None:
        """What of a step of the tensor `read` can be bounded together."""
        at = undecided(box, limits)
        if not at.size:
            return None
        n, each = at.size, np.arange(at.size)
        a = np.zeros((2, box[0].size, 2 * n))
        a[1, at, each], a[1, at, n + each] = 1.0, -1.0
        out, waiting, ends = Sum(2 * n), {read: a}, []
        for place in range(read, -1, -1):
            if place not in waiting:
                continue
            node, here = self.nodes[place], waiting.pop(place)
            if node.known is not None:
                ends.append((here, node.known))
                continue
            for to, new in zip(node.reads, node.back(here, out), strict=True):
                waiting[to] = waiting[to] + new if to in waiting else new
        if any(n * known[0].size > ROOM for _, known in ends):
            return None
        high = out.value + slack(out.terms, out.size)
        return gathered(at, off_by(box, env, limits).ravel()[at], ends, high)

    def narrowed(self, place: int, box: Floats) -> Floats:
        """Ranges met with what passes back to the inputs prove, if the budget allows."""
        behind, todo = set(), [place]
        while todo:
            at = todo.pop()
            todo += [] if at in behind else self.nodes[at].reads
            behind.add(at)
        n = box[0].size
        work = len(ROWS) * n * sum(self.nodes[at].work for at in behind)
        if work > self.left // 4:
            return box
        self.left -= work
        groups = [group for at in behind if (group := self.nodes[at].together)]
        more = work + len(ROWS) * n * sum(group.work for group in groups)
        ways = [False, True] if groups and more <= self.left // 4 else [False]
        self.left -= more if len(ways) == 2 else 0
        part = max(1, PART // max(self.nodes[at].width for at in behind))
        found = np.empty((len(ROWS), n))
        for first in range(0, n, part):
            here = np.arange(first, min(first + part, n))
            for i, signs in enumerate(ROWS):
                a = np.zeros((2 if signs[1] else 1, n, here.size))
                a[:, here, here - first] = np.array(signs[: len(a)])[:, None]
                tried = [self.upper(place, a, joint=way) for way in ways[: 2 if signs[1] else 1]]
                found[i, here] = np.min(tried, axis=0)
        ux, lx, ud, ld, uy, ly = found.reshape(-1, *box.shape[1:])
        return meet(box, np.stack([-lx, ux, -ly, uy, -ld, ud]))

    def upper(self, place: int, a: Floats, *, joint: bool = False) -> Floats:
        """Upper bounds of rows on the tensor at this place."""
        out, waiting = Sum(a.shape[2], joint=joint), {place: a}
        for at in range(place, -1, -1):
            if at in waiting:
                node = self.nodes[at]
                for read, new in zip(node.reads, node.back(waiting.pop(at), out), strict=True):
                    waiting[read] = waiting[read] + new if read in waiting else new
        return out.value + slack(out.terms, out.size)


def _at_ranges(box: Floats, a: Floats, out: Sum) -> list[Floats]:
    """The rows at ranges (6, elements, 1); of x, y, d two give the third: the best two per element."""
    middle = 0.5 * box[::2] + 0.5 * box[1::2]
    radius = up(np.maximum(box[1::2] - middle, middle - box[::2]))

    def most(k: int, c: Floats) -> Floats:
        return np.asarray(c * middle[k] + np.abs(c) * radius[k])

    value, size = most(0, a[0]), np.abs(a[0]) * (np.abs(middle[0]) + radius[0])
    if len(a) == 2 and box[4:].any():
        value = np.minimum(value + most(2, a[1]), most(0, a[0] - a[1]) + most(1, a[1]))
        value = np.minimum(value, most(2, a[1] - a[0]) + most(1, a[0]))
        size = np.abs(a).sum(axis=0) * (np.abs(middle) + radius).sum(axis=0)
    out.add(value.sum(axis=0), size.sum(axis=0), a.shape[1] + MORE)
    return []


class _Bend:
    """Lines and planes around what is not linear, the best ones at the middle of the ranges."""

    def __init__(self, box: Floats, lines: Floats, planes: Floats, together: Together | None) -> None:
        self.together = together
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
        p, q, s, under, over = np.abs(planes).max(axis=0)
        steep = np.maximum(np.abs(self.above[0]), np.abs(self.below[0]))
        self.rest = np.maximum(np.abs(self.above[1]), np.abs(self.below[1]))
        self.offset = self.rest * (1 + s) + np.maximum(under, over)
        self.size = (steep * (1 + s) + p + q) * size + self.offset
        self.cost = slack(MORE, self.size)

    def back(self, a: Floats, out: Sum) -> list[Floats]:
        """Rows of what was bent."""
        out.pay(self.cost, a)
        if len(a) == 1:
            return [self._over_x(a[0], out)[None]]
        plus, minus = np.maximum(a[1], 0.0), np.minimum(a[1], 0.0)
        line = [part[:, None] for part in (*self.above, *self.below)]
        scores = (self._score(plane[:, :, None], a, plus, minus, line) for plane in self.planes)
        margin = SAME * self.size[:, None] * np.abs(a).sum(axis=0)
        best, score = _least(scores, margin)
        p, q, s, low, high = (self.planes[best, i, np.arange(len(best))[:, None]] for i in range(5))
        alone, half = a[1], np.zeros_like(a[1])
        group = self.together if out.joint else None
        if group is not None:
            shared = np.where(self._as_one(group, a, line) < (score - margin)[group.at], a[1, group.at], 0.0)
            half[group.at] = 0.5 * shared
            most = group.most(shared)
            out.add(most, most, len(best) + MORE)
            alone = a[1] - 2 * half
            plus, minus = np.maximum(alone, 0.0), np.minimum(alone, 0.0)
        out.add((plus * high + minus * low).sum(axis=0), self.offset @ np.abs(alone), len(best) + MORE)
        return [np.stack([self._over_x(a[0] + s * alone, out) + q * alone, p * alone + half])]

    def _as_one(self, group: Together, a: Floats, line: list[Floats]) -> Floats:
        """The score of an element of the group, were it bounded together with the others."""
        (x, d), here = a[:, group.at], group.at
        above, below = np.maximum(x, 0.0), np.minimum(x, 0.0)
        top, bottom = line[0] * self.x + line[1], line[2] * self.x + line[3]
        score = above * top[here] + below * bottom[here] + 0.5 * d * self.d[here] + np.abs(d) * group.cost
        far = np.abs(above * line[0][here] + below * line[2][here]) * self.wide[0][here]
        return np.asarray(score + FAR * (far + 0.5 * np.abs(d) * self.wide[1][here]))

    def _score(self, plane: Floats, a: Floats, plus: Floats, minus: Floats, line: list[Floats]) -> Floats:
        p, q, s, low, high = plane
        there, of_x = p * self.d + q * self.x, a[0] + s * a[1]
        score = plus * (there + high) + minus * (there + low)
        above, below = np.maximum(of_x, 0.0), np.minimum(of_x, 0.0)
        score += above * (line[0] * self.x + line[1]) + below * (line[2] * self.x + line[3])
        far = np.abs(above * line[0] + below * line[2] + q * a[1]) * self.wide[0]
        return np.asarray(score + FAR * (far + np.abs(p * a[1]) * self.wide[1]))

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
