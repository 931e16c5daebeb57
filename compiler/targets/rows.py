# SPDX-License-Identifier: Apache-2.0
"""Steps that run together row by row, so that the maps between them need only a few rows at a time.

A group is a run of steps. Its schedule says whose next row comes next: the last step asks for its rows one
by one, and a row that is asked for asks for what it reads. No row is computed twice. A map that only the
group reads is kept in a buffer of `depth` rows: a new row that finds it full moves the others up by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..kernels.kernel_plan import KernelPlan
from .overlap import WINDOWS
from .plan import Plan, Step

# Row r of the output is made from row r of each input.
POINTWISE = ("add", "curve", "mul", "requantise", "table")


@dataclass(frozen=True)
class Reading:
    """Row r reads rows [r * stride + top, r * stride + top + span) of a source, as far as they exist."""

    stride: int
    top: int
    span: int

    def rows(self, row: int, height: int) -> tuple[int, int]:
        """First row, and one after the last; both within the map."""
        start = row * self.stride + self.top
        return min(max(start, 0), height), min(max(start + self.span, 0), height)


def row_size(plan: Plan, storage: str) -> int:
    """Elements of one row: channels-last, so rows follow each other."""
    return plan.size[storage] // plan.heights[storage]


def row_bytes(plan: Plan, storage: str) -> int:
    """Bytes of one row."""
    return row_size(plan, storage) * plan.words[storage]


def reading(step: Step, source_height: int) -> Reading | None:
    """How a step reads each of its sources by rows; None when it cannot make one row alone."""
    if step.kind in POINTWISE:
        return Reading(1, 0, 1)
    if step.kind == "reorder":
        return Reading(0, 0, source_height)
    if step.kind not in WINDOWS:
        return None
    op: Any = step.node.op
    dilation = getattr(op, "dilations", (1, 1))[0]
    return Reading(op.strides[0], -op.pads[0], (op.kernel[0] - 1) * dilation + 1)


def can_run_by_rows(plan: KernelPlan, step: Step) -> bool:
    """Whether a step may be in a group: it makes one row of a map from rows of maps."""
    axes = step.view.get("axes")
    rows = [plan.heights[source] for source in step.sources]  # a view may see other rows than were made
    if step.kind in WINDOWS and rows != [step.view["input"][1]]:
        return False
    if step.kind in POINTWISE and {*rows} != {plan.heights[step.target]}:
        return False
    return (
        plan.kernel(step).by_rows
        and len(plan.graph.values[step.value].shape) == 3
        and (axes is None or len(axes[0]) == plan.heights[step.target])
        and plan.heights[step.target] > 1
        and reading(step, 1) is not None
        and len(set(step.sources)) == len(step.sources)
    )


@dataclass(frozen=True, eq=False)
class Group:
    """Steps `first` to `last` of a plan, run row by row."""

    plan: Plan
    first: int
    last: int

    @property
    def steps(self) -> Sequence[Step]:
        """Its steps in plan order."""
        return self.plan.steps[self.first : self.last + 1]

    @property
    def linked(self) -> bool:
        """Whether every step but the last makes rows for another step of the group."""
        return all(any(r.index <= self.last for r in self.plan.readers(s.target)) for s in self.steps[:-1])

    @cached_property
    def made(self) -> dict[str, Step]:
        """Storage -> the step of the group that writes it."""
        return {step.target: step for step in self.steps}

    @cached_property
    def _readings(self) -> dict[str, list[tuple[str, int, Reading]]]:
        """Per target the sources of its step, their rows, and how they are read."""
        found: dict[str, list[tuple[str, int, Reading]]] = {}
        for step in self.steps:
            found[step.target] = []
            for source in step.sources:
                height = self.plan.heights[source]
                how = reading(step, height)
                assert how is not None
                found[step.target].append((source, height, how))
        return found

    def reads(self, step: Step, row: int) -> list[tuple[str, int, int]]:
        """(source, first row, one after the last) that a row of a step reads."""
        return [(source, *how.rows(row, height)) for source, height, how in self._readings[step.target]]

    @cached_property
    def schedule(self) -> tuple[Step, ...]:
        """The step that computes its next row, row after row."""
        done = dict.fromkeys(self.made, 0)
        order: list[Step] = []

        def make(step: Step) -> None:
            for source, _, end in self.reads(step, done[step.target]):
                while source in self.made and done[source] < end:
                    make(self.made[source])
            done[step.target] += 1
            order.append(step)

        for step in reversed(self.steps):  # the last one first; then rows that nobody in the group reads
            while done[step.target] < self.plan.heights[step.target]:
                make(step)
        return tuple(order)

    @property
    def turns(self) -> list[int]:
        """The schedule as numbers of steps within the group."""
        return [step.index - self.first for step in self.schedule]

    @cached_property
    def events(self) -> list[tuple[Step, int, list[tuple[str, int, int]]]]:
        """(step, its row, what it reads) in the order of the schedule."""
        done = dict.fromkeys(self.made, 0)
        found = []
        for step in self.schedule:
            row = done[step.target]
            found.append((step, row, self.reads(step, row)))
            done[step.target] += 1
        return found

    @cached_property
    def depth(self) -> dict[str, int]:
        """Rows that each storage of the group keeps: all, unless only the group reads it."""
        plan, least = self.plan, dict.fromkeys(self.made, 1)
        done = dict.fromkeys(self.made, 0)
        for step, row, reads in self.events:
            for source, start, end in reads:
                if source in self.made and start < end:
                    least[source] = max(least[source], done[source] - start)
            done[step.target] = row + 1
        kept = {}
        for storage, rows in least.items():
            outside = any(not self.first <= reader.index <= self.last for reader in plan.readers(storage))
            whole = outside or storage in plan.outputs
            kept[storage] = plan.heights[storage] if whole else min(rows, plan.heights[storage])
        return kept

    def slides(self, storage: str) -> bool:
        """Whether a storage keeps fewer rows than it has."""
        return storage in self.made and self.depth[storage] < self.plan.heights[storage]

    def buffer_bytes(self, storage: str) -> int:
        """Bytes of the buffer of a storage of the group."""
        return self.depth[storage] * row_bytes(self.plan, storage)

    def lag(self, target: str, source: str) -> int | None:
        """As overlap.lag, for a whole map that the group writes and a whole map from before that it reads."""
        if self.slides(target) or source in self.made:
            return None
        plan, needed, most = self.plan, None, 0
        for step, row, reads in reversed(self.events):
            before = needed  # first byte of the source that a later row reads
            for name, start, end in reads:
                if name == source and start < end:
                    start *= row_bytes(plan, source)
                    needed = start if needed is None else min(needed, start)
            if step.target == target:
                # A row that is made element by element from the source is read before it is written.
                in_place = step.kind in POINTWISE and source in step.sources
                in_place &= min(step.view["words"]) == step.view["words"][-1]
                first = before if in_place else needed
                if first is not None:
                    most = max(most, (row + 1) * row_bytes(plan, target) - first)
        return most
