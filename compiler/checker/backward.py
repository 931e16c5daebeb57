# SPDX-License-Identifier: Apache-2.0
"""Backward substitution: rows a x + b d of a tensor, bounded from above by rows of what it was computed from.

Coefficients are arrays (1 or 2, elements, rows): of x, and of d unless the rows have none. A coefficient that
was computed counts as exact; its error is paid for with the size of what it multiplies. Elements near each
other go back together, through what they read and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .bends import bent
from .forms import Pad, meet
from .nodes import (
    Node,
    Sum,
    Sums,
    Triple,
    blended,
    blurred,
    joined,
    magnitude,
    moved,
    of_patches,
    root,
    summed,
)
from .pairs import Affine
from .rounding import Bools, Floats, Ints, slack
from .together import Together

BUDGET = 1 << 34  # multiply-adds of all passes; a pass takes at most a quarter of what is left
PART = 1 << 20  # numbers in one array of coefficients
SMALL = 64  # what part of all is little enough for passes that are made in any case
LEAST = 64  # elements at least that go back together
ROWS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1))
Factors = tuple[Floats | float, Floats | float, Floats | float]


class Tape:
    """All tensors of one analysis, in order."""

    def __init__(self, kinds: Sequence[tuple[int, int]] = ROWS, work: int = 0, most: float = np.inf) -> None:
        """work: multiply-adds of all passes, 0 for the usual; most: sums narrowed by them."""
        self.nodes: list[Node] = []
        self.left, self.kinds, self.most = work or BUDGET, kinds, most
        self.small = self.left // SMALL

    def put(self, node: Node) -> int:
        """Its place."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def root(self, box: Floats) -> int:
        """A tensor of which nothing is known but its ranges."""
        return self.put(root(box.reshape(6, -1)))

    def moved(self, read: int, index: Ints, box: Floats, pad: Pad) -> int:
        """Flat positions of a tensor with these ranges, -1 for padding."""
        return self.put(moved(read, index.ravel(), magnitude(box), pad))

    def joined(self, reads: Sequence[int], places: Sequence[Ints]) -> int:
        """Tensors side by side."""
        return self.put(joined(reads, places))

    def blurred(self, read: int, by: Floats) -> int:
        """x + e and d - e with |e| <= by."""
        return self.put(blurred(read, by.ravel()))

    def affine(self, read: int, t: Affine, box: Floats) -> int:
        """The pair of affine maps on a tensor (G, K, P) with these ranges."""
        groups, outs, ins = t.w.shape
        places = t.index.shape[2]
        size = (np.abs(t.w) + np.abs(t.v)) @ magnitude(box).reshape(groups, ins, places) + t.offset
        flat = (
            np.broadcast_to(part, (groups, outs, places)).ravel() for part in (t.b, t.c - t.b, t.offset, size)
        )
        sums = Sums(t.w.transpose(0, 2, 1), t.v.transpose(0, 2, 1), places, *flat)
        node = summed(read, sums)
        if self.nodes[read].moves:
            node = of_patches(node, self.nodes[read], sums)
        return self.put(node)

    def blended(self, reads: Sequence[int], triples: Sequence[Factors], boxes: Sequence[Floats]) -> int:
        """The sum over the inputs of x' = r x, d' = v d + e x, element by element."""
        n, each = boxes[0][0].size, list[Triple]()
        for triple in triples:
            r, v, e = (np.broadcast_to(np.ravel(part), n) for part in triple)
            each.append((r, v, e))
        sizes = [sum(np.abs(part) for part in t) * magnitude(box) for t, box in zip(each, boxes, strict=True)]
        return self.put(blended(reads, each, np.sum(sizes, axis=0)))

    def bent(
        self,
        read: int,
        box: Floats,
        lines: Sequence[Floats],
        planes: Sequence[Floats],
        together: Together | None = None,
        settled: Bools | None = None,
        still: Bools | None = None,
    ) -> int:
        """Lines (slope, low, high) of x and planes (p, q, s, low, high) of d over the same element: x is in
        slope x_in + [low, high], d in p d_in + q x_in + s x + [low, high]; `settled` take the first plane,
        `still` the last."""
        n = box[0].size
        flat = np.stack(lines).reshape(-1, 3, n), np.stack(planes).reshape(-1, 5, n)
        free = np.ones(n, bool) if settled is None else ~settled.ravel()
        none = np.zeros(n, bool) if still is None else still.ravel()
        return self.put(bent(read, box.reshape(6, n), *flat, together, free, none))

    def narrowed(self, place: int, box: Floats, places: int) -> Floats:
        """Ranges (.., places) met with what passes back to the inputs prove, if the budget allows."""
        n = box[0].size
        together = np.arange(n).reshape(-1, places).T
        few = -(-LEAST // together.shape[1])
        blocks = [np.sort(together[i : i + few], axis=None) for i in range(0, places, few)]
        _, nodes = self.window(place, blocks[len(blocks) // 2], n)
        row, late, kinds = sum(node.work for node in nodes.values()), self.most < 1, self.kinds
        if not self._allowed(len(kinds) * n * row, late=late):
            kinds = ROWS[:2]  # x alone, however late
            if not self._allowed(2 * n * row, late=False):
                return box
        self.left -= (work := len(kinds) * n * row)
        ways = [False]
        if kinds == self.kinds:
            self.most -= not late
            groups = [group for at in nodes if (group := self.nodes[at].together)]
            more = work + len(kinds) * n * sum(group.work for group in groups)
            if groups and self._allowed(more, late=late):
                self.left -= more
                ways = [False, True]
        found = np.full((len(ROWS), n), np.inf)
        for block in blocks:
            held, nodes = self.window(place, block, n)
            part = max(1, PART // max(node.width for node in nodes.values()))
            for first in range(0, block.size, part):
                some = block[first : first + part]
                for i, signs in enumerate(kinds):
                    a = np.zeros((2 if signs[1] else 1, held.size, some.size))
                    a[:, np.searchsorted(held, some), np.arange(some.size)] = np.array(signs[: len(a)])[
                        :, None
                    ]
                    tried = [upper(nodes, place, a, joint=way) for way in ways[: 2 if signs[1] else 1]]
                    found[i, some] = np.min(tried, axis=0)
        ux, lx, ud, ld, uy, ly = found.reshape(-1, *box.shape[1:])
        return meet(box, np.stack([-lx, ux, -ly, uy, -ld, ud]))

    def _allowed(self, work: int, *, late: bool) -> bool:
        return work <= self.left // 4 and not (late and work > self.small)

    def on(self, place: int, earlier: int, x: Floats) -> tuple[Floats, Floats] | None:
        """Rows of x (elements, rows) as rows of an earlier tensor and what is at most added, if they read no
        other."""
        out, waiting = Sum(x.shape[1]), {place: x[None]}
        while waiting and (at := max(waiting)) > earlier:
            if not self.nodes[at].reads:
                return None
            for read, new in zip(
                self.nodes[at].reads, self.nodes[at].back(waiting.pop(at), out), strict=True
            ):
                waiting[read] = waiting[read] + new if read in waiting else new
        return (
            (waiting[earlier][0], out.value + slack(out.terms, out.size)) if [*waiting] == [earlier] else None
        )

    def window(self, place: int, some: Ints, n: int) -> tuple[Ints, dict[int, Node]]:
        """The nodes behind some of a tensor's n elements, with what these read alone; the elements that rows
        have at first."""
        if some.size == n:
            behind, todo = set[int](), [place]
            while todo:
                at = todo.pop()
                todo += [] if at in behind else self.nodes[at].reads
                behind.add(at)
            return some, {at: self.nodes[at] for at in behind}
        asked, held, made = {place: some}, dict[int, Ints](), dict[int, tuple[list[Ints], Node]]()
        for at in range(place, -1, -1):
            if at in asked:
                held[at], reads, node = self.nodes[at].part(asked[at])
                made[at] = reads, node
                for read, elements in zip(node.reads, reads, strict=True):
                    if elements.size:
                        asked[read] = np.union1d(asked.get(read, elements), elements)
        return held[place], {at: _into(node, reads, held) for at, (reads, node) in made.items()}


def _into(node: Node, reads: list[Ints], held: dict[int, Ints]) -> Node:
    """A node whose inputs have more elements than it reads: those of other readers get 0 from here; and it
    has no input of which it reads nothing."""
    used = [i for i, elements in enumerate(reads) if elements.size]

    def back(a: Floats, out: Sum) -> list[Floats]:
        found, all_found = [], node.back(a, out)
        for i in used:
            most, new = held[node.reads[i]], all_found[i]
            if most.size > reads[i].size:
                new = np.zeros((len(a), most.size, a.shape[2]))
                new[:, np.searchsorted(most, reads[i])] = all_found[i]
            found.append(new)
        return found

    return replace(node, reads=tuple(node.reads[i] for i in used), back=back)


def upper(nodes: Mapping[int, Node], place: int, a: Floats, *, joint: bool = False) -> Floats:
    """Upper bounds of rows on the tensor at this place."""
    out, waiting = Sum(a.shape[2], joint=joint), {place: a}
    for at in range(place, -1, -1):
        if at in waiting:
            node = nodes[at]
            for read, new in zip(node.reads, node.back(waiting.pop(at), out), strict=True):
                waiting[read] = waiting[read] + new if read in waiting else new
    return out.value + slack(out.terms, out.size)
