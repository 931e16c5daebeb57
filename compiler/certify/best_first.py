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
from ..domains.pair_float import Floats
from ..domains.pair_product import PairProduct
from .branch import Bounds, bounds
from .cells import Cells
from .chain import chain_of
from .compiled import kernel_of
from .lockstep import Lockstep
from .pieces import Cut, Piece, Whole

BATCH = 64  # pieces cut at a time
NEAR = 16  # inputs handed over for proof
PIECES, CELLS = 90_000, 1 << 18  # what the checker takes, and a little less
CLOSE = 1.01


@dataclass(frozen=True)
class Effort:
    """How long to search: at most `pieces`, until time.perf_counter() says `until` or `stop` says so, no
    further than `ratio` times the attack. A piece of at most `cells` cells is enumerated."""

    pieces: int = 1
    until: float = np.inf
    ratio: float = 0.0
    cells: int = 0
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[float, float], None] = lambda _low, _high: None


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
    worst: float
    score: Floats | None


def search(both: Lockstep, at: Mapping[int, Entry], root: Bounds, attack: float, effort: Effort) -> Pieces:
    """`root`: bounds of the product domain over the whole box; `attack`: the largest difference known."""
    return _Search(both, at, root, attack, effort).run(root)


class _Search:
    def __init__(
        self, both: Lockstep, at: Mapping[int, Entry], root: Bounds, attack: float, effort: Effort
    ) -> None:
        self.both, self.whole, self.names, self.effort = both, Whole(both, at), list(root), effort
        self.attack, self.near = attack, list[Floats]()
        chain = chain_of(both, self.names) if effort.cells else None
        self.cells = None
        if chain is not None:
            self.cells = Cells(chain, self.whole.entries[0], self.whole.root, kernel_of(chain))

    def run(self, bound: Bounds) -> Pieces:
        effort, root = self.effort, self.whole.root
        first = self.evaluate([root])[0] if self._enumerable(root) else self._product(root, bound)
        nodes, cuts = {0: first}, dict[int, tuple[tuple[int, Fraction], int]]()
        heap, fresh, floor = [(-first.worst, 0)], 1, 0.0  # floor: the largest bound of a single point
        effort.progress(self.attack, first.worst)
        while heap and len(nodes) < effort.pieces and time.perf_counter() < effort.until:
            if -heap[0][0] <= max(effort.ratio * self.attack, floor) or effort.stop():
                break
            popped = self._pop(heap, nodes, effort.pieces - len(nodes))
            places = {i: p for i in popped if (p := self._place(nodes[i])) is not None}
            halves = [half for i, p in places.items() for half in self.whole.cut(nodes[i].piece, *p)]
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
            found[i] if i in found else self._product(piece, self._bounds(piece))
            for i, piece in enumerate(pieces)
        ]

    def _enumerable(self, piece: Piece) -> bool:
        return self.cells is not None and piece.count <= self.effort.cells

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
            _Node(piece, {name: bound.reshape(shape)}, "cells", float(bound.max()), score)
            for piece, bound, score in zip(pieces, found.bound, found.score, strict=True)
        ]

    def _bounds(self, piece: Piece) -> Bounds:
        return bounds(self.both, PairProduct, self.whole.of(piece), self.names)

    def _product(self, piece: Piece, bound: Bounds) -> _Node:
        worst = max(float(b.max()) for b in bound.values())
        if self.cells is None:
            return _Node(piece, bound, "product", worst, None)
        output = np.array([bound[self.names[0]].argmax()])
        return _Node(piece, bound, "product", worst, self.cells.scores([piece], output)[0])

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
