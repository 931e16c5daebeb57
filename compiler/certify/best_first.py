# SPDX-License-Identifier: Apache-2.0
"""Branch and bound over the input box: the worst piece is cut first; whenever it stops, the bound holds."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..domains.pair import Entry
from ..domains.pair_box import Box
from ..domains.pair_float import Floats
from .branch import Bounds
from .effort import ALL, WORK, Effort
from .grow import FLAT, NOTHING, Grower
from .lockstep import Lockstep
from .nodes import Done, Item, Job, Node
from .pieces import Cut, Neuron
from .workers import Workers

BATCH = 64  # enumerated pieces cut at a time
NEAR = 16  # inputs handed over for proof
NUMBERS = 1 << 24  # elements of all pieces; the checker takes so many
TICK = 0.2  # seconds between looks at the clock
STAGES = 1.5, 3.0  # times the attack: goals on the way, the last one first
STEPS = 1.1, 1.2, 1.3  # before these, of shallow networks
LOST = 3  # times a piece may take its worker with it


@dataclass(frozen=True)
class Pieces:
    """The worst bound over all pieces; cuts and the leaves' methods in prefix order; inputs with large
    differences."""

    bound: Bounds
    tree: tuple[Cut, ...]
    methods: tuple[str, ...]
    near: tuple[Floats, ...]


def search(
    both: Lockstep,
    at: Mapping[int, Entry],
    root: Mapping[str, Bounds],
    attack: float,
    effort: Effort,
    known: Mapping[int, Box] = NOTHING,
) -> Pieces:
    """`root`: bounds over the whole box, by product and crown; `attack`: the largest difference known;
    `known`: ranges of some steps over the whole box."""
    grower = Grower(both, at, list(root["product"]), effort.cells, known)
    return _Search(grower, attack, effort).run(root)


class _Search:
    """The tree: its leaves, its cuts, and which leaves are worth cutting."""

    def __init__(self, grower: Grower, attack: float, effort: Effort) -> None:
        self.grower, self.whole, self.effort = grower, grower.whole, effort
        self.attack, self.near = attack, list[Floats]()
        grower.stop = effort.stop
        self.pieces = min(effort.pieces, max(NUMBERS // len(self.whole.owner), 1))
        self.room = WORK if grower.shallow else ALL  # cells, or work, that further leaves may have
        # Of large boxes each part is first brought near the goal: a search that is ended has something then.
        large = self.whole.root.count > grower.most > 0
        stages = (*STEPS, *STAGES) if grower.shallow else STAGES
        self.goals = [effort.ratio, *(goal for goal in stages if large and goal > effort.ratio)]
        self.ratio = self.goals.pop()
        self.nodes = dict[int, Node]()
        self.cuts = dict[int, tuple[tuple[int | Neuron, Fraction], int]]()
        self.heap, self.fresh = list[tuple[float, int]](), 1
        self.floor = 0.0  # the largest bound of what cannot be cut
        self.lost = dict[int, int]()

    def run(self, known: Mapping[str, Bounds]) -> Pieces:
        effort = self.effort
        whole = known[self.grower.method]
        done = self.grower.start(whole, self._job((), 1))
        self._hear(done)
        self._plant(0, done.grown[0] or ())
        with Workers(self.grower, effort) as workers:
            while time.perf_counter() < effort.until and not effort.stop():
                while workers.idle() and (popped := self._pop(workers.slots)):
                    workers.submit(popped, self._job(popped, workers.slots))
                busy = workers.busy()
                effort.progress(self.attack, max(self.floor, self._top(), *map(self._worst, busy)))
                if not busy and not self.goals:
                    break
                if not busy:
                    self.ratio = self.goals.pop()
                for popped, made in workers.done(min(TICK, self._seconds())):
                    self._settle(popped, made)
        return self._answer()

    def _seconds(self) -> float:
        return max(self.effort.until - time.perf_counter(), 0.0)

    def _worst(self, at: int) -> float:
        return self.nodes[at].worst

    def _top(self) -> float:
        return -self.heap[0][0] if self.heap else 0.0

    def _pop(self, slots: int) -> tuple[int, ...]:
        """The worst pieces, of those that are worse than the goal; large ones and lost ones alone."""
        popped, room, cells = list[int](), (self.pieces - len(self.nodes)) // slots, 0
        flat = self.grower.most if self.grower.shallow else FLAT
        goal = max(self.ratio * self.attack, self.floor)
        while len(popped) < room and self._top() > goal:
            at = self.heap[0][1]
            node = self.nodes[at]
            alone = node.method != "cells" or node.piece.count > flat or at in self.lost
            cells += node.piece.count
            share = min(BATCH, -(-(len(self.heap) + len(popped)) // slots))
            if popped and (alone or len(popped) >= share or cells > max(flat, BATCH * FLAT)):
                break
            popped.append(heapq.heappop(self.heap)[1])
            if alone:
                break
        return tuple(popped)

    def _job(self, popped: tuple[int, ...], slots: int) -> Job:
        nodes = tuple(self.nodes[i] for i in popped)
        leaves, room = self.pieces - max(len(self.nodes), 1), self.room + sum(node.work for node in nodes)
        return Job(nodes, self.attack, self.ratio, leaves // slots, room // slots, self._seconds())

    def _settle(self, popped: tuple[int, ...], done: Done | None) -> None:
        """What became of these leaves; None: their worker was lost."""
        if done is None:
            for at in popped:
                self.lost[at] = self.lost.get(at, 0) + 1
                if self.lost[at] < LOST:
                    heapq.heappush(self.heap, (-self._worst(at), at))
                else:
                    self.floor = max(self.floor, self._worst(at))
            return
        self._hear(done)
        for at, items in zip(popped, done.grown, strict=True):
            if items is None:
                self.floor = max(self.floor, self._worst(at))
            else:
                self.room += self.nodes.pop(at).work
                self._plant(at, items)

    def _hear(self, done: Done) -> None:
        for gap, near in done.found:
            if gap > self.attack:
                self.attack = gap
                self.near.append(near)

    def _plant(self, at: int, items: tuple[Item, ...]) -> None:
        """A tree in prefix order takes the place of a leaf."""
        waiting = [at]
        for item in items:
            here = waiting.pop()
            if isinstance(item, Node):
                self.nodes[here] = item
                self.room -= item.work
                heapq.heappush(self.heap, (-item.worst, here))
            else:
                self.cuts[here] = item, self.fresh
                waiting += [self.fresh + 1, self.fresh]
                self.fresh += 2

    def _answer(self) -> Pieces:
        names, order, waiting = self.grower.names, list[int](), [0]
        while waiting:
            order.append(waiting.pop())
            if order[-1] in self.cuts:
                below = self.cuts[order[-1]][1]
                waiting += [below + 1, below]
        worst = {n: np.maximum.reduce([node.bound[n] for node in self.nodes.values()]) for n in names}
        tree = tuple(None if i in self.nodes else self.whole.named(*self.cuts[i][0]) for i in order)
        methods = tuple(self.nodes[i].method for i in order if i in self.nodes)
        return Pieces(worst, tree, methods, tuple(self.near[-NEAR:]))
