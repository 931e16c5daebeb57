# SPDX-License-Identifier: Apache-2.0
"""Work on pieces of the box: what one worker does, here, in another process or on another machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from ..domains.pair import Entry
from ..domains.pair_box import Box
from ..domains.pair_crown import PairCrown
from ..domains.pair_float import Floats, Ints
from ..domains.pair_product import PairProduct
from .attack import FEW
from .between import shallow, sums_of
from .blocks import bounded
from .branch import Bounds, Make, bounds
from .cells import Cells, ends_of
from .chain import Chain, chain_of
from .compiled import kernel_of
from .effort import ALL, PART, Ended, never
from .halves import DEAR, closed, differences
from .hunt import hunt
from .linear import Linear
from .lockstep import Lockstep
from .neurons import Sighted, unsaturated
from .neurons import bounded as bounded_by_neurons
from .nodes import Done, Item, Job, Node, no_worse, prefix, worst_of
from .pieces import Piece, Place, Whole

FLAT = 1 << 12  # a piece of so many cells is enumerated as it is, with others
LEAST = 1 << 8  # the same while a larger one is taken apart
UNCUT = 1 << 21  # the whole box, if it has no more: larger ones are for several workers
MOST = 1 << 20  # cells of one leaf: what the checker takes
GROUP = 64  # pieces looked at together
SAMPLES = 8  # cells of each that tell how large differences are
LOOSE = 1 << 12  # cells for which the affine form is too loose: more, and the piece is cut

NOTHING: Mapping[int, Box] = {}


class Grower:
    """Bounds pieces and cuts them."""

    def __init__(
        self,
        both: Lockstep,
        at: Mapping[int, Entry],
        names: Sequence[str],
        cells: int,
        known: Mapping[int, Box] = NOTHING,
    ) -> None:
        self.known, self.both, self.whole, self.names = known, both, Whole(both, at), list(names)
        self.chain: Chain | None = chain_of(both, self.names) if cells else None
        self.shallow = self.chain is not None and shallow(self.chain)
        # Where the box itself is too large, large pieces are steep: crown bounds them better, and sooner.
        self.most = cells if self.shallow or self.whole.root.count <= ALL else min(cells, PART)
        self.many = len(self.whole.owner) > FEW
        # crown where its tighter bounds save much enumeration, or show where to cut
        self.method = "crown" if self.chain is not None or self.many else "product"
        self._begin()

    def _begin(self) -> None:
        self.cells = None
        if self.chain is not None:
            root = self.whole.root
            self.cells = Cells(self.chain, self.whole.entries[0], root, kernel_of(self.chain))
            self.sums = sums_of(self.cells)
        self._seen: Sighted | None = None  # of the whole box: it holds in every piece
        self.attack, self.found = 0.0, list[tuple[float, Floats]]()
        self.ratio, self.room, self.leaves, self.until = 0.0, 0, 0, np.inf
        self.stop: Callable[[], bool] = never  # of this process, beside the time of a job

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to a process: the kernel and what it remembers, Ctrl-C."""
        return {k: v for k, v in vars(self).items() if k not in ("cells", "found", "stop", "_seen")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def start(self, known: Bounds, job: Job) -> Done:
        """The whole box, of which these bounds are known."""
        self._take(job)
        root, grown = self.whole.root, None
        if self.cells is not None and self.shallow and root.count > UNCUT:
            for gap, near in hunt(self.cells, self.sums, root, self._over):
                self._note(gap, near)
        if self.cells is not None and root.count <= min(self.most, self.room, UNCUT):
            grown = self._cells_of([root])[0]
        return Done((grown or (self._passed(root, known),),), tuple(self.found))

    def cut(self, job: Job) -> Done:
        """Every node cut once, and its halves bounded."""
        self._take(job)
        # Of shallow networks, what was enough for an earlier goal may be looked at more closely as it is.
        again = [self._anew(node) for node in job.nodes]
        anew = self._apart([node.piece for node, more in zip(job.nodes, again, strict=True) if more])
        places = [None if more else self._place(node) for node, more in zip(job.nodes, again, strict=True)]
        cuts = [(n, p) for n, p in zip(job.nodes, places, strict=True) if p is not None]
        self.leaves -= len(cuts)
        halves = iter(self._evaluate([half for node, p in cuts for half in self.whole.cut(node.piece, *p)]))
        grown: list[tuple[Item, ...] | None] = []
        for node, place, more in zip(job.nodes, places, again, strict=True):
            pair = None if place is None else tuple(no_worse(next(halves), node) for _ in range(2))
            whole = place is not None and pair is not None and None not in pair
            found = (place, *(pair[0] or ()), *(pair[1] or ())) if whole and pair and place else None
            grown.append(anew.pop(0) if more else found)
        return Done(tuple(grown), tuple(self.found))

    def _anew(self, node: Node) -> bool:
        return self.shallow and node.method == "cells" and LEAST < node.piece.count <= self.most

    def _take(self, job: Job) -> None:
        self.attack, self.ratio, self.found = job.attack, job.ratio, []
        self.room, self.leaves = job.cells, job.leaves
        self.until = time.perf_counter() + job.seconds

    def _over(self) -> bool:
        return time.perf_counter() > self.until or self.stop()

    def _limit(self) -> float:
        return self.ratio * self.attack

    def _evaluate(self, pieces: Sequence[Piece]) -> list[tuple[Item, ...] | None]:
        """Bounds on pieces: by their cells, else by one pass."""
        chosen, room = list[int](), self.room
        for i, piece in enumerate(pieces):
            if self.cells is not None and piece.count <= self.most and (self.shallow or piece.count <= room):
                chosen.append(i)
                room -= piece.count
        grown = dict(zip(chosen, self._cells_of([pieces[i] for i in chosen]), strict=True))
        for i, piece in enumerate(pieces):
            if grown.get(i) is None and not self._over():
                with suppress(Ended):
                    grown[i] = (self._passed(piece),)
        return [grown.get(i) for i in range(len(pieces))]

    def _cells_of(self, pieces: Sequence[Piece]) -> list[tuple[Item, ...] | None]:
        """Pieces by their cells, small ones together; None where there is no time or room for it."""
        flat = [i for i, piece in enumerate(pieces) if piece.count <= (LEAST if self.shallow else FLAT)]
        look = self._closed if self.shallow else self._enumerate
        nodes = dict(zip(flat, look([pieces[i] for i in flat]), strict=True))
        alone = {i: self._apart([piece])[0] for i, piece in enumerate(pieces) if i not in nodes}
        alone |= {i: None if node is None else (node,) for i, node in nodes.items()}
        return [alone[i] for i in range(len(pieces))]

    def _closed(self, pieces: Sequence[Piece]) -> Sequence[Node | None]:
        """Of shallow networks: by halves; None where that takes more work than there is room for."""
        assert self.cells is not None
        found = closed(self.cells, self.sums, pieces, self._limit(), max(self.room, 0), self.attack)
        nodes = list[Node | None]()
        for piece, each in zip(pieces, found, strict=True):
            if each is not None:
                self.room -= each.work
                self._note(each.gap, each.near)
            nodes.append(None if each is None else self._leaf(piece, each.bound, 0.0, None, each.work))
        return nodes

    def _enumerate(self, pieces: Sequence[Piece]) -> Sequence[Node | None]:
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

    def _leaf(
        self, piece: Piece, bound: Floats, blur: float, score: Floats | None, work: int | None = None
    ) -> Node:
        (name,) = self.names
        shaped, work = bound.reshape(self.both.steps[-1].shape), piece.count if work is None else work
        return Node(piece, {name: shaped}, "cells", float(bound.max()) - blur, score, work=work)

    def _note(self, gap: float, near: Floats) -> None:
        if gap > self.attack:
            self.attack = gap
            self.found.append((gap, near))

    def _apart(self, pieces: Sequence[Piece]) -> list[tuple[Item, ...] | None]:
        """Large pieces, cut until the affine forms are close enough for their cells to be enumerated; None if
        there is no time or room for that."""
        tree, fresh, rng = dict[int, Any](), len(pieces), np.random.default_rng(0)
        waiting, room = list(enumerate(pieces)), self.room
        while waiting:
            group, waiting = waiting[-GROUP:], waiting[:-GROUP]
            full = (fresh - len(pieces)) // 2 + len(group) > self.leaves
            for i, each, item in self._looked_at(group, rng, full):
                if item is None or self.room < 0 or self._over():
                    self.room = room
                    return [None] * len(pieces)
                tree[i] = item
                if not isinstance(item, Node):
                    tree[i] = item, fresh
                    waiting += zip((fresh, fresh + 1), self.whole.cut(each, *item), strict=True)
                    fresh += 2
        self.leaves -= (fresh - len(pieces)) // 2
        items = {i: item if isinstance(item, Node) else item[0] for i, item in tree.items()}
        return [tuple(items[i] for i in prefix(tree, root)) for root in range(len(pieces))]

    def _looked_at(
        self, group: Sequence[tuple[int, Piece]], rng: np.random.Generator, full: bool
    ) -> Iterator[tuple[int, Piece, Node | Place]]:
        """Of every piece its leaf, or where to cut it; None if neither can be. `full`: no more cuts."""
        assert self.cells is not None
        if self.shallow:
            yield from self._halved(group, full)
            return
        small = [(i, piece) for i, piece in group if piece.count <= LEAST]
        for (i, piece), leaf in zip(small, self._enumerate([piece for _, piece in small]), strict=True):
            yield i, piece, leaf
        large = [(i, piece) for i, piece in group if piece.count > LEAST]
        if not large:
            return
        form = self.cells.kernel.linear(*ends_of([piece for _, piece in large]))
        usual = self._sampled([piece for _, piece in large], rng)
        score = self.cells.worth(form, form.r.argmax(axis=0))
        reach, limit = form.r.max(axis=0), self._limit()
        near = [bool(full or 2 * r <= limit - seen) for r, seen in zip(reach, usual, strict=True)]
        for k, (i, piece) in enumerate(large):
            node = self._leaf_of(piece, form, k, score[k], full) if near[k] else None
            yield i, piece, node if node is not None or full else self.whole.by_score(piece, score[k])

    def _halved(
        self, group: Sequence[tuple[int, Piece]], full: bool
    ) -> Iterator[tuple[int, Piece, Node | Place]]:
        """The same of shallow networks: a leaf of as many cells as may be."""
        assert self.cells is not None
        few = [piece for _, piece in group if piece.count <= MOST]
        many = [piece for _, piece in group if piece.count > MOST]
        nodes: dict[int, Node | None] = dict(zip(map(id, few), self._closed(few), strict=True))
        for piece, bound in zip(many, differences(self.cells, self.sums, many), strict=True):
            nodes[id(piece)] = self._leaf(piece, bound, 0.0, None, DEAR)
        for i, piece in group:
            node = nodes[id(piece)]
            enough = node is not None and (node.worst <= self._limit() or piece.count <= LEAST)
            if enough or full:
                yield i, piece, node
                continue
            self.room += node.work if node is not None and piece.count <= MOST else 0
            yield i, piece, self.whole.by_score(piece, self._score(piece))

    def _score(self, piece: Piece) -> Floats:
        """What to cut it by, where its bound does not tell."""
        assert self.cells is not None
        form = self.cells.kernel.linear(*ends_of([piece]))
        return np.asarray(self.cells.worth(form, form.r.argmax(axis=0))[0])

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

    def _sighted(self, piece: Piece) -> tuple[Sighted, str]:
        """By neurons, beside what is known of the whole box; and the method. Where outputs saturate as far as
        is known, the float network's ranges tell most, and soonest."""
        where = partial(bounded_by_neurons, self.both, outputs=self.names, over=self._over)
        self._seen = self._seen or where(self.whole.at, (), known=self.known)
        one = partial(where, self.whole.of(piece), piece.limits, known=self._seen.boxes)
        least = unsaturated(self.both, self._seen, self.names)
        if worst_of(self._seen.bound) > least and worst_of((found := one(only_x=True)).bound) > least:
            return found, "float"
        return one(), self.method

    def _passed(self, piece: Piece, bound: Bounds | None = None) -> Node:
        """A piece that is bounded by one pass, unless that has been made."""
        place: Place = None
        method = self.method
        if bound is None and self.shallow and self.cells is not None:
            (each,) = differences(self.cells, self.sums, [piece])
            return self._leaf(piece, each, 0.0, None, DEAR)
        if bound is None and self.many:
            sighted, method = self._sighted(piece)
            bound, place = sighted.bound, sighted.place
        elif bound is None:
            make: Make = PairProduct if self.chain is None else PairCrown
            bound = bounds(self.both, make, self.whole.of(piece), self.names, self._over)
        worst, score = worst_of(bound), None
        if self.cells is not None:
            form = self.cells.kernel.linear(*ends_of([piece]))
            score = self.cells.worth(form, np.array([bound[self.names[0]].argmax()]))[0]
        return Node(piece, bound, method, worst, score, place)

    def _place(self, node: Node) -> Place:
        if self.shallow and node.score is None:
            return self.whole.by_score(node.piece, self._score(node.piece))
        if self.many:
            with suppress(Ended):
                return node.place or self._sighted(node.piece)[0].place
            return None
        if node.score is None:
            return self.whole.by_width(node.piece)
        return self.whole.by_score(node.piece, node.score)
