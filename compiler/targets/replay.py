# SPDX-License-Identifier: Apache-2.0
"""Independent check of a group: its schedule is replayed on a map of the arena that says whose every byte is.

It shares no reasoning with the planner, neither the depths nor the lags: it follows the addresses of the C.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .rows import POINTWISE, Group, row_bytes

NOBODY = -1


def replay(
    group: Group, offsets: Mapping[str, int], scratch: Mapping[int, tuple[int, int]], arena: int
) -> None:
    """AssertionError unless every row that is read is still there, and everything needed later survives."""
    plan, memory = group.plan, _Arena(group, offsets, arena)
    written = {step.target for step in plan.steps[: group.first]} | set(plan.graph.inputs)
    earlier = [n for n in offsets if n in written and _needed(group, n, group.first)]
    for name in earlier:
        memory.fill(name)
    for step, row, reads in group.events:
        if step.index in scratch:
            at, size = scratch[step.index]
            memory.owner[at : at + size] = NOBODY
        read = [(source, each) for source, start, end in reads for each in range(start, end)]
        read = [(source, each) for source, each in read if source in offsets]
        place = memory.room(step.target) if step.target in offsets else None
        for source, each in read:
            if not memory.intact(source, each):
                raise AssertionError(f"row {each} of {source} is lost before {step.node.name} reads it")
            if place and not _may_overwrite(step.kind, place, memory.span(source, each)):
                raise AssertionError(f"{step.node.name} overwrites row {each} of {source}")
        if place:
            memory.write(step.target, row)
    for name in [*earlier, *(n for n in group.made if n in offsets)]:
        if _needed(group, name, group.last + 1) and not memory.whole(name):
            raise AssertionError(f"{name} does not survive the rows of {group.steps[0].node.name}")


def _needed(group: Group, storage: str, step: int) -> bool:
    """Whether a storage is read at a step or later, or handed to the caller."""
    plan = group.plan
    return storage in plan.outputs or any(reader.index >= step for reader in plan.readers(storage))


def _may_overwrite(kind: str, write: slice, read: slice) -> bool:
    """Apart; or element by element, where writing never comes before reading."""
    apart = write.stop <= read.start or read.stop <= write.start
    return apart or (kind in POINTWISE and write.start <= read.start)


class _Arena:
    """Per byte the number of the storage and of its row; per storage the first row held and the rows made."""

    def __init__(self, group: Group, offsets: Mapping[str, int], size: int) -> None:
        self.group, self.offsets = group, offsets
        self.owner = np.full((size, 2), NOBODY)
        self.number = {name: i for i, name in enumerate(offsets)}
        self.held = dict.fromkeys(offsets, (0, 0))

    def span(self, storage: str, row: int) -> slice:
        size = row_bytes(self.group.plan, storage)
        start = self.offsets[storage] + (row - self.held[storage][0]) * size
        return slice(start, start + size)

    def intact(self, storage: str, row: int) -> bool:
        first, made = self.held[storage]
        there = self.owner[self.span(storage, row)] == (self.number[storage], row)
        return first <= row < made and bool(there.all())

    def whole(self, storage: str) -> bool:
        return all(self.intact(storage, row) for row in range(self.group.plan.heights[storage]))

    def write(self, storage: str, row: int) -> None:
        first, made = self.held[storage]
        self.owner[self.span(storage, row)] = self.number[storage], row
        self.held[storage] = (first, made + 1)

    def fill(self, storage: str) -> None:
        for row in range(self.group.plan.heights[storage]):
            self.write(storage, row)

    def room(self, storage: str) -> slice:
        """Where the next row goes; in a full buffer the others move up first, and the oldest is gone."""
        first, made = self.held[storage]
        depth, low = self.group.depth[storage], self.offsets[storage]
        if made - first == depth:
            size = row_bytes(self.group.plan, storage)
            high = low + depth * size
            self.owner[low : high - size] = self.owner[low + size : high].copy()
            self.held[storage] = (first + 1, made)
        return self.span(storage, made)
