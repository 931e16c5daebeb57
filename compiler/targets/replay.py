# SPDX-License-Identifier: Apache-2.0
"""Independent check of a group: its schedule is replayed on a map of the arena that says whose every byte is.

It shares no reasoning with the planner, neither rows read nor depths nor lags: it follows the addresses of
the C, tap by tap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .plan import Step
from .rows import POINTWISE, Group

NOBODY = -1
Positions = NDArray[np.int64]


def replay(
    group: Group, offsets: Mapping[str, int], scratch: Mapping[int, tuple[int, int]], arena: int
) -> None:
    """AssertionError unless every byte that is read is still there, and all that is needed later survives."""
    plan, memory = group.plan, _Arena(group, offsets, arena)
    written = {step.target for step in plan.steps[: group.first]} | set(plan.graph.inputs)
    earlier = [n for n in offsets if n in written and _needed(group, n, group.first)]
    for name in earlier:
        memory.write(name, plan.bytes(name))
    made = dict.fromkeys(group.made, 0)
    for step in group.schedule:
        row, size = made[step.target], memory.row[step.target]
        made[step.target] += 1
        if step.index in scratch:
            at, count = scratch[step.index]
            memory.owner[at : at + count] = NOBODY
        place = memory.room(step.target) if step.target in offsets else None
        for source, word, positions in _bytes_read(step, row, size):
            if source not in offsets:
                continue
            if not memory.intact(source, positions):
                raise AssertionError(f"part of {source} is lost before {step.node.name} reads it")
            if place is not None and _spoils(step, place, size, word, memory.address(source, positions)):
                raise AssertionError(f"{step.node.name} overwrites what it reads of {source}")
        if place is not None:
            memory.write(step.target, size)
    for name in [*earlier, *(n for n in group.made if n in offsets)]:
        if _needed(group, name, group.last + 1) and not memory.intact(name, np.arange(plan.bytes(name))):
            raise AssertionError(f"{name} does not survive the rows of {group.steps[0].node.name}")


def _needed(group: Group, storage: str, step: int) -> bool:
    """Whether a storage is read at a step or later, or handed to the caller."""
    plan = group.plan
    return storage in plan.outputs or any(reader.index >= step for reader in plan.readers(storage))


def _bytes_read(step: Step, row: int, size: int) -> list[tuple[str, int, Positions]]:
    """(source, bytes of one of its integers, its bytes) that a row of `size` bytes is made from, in order."""
    *words, word = step.view["words"]
    here = np.arange(row * size // word, (row + 1) * size // word)

    def of(i: int, elements: Positions) -> tuple[str, int, Positions]:
        return step.sources[i], words[i], (elements[:, None] * words[i] + np.arange(words[i])).ravel()

    if step.kind in POINTWISE:
        return [of(i, here) for i in range(len(words))]
    if step.kind == "reorder":
        moved: Positions = step.view["movement"][here]
        return [of(0, moved[moved >= 0])]
    op: Any = step.node.op
    channels, height, width = step.view["input"]
    dilation = getattr(op, "dilations", (1, 1))[0]
    taps = [row * op.strides[0] - op.pads[0] + k * dilation for k in range(op.kernel[0])]
    line = np.arange(width * channels)
    rows = [y * len(line) + line for y in taps if 0 <= y < height]
    return [of(0, np.concatenate(rows) if rows else np.zeros(0, np.int64))]


def _spoils(step: Step, place: int, size: int, word: int, read: Positions) -> bool:
    """Whether writing a row at `place` may destroy what it is made from: element i, of `word` bytes, is read,
    then written."""
    hit = (read >= place) & (read < place + size)
    if step.kind in POINTWISE:
        hit &= read < place + np.arange(len(read)) // word * step.view["words"][-1]
    return bool(hit.any())


class _Arena:
    """Per byte whose it is, as (storage, position there); per storage what is held, from first to end."""

    def __init__(self, group: Group, offsets: Mapping[str, int], size: int) -> None:
        plan = group.plan
        self.group, self.offsets = group, offsets
        self.owner = np.full((size, 2), NOBODY)
        self.number = {name: i for i, name in enumerate(offsets)}
        shapes = {name: plan.graph.values[step.value].shape for name, step in group.made.items()}
        self.row = {name: plan.bytes(name) // shape[1] for name, shape in shapes.items()}
        self.first = dict.fromkeys(offsets, 0)
        self.end = dict.fromkeys(offsets, 0)

    def address(self, storage: str, positions: Positions) -> Positions:
        found: Positions = self.offsets[storage] + positions - self.first[storage]
        return found

    def intact(self, storage: str, positions: Positions) -> bool:
        if not len(positions):
            return True
        if positions.min() < self.first[storage] or positions.max() >= self.end[storage]:
            return False
        held = self.owner[self.address(storage, positions)]
        return bool((held[:, 0] == self.number[storage]).all() and (held[:, 1] == positions).all())

    def write(self, storage: str, count: int) -> None:
        """The next bytes of a storage."""
        positions = np.arange(self.end[storage], self.end[storage] + count)
        at = self.address(storage, positions)
        self.owner[at, 0], self.owner[at, 1] = self.number[storage], positions
        self.end[storage] += count

    def room(self, storage: str) -> int:
        """Address of the next row; in a full buffer the others move up first, and the oldest is gone."""
        size, low = self.row[storage], self.offsets[storage]
        high = low + self.group.depth[storage] * size
        if self.end[storage] - self.first[storage] == high - low:
            self.owner[low : high - size] = self.owner[low + size : high].copy()
            self.first[storage] += size
        return low + self.end[storage] - self.first[storage]
