# SPDX-License-Identifier: Apache-2.0
"""Branch and bound over the input box: the worst piece is cut first; whenever it stops, the bound holds."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..domains.pair import Entry
from ..domains.pair_crown import PairCrown
from ..domains.pair_float import Floats
from ..domains.pair_product import PairProduct
from .branch import Bounds, Make, bounds
from .cells import Cells
from .chain import chain_of
from .compiled import kernel_of
from .lockstep import Lockstep
from .pieces import Cut, Piece, Whole

BATCH = 64  # pieces cut at a time
NEAR = 16  # inputs handed over for proof
PIECES, CELLS, ALL = 90_000, 1 << 18, (1 << 24) - (1 << 17)  # what the checker takes, or a little less
CLOSE, PART = 1.01, 1 << 13
NUMBERS = 1 << 24  # elements of all pieces; the checker takes so many


@dataclass(frozen=True)
class Effort:
    """How long to search: at most `pieces`, until time.perf_counter() says `until` or `stop` says so, no
    further than `ratio` times the attack. A piece of at most `cells` cells is enumerated. Networks of more
    than `work` (multiply-adds times input elements) are bounded by intervals alone."""

    pieces: int = 1
    until: float = np.inf
    ratio: float = 0.0
    cells: int = 0
    work: float = np.inf
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[float, float], None] = lambda _low, _high: None


QUICK = Effort(work=1 << 30)  # seconds, what `tinybound compile` does


def thorough(timeout: float, **more: Any) -> Effort:
    """What `tinybound certify` does: until the bound is 1 % above the attack, or for `timeout` seconds."""
    return Effort(PIECES, time.perf_counter() + timeout, CLOSE, CELLS, **more)


@dataclass(frozen=True)
class Pieces:
    """The worst bound over all pieces; cuts and the leaves' methods in prefix order; inputs with large
    differences."""

    bound: Bounds
    tree: tuple[Cut, ...]
    methods: tuple[str, ...]
    near: tuple[Floats, ...]


@dataclass(frozen=True)
class _Node:
    piece: Piece
    bound: Bounds
    method: str
    worst: float  # what cutting the piece may lower: not the float network's own rounding
    score: Floats | None


def search(
    both: Lockstep, at: Mapping[int, Entry], root: Mapping[str, Bounds], attack: float, effort: Effort
) -> Pieces:
    """`root`: bounds over the whole box, by product and crown; `attack`: the largest difference known."""
    return _Search(both, at, list(root["product"]), attack, effort).run(root)


class _Search:
    def __init__(
        self, both: Lockstep, at: Mapping[int, Entry], names: list[str], attack: float, effort: Effort
    ) -> None:
        self.both, self.whole, self.names, self.effort = both, Whole(both, at), names, effort
        self.attack, self.near = attack, list[Floats]()
        chain = chain_of(both, self.names) if effort.cells else None
        self.cells = None
        if chain is not None:
            self.cells = Cells(chain, self.whole.entries[0], self.whole.root, kernel_of(chain))
        # crown where its tighter bounds save much enumeration
        self.method = "product" if self.cells is None else "crown"
        self.domain: Make = PairProduct if self.cells is None else PairCrown
        self.pieces = min(effort.pieces, max(NUMBERS // len(self.whole.owner), 1))
        self.room = ALL  # cells that further leaves may have
        # Where the box itself is too large, large pieces are steep: crown bounds them better, and sooner.
        self.most = effort.cells if self.whole.root.count <= effort.cells else min(effort.cells, PART)

    def run(self, known: Mapping[str, Bounds]) -> Pieces:
        effort, root = self.effort, self.whole.root
        enumerated = self._enumerate([root] if self._enumerable(root) else [])
        first = enumerated[0] if enumerated else self._passed(root, known[self.method])
        nodes, cuts = {0: first}, dict[int, tuple[tuple[int, Fraction], int]]()
        heap, fresh, floor = [(-first.worst, 0)], 1, 0.0  # floor: the largest bound of a single point
        effort.progress(self.attack, first.worst)
        while heap and len(nodes) < self.pieces and time.perf_counter() < effort.until:
            if -heap[0][0] <= max(effort.ratio * self.attack, floor) or effort.stop():
                break
            popped = self._pop(heap, nodes, self.pieces - len(nodes))
            places = {i: p for i in popped if (p := self._place(nodes[i])) is not None}
            halves = [half for i, p in places.items() for half in self.whole.cut(nodes[i].piece, *p)]
            self.room += sum(nodes[i].piece.count for i in places if nodes[i].method == "cells")
            made = iter(self.evaluate(halves))
            for i, place in places.items():
                del nodes[i]
                cuts[i] = place, fresh
                for half in (next(made), next(made)):
                    nodes[fresh] = half
                    heapq.heappush(heap, (-half.worst, fresh))
                    fresh += 1
            floor = max([floor, *(nodes[i].worst for i in popped if i in nodes)])
            effort.progress(self.attack, max(floor, -heap[0][0] if heap else 0.0))
        worst = {n: np.maximum.reduce([node.bound[n] for node in nodes.values()]) for n in self.names}
        order = _prefix(cuts)
        tree = tuple(None if i in nodes else self.whole.named(*cuts[i][0]) for i in order)
        methods = tuple(nodes[i].method for i in order if i in nodes)
        return Pieces(worst, tree, methods, tuple(self.near[-NEAR:]))

    def _pop(self, heap: list[tuple[float, int]], nodes: Mapping[int, _Node], room: int) -> list[int]:
        """The worst pieces, of those that are worse than the goal."""
        batch = BATCH if nodes[heap[0][1]].method == "cells" else 1
        goal, popped = self.effort.ratio * self.attack, list[int]()
        while heap and len(popped) < min(batch, room) and -heap[0][0] > goal:
            popped.append(heapq.heappop(heap)[1])
        return popped

    def evaluate(self, pieces: Sequence[Piece]) -> list[_Node]:
        """Bounds on pieces, those that can be enumerated together."""
        chosen = [i for i, piece in enumerate(pieces) if self._enumerable(piece)]
        found = dict(zip(chosen, self._enumerate([pieces[i] for i in chosen]), strict=True))
        return [
            found[i] if i in found else self._passed(piece, self._bounds(piece))
            for i, piece in enumerate(pieces)
        ]

    def _enumerable(self, piece: Piece) -> bool:
        """Whether this piece is to be enumerated; then its cells are spent."""
        if self.cells is None or piece.count > min(self.most, self.room):
            return False
        self.room -= piece.count
        return True

    def _enumerate(self, pieces: Sequence[Piece]) -> list[_Node]:
        if not pieces or self.cells is None:
            return []
        found = self.cells.bounds(pieces)
        for k in np.argsort(found.gap, kind="stable"):
            if found.gap[k] > self.attack:
                self.attack = float(found.gap[k])
                self.near.append(found.near[k])
        shape, (name,) = self.both.steps[-1].shape, self.names
        return [
            _Node(piece, {name: bound.reshape(shape)}, "cells", float(bound.max() - blur), score)
            for piece, bound, score, blur in zip(pieces, found.bound, found.score, found.blur, strict=True)
        ]

    def _bounds(self, piece: Piece) -> Bounds:
        return bounds(self.both, self.domain, self.whole.of(piece), self.names)

    def _passed(self, piece: Piece, bound: Bounds) -> _Node:
        """A piece that is bounded by one pass."""
        worst = max(float(b.max()) for b in bound.values())
        if self.cells is None:
            return _Node(piece, bound, self.method, worst, None)
        output = np.array([bound[self.names[0]].argmax()])
        return _Node(piece, bound, self.method, worst, self.cells.scores([piece], output)[0])

    def _place(self, node: _Node) -> tuple[int, Fraction] | None:
        if node.score is None:
            return self.whole.by_width(node.piece)
        return self.whole.by_score(node.piece, node.score)


def _prefix(cuts: Mapping[int, tuple[tuple[int, Fraction], int]]) -> list[int]:
    order, stack = list[int](), [0]
    while stack:
        node = stack.pop()
        order.append(node)
        if node in cuts:
            below = cuts[node][1]
            stack += [below + 1, below]
    return order
