# SPDX-License-Identifier: Apache-2.0
"""Work on pieces of the box: what one worker does, here, in another process or on another machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..domains.pair import Entry
from ..domains.pair_crown import PairCrown
from ..domains.pair_float import Floats, Ints
from ..domains.pair_product import PairProduct
from .blocks import bounded
from .branch import Bounds, Make, bounds
from .cells import Cells, ends_of
from .chain import Chain, chain_of
from .compiled import kernel_of
from .effort import ALL, PART
from .linear import Linear
from .lockstep import Lockstep
from .pieces import Piece, Place, Whole

FLAT = 1 << 12  # a piece of so many cells is enumerated as it is, with others
LEAST = 1 << 8  # the same while a larger one is taken apart
MOST = 1 << 20  # cells of one leaf: what the checker takes
GROUP = 64  # pieces looked at together
SAMPLES = 8  # cells of each that tell how large differences are
LOOSE = 1 << 12  # cells for which the affine form is too loose: more, and the piece is cut


@dataclass(frozen=True)
class Node:
    """A leaf: its bound, how it was found, and what to cut it by."""

    piece: Piece
    bound: Bounds
    method: str
    worst: float  # what cutting the piece may lower: not the float network's own rounding
    score: Floats | None


Item = Node | tuple[int, Any]  # a leaf, or a cut (element, where), in prefix order


@dataclass(frozen=True)
class Job:
    """Nodes to cut. `attack`: the largest difference known; `ratio`: times that is close enough; `leaves`,
    `cells`: how many more the results may make; `seconds`: what is not done by then is given up."""

    nodes: tuple[Node, ...]
    attack: float
    ratio: float
    leaves: int
    cells: int
    seconds: float


@dataclass(frozen=True)
class Done:
    """Per node what became of it (None: it cannot be cut, or was given up); inputs with differences above the
    attack, ascending."""

    grown: tuple[tuple[Item, ...] | None, ...]
    found: tuple[tuple[float, Floats], ...]


class Grower:
    """Bounds pieces and cuts them."""

    def __init__(self, both: Lockstep, at: Mapping[int, Entry], names: Sequence[str], cells: int) -> None:
        self.both, self.whole, self.names = both, Whole(both, at), list(names)
        self.chain: Chain | None = chain_of(both, self.names) if cells else None
        # Where the box itself is too large, large pieces are steep: crown bounds them better, and sooner.
        self.most = cells if self.whole.root.count <= ALL else min(cells, PART)
        # crown where its tighter bounds save much enumeration
        self.method = "product" if self.chain is None else "crown"
        self._begin()

    def _begin(self) -> None:
        self.cells = None
        if self.chain is not None:
            root = self.whole.root
            self.cells = Cells(self.chain, self.whole.entries[0], root, kernel_of(self.chain))
        self.attack, self.found = 0.0, list[tuple[float, Floats]]()
        self.ratio, self.room, self.leaves, self.until = 0.0, 0, 0, np.inf

    def __getstate__(self) -> dict[str, Any]:
        """Without the kernel, which belongs to a process, and what it remembers."""
        return {k: v for k, v in vars(self).items() if k not in ("cells", "found")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def start(self, known: Bounds, job: Job) -> Done:
        """The whole box, of which these bounds are known."""
        self._take(job)
        root, grown = self.whole.root, None
        if self.cells is not None and root.count <= min(self.most, self.room):
            grown = self._cells_of([root])[0]
        return Done((grown or (self._passed(root, known),),), tuple(self.found))

    def cut(self, job: Job) -> Done:
        """Every node cut once, and its halves bounded."""
        self._take(job)
        places = [self._place(node) for node in job.nodes]
        cuts = [(n, p) for n, p in zip(job.nodes, places, strict=True) if p is not None]
        self.leaves -= len(cuts)
        halves = iter(self._evaluate([half for node, p in cuts for half in self.whole.cut(node.piece, *p)]))
        grown: list[tuple[Item, ...] | None] = []
        for place in places:
            pair = None if place is None else (next(halves), next(halves))
            whole = place is not None and pair is not None and None not in pair
            grown.append((place, *(pair[0] or ()), *(pair[1] or ())) if whole and pair and place else None)
        return Done(tuple(grown), tuple(self.found))

    def _take(self, job: Job) -> None:
        self.attack, self.ratio, self.found = job.attack, job.ratio, []
        self.room, self.leaves = job.cells, job.leaves
        self.until = time.perf_counter() + job.seconds

    def _limit(self) -> float:
        return self.ratio * self.attack

    def _evaluate(self, pieces: Sequence[Piece]) -> list[tuple[Item, ...] | None]:
        """Bounds on pieces: by their cells, else by one pass."""
        chosen, room = list[int](), self.room
        for i, piece in enumerate(pieces):
            if self.cells is not None and piece.count <= min(self.most, room):
                chosen.append(i)
                room -= piece.count
        grown = dict(zip(chosen, self._cells_of([pieces[i] for i in chosen]), strict=True))
        for i, piece in enumerate(pieces):
            if grown.get(i) is None and time.perf_counter() < self.until:
                grown[i] = (self._passed(piece, self._bounds(piece)),)
        return [grown.get(i) for i in range(len(pieces))]

    def _cells_of(self, pieces: Sequence[Piece]) -> list[tuple[Item, ...] | None]:
        """Pieces by their cells, small ones together; None where there is no time or room for it."""
        flat = [i for i, piece in enumerate(pieces) if piece.count <= FLAT]
        nodes = dict(zip(flat, self._enumerate([pieces[i] for i in flat]), strict=True))
        return [(nodes[i],) if i in nodes else self._apart(piece) for i, piece in enumerate(pieces)]

    def _enumerate(self, pieces: Sequence[Piece]) -> list[Node]:
        if not pieces or self.cells is None:
            return []
        found = self.cells.bounds(pieces)
        self.room -= sum(piece.count for piece in pieces)
        for k in np.argsort(found.gap, kind="stable"):
            self._note(float(found.gap[k]), found.near[k])
        return [
            self._leaf(piece, bound, float(blur), score)
            for piece, bound, blur, score in zip(pieces, found.bound, found.blur, found.score, strict=True)
        ]

    def _leaf(self, piece: Piece, bound: Floats, blur: float, score: Floats) -> Node:
        (name,) = self.names
        shaped = bound.reshape(self.both.steps[-1].shape)
        return Node(piece, {name: shaped}, "cells", float(bound.max()) - blur, score)

    def _note(self, gap: float, near: Floats) -> None:
        if gap > self.attack:
            self.attack = gap
            self.found.append((gap, near))

    def _apart(self, piece: Piece) -> tuple[Item, ...] | None:
        """A large piece, cut until the affine forms are close enough for its cells to be enumerated; None if
        there is no time or room for that."""
        tree, waiting, fresh, rng = dict[int, Any](), [(0, piece)], 1, np.random.default_rng(0)
        room = self.room
        while waiting:
            if time.perf_counter() > self.until:
                return None
            group, waiting = waiting[-GROUP:], waiting[:-GROUP]
            full = fresh // 2 + len(group) > self.leaves
            for i, each, item in self._looked_at(group, rng, full):
                if item is None or self.room < 0:
                    self.room = room
                    return None
                tree[i] = item
                if not isinstance(item, Node):
                    tree[i] = item, fresh
                    waiting += zip((fresh, fresh + 1), self.whole.cut(each, *item), strict=True)
                    fresh += 2
        self.leaves -= fresh // 2
        return tuple(tree[i] if isinstance(tree[i], Node) else tree[i][0] for i in _prefix(tree))

    def _looked_at(
        self, group: Sequence[tuple[int, Piece]], rng: np.random.Generator, full: bool
    ) -> Iterator[tuple[int, Piece, Node | Place]]:
        """Of every piece its leaf, or where to cut it; None if neither can be. `full`: no more cuts."""
        assert self.cells is not None
        small = [(i, piece) for i, piece in group if piece.count <= LEAST]
        for (i, piece), leaf in zip(small, self._enumerate([piece for _, piece in small]), strict=True):
            yield i, piece, leaf
        large = [(i, piece) for i, piece in group if piece.count > LEAST]
        if not large:
            return
        form = self.cells.kernel.linear(*ends_of([piece for _, piece in large]))
        usual = self._sampled([piece for _, piece in large], rng)
        score = self.cells.worth(form, form.r.argmax(axis=0))
        for k, (i, piece) in enumerate(large):
            near = 2 * form.r[:, k].max() <= self._limit() - usual[k]
            node = self._leaf_of(piece, form, k, score[k], full) if near or full else None
            yield i, piece, node if node is not None or full else self.whole.by_score(piece, score[k])

    def _leaf_of(self, piece: Piece, form: Linear, at: int, score: Floats, full: bool) -> Node | None:
        """Its cells enumerated, if that gives a bound that is low enough, or there are no more cuts."""
        if self.cells is None or piece.count > MOST:
            return None
        limit = self._limit()
        found = bounded(self.cells, piece, form, at, limit, piece.count if full else LOOSE)
        if found is None or (found.bound.max() - found.blur > limit and not full):
            return None
        self.room -= piece.count
        self._note(found.gap, found.near)
        return self._leaf(piece, found.bound, found.blur, score)

    def _sampled(self, pieces: Sequence[Piece], rng: np.random.Generator) -> Floats:
        """The largest of some differences in each piece."""
        assert self.cells is not None
        ends = [[getattr(piece, end) for piece in pieces] for end in ("first", "last")]
        first, last = (np.array(end, np.int64)[:, None] for end in ends)
        q: Ints = rng.integers(first, last + 1, (len(pieces), SAMPLES, first.shape[2]))
        lower, upper = (end[:, None] for end in ends_of(pieces))
        low = np.maximum(lower, self.cells.low[q - self.cells.start])
        high = np.minimum(upper, self.cells.high[q - self.cells.start])
        x = (0.5 * low + 0.5 * high).reshape(-1, q.shape[2])
        real, y = self.cells.at(x, q.reshape(x.shape))
        gap = np.abs(real - y).max(axis=1)
        self._note(float(gap.max()), x[gap.argmax()])
        return np.asarray(gap.reshape(len(pieces), SAMPLES).max(axis=1))

    def _bounds(self, piece: Piece) -> Bounds:
        make: Make = PairProduct if self.chain is None else PairCrown
        return bounds(self.both, make, self.whole.of(piece), self.names)

    def _passed(self, piece: Piece, bound: Bounds) -> Node:
        """A piece that is bounded by one pass."""
        worst, score = max(float(b.max()) for b in bound.values()), None
        if self.cells is not None:
            form = self.cells.kernel.linear(*ends_of([piece]))
            score = self.cells.worth(form, np.array([bound[self.names[0]].argmax()]))[0]
        return Node(piece, bound, self.method, worst, score)

    def _place(self, node: Node) -> Place:
        if node.score is None:
            return self.whole.by_width(node.piece)
        return self.whole.by_score(node.piece, node.score)


def _prefix(tree: Mapping[int, Any]) -> list[int]:
    """Positions of a tree of leaves and (cut, position of the lower half), in prefix order."""
    order, stack = list[int](), [0]
    while stack:
        at = stack.pop()
        order.append(at)
        if not isinstance(tree[at], Node):
            below = tree[at][1]
            stack += [below + 1, below]
    return order
