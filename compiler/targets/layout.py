# SPDX-License-Identifier: Apache-2.0
"""Where everything lies in the arena: buffers of a plan, whole or by rows, and scratch memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..kernels.kernel_plan import KernelPlan
from ..passes.rewrite import fresh
from .memory import Buffer, occupied, place
from .overlap import lag
from .plan import Plan, Step
from .replay import replay
from .rows import Group
from .slices import Slices, whole_of

NONE: Slices = MappingProxyType({})
TOGETHER = 4  # bytes of channels that a kernel may write at once, at two positions (firmware/tb_neighbours.h)


@dataclass(frozen=True)
class Memory:
    """Arena layout: offsets by storage name, scratch (offset, bytes) by step index, bytes in all and in use.

    live[i]: bytes that hold something while step i runs. blocks: single steps and groups in order.
    slices: storages that are parts of another one.
    """

    offsets: dict[str, int]
    scratch: dict[int, tuple[int, int]]
    arena: int
    live: tuple[int, ...]
    blocks: tuple[Step | Group, ...]
    slices: Slices

    @property
    def sequence(self) -> tuple[int, ...]:
        """Index of the step behind each call of a kernel, in the order of execution."""
        found: list[int] = []
        for block in self.blocks:
            found += [block.index] if isinstance(block, Step) else [step.index for step in block.schedule]
        return tuple(found)

    def group_of(self, step: Step) -> Group | None:
        """The group that a step belongs to."""
        groups = (block for block in self.blocks if isinstance(block, Group))
        return next((group for group in groups if group.first <= step.index <= group.last), None)

    def buffer_bytes(self, plan: Plan, step: Step) -> int:
        """Bytes of the buffer that a step writes: of a few rows, or of the whole output."""
        group = self.group_of(step)
        return plan.bytes(step.target) if group is None else group.buffer_bytes(step.target)


def lay_out(
    plan: KernelPlan,
    groups: Sequence[Group],
    where: str = "caller",
    slices: Slices = NONE,
    *,
    final: bool = True,
) -> Memory:
    """The layout with these groups and slices.

    where: inputs and outputs are the `caller`'s, or lie in the `arena`.
    final: search for the best order, and replay the groups; otherwise a quick upper bound.
    """
    buffers, names, time = buffers_of(plan, groups, where, slices)
    offsets, total = place(buffers, search=final)
    total += total % 2 if plan.wide else 0  # an array of 16-bit integers
    live = tuple(occupied(buffers, offsets, time[step.index]) for step in plan.steps)
    scratch = {i: (offsets.pop(name), plan.scratch(plan.steps[i])) for i, name in names.items()}
    for name in slices:
        whole, at = whole_of(slices, name)
        if whole in offsets:
            offsets[name] = offsets[whole] + at * plan.words[whole]
    blocks: list[Step | Group] = [*groups]
    inside = {step.index for group in groups for step in group.steps}
    blocks += [step for step in plan.steps if step.index not in inside]
    blocks.sort(key=lambda block: block.index if isinstance(block, Step) else block.first)
    if final:
        for group in groups:
            replay(group, offsets, scratch, total)
    return Memory(offsets, scratch, total, live, tuple(blocks), slices)


def buffers_of(
    plan: KernelPlan, groups: Sequence[Group], where: str, slices: Slices = NONE
) -> tuple[list[Buffer], dict[int, str], list[int]]:
    """Every storage in the arena and every step's scratch; names of the latter; when each step runs.

    A group is one moment: all that it reads and writes lives together. Inputs in the arena are there from
    the beginning until they were read, outputs until the end, and what has slices from the first of them.
    """
    group_of = {step.index: group for group in groups for step in group.steps}
    time: list[int] = []
    for step in plan.steps:
        inside = group_of.get(step.index)
        together = bool(time) and inside is not None and inside.first < step.index
        time.append(time[-1] if together else (time[-1] + 1 if time else 0))
    end = time[-1] + 1 if time else 0
    names = {s.index: fresh(f"scratch {s.index}", plan.size) for s in plan.steps if plan.scratch(s)}
    outside = {*plan.graph.inputs, *plan.outputs} if where == "caller" else set()

    def last_use(storage: str, first: int) -> int:
        reads = [time[reader.index] for reader in plan.readers(storage)]
        return end if storage in plan.outputs else max(reads, default=first)

    buffers = {n: Buffer(n, plan.bytes(n), 0, last_use(n, 0)) for n in plan.graph.inputs if n not in outside}
    for step in plan.steps:
        now, group = time[step.index], group_of.get(step.index)
        whole, at = whole_of(slices, step.target)
        born = buffers.get(whole)
        if (
            born is not None
        ):  # a later slice of it: of two that are made together neither may overlap an input
            buffers[whole] = replace(born, over=()) if born.first == now else born
        elif whole not in outside:
            by_rows = None if step.target in slices else group
            size = plan.bytes(whole) if by_rows is None else by_rows.buffer_bytes(whole)
            over = tuple((source, behind + at * plan.words[whole]) for source, behind in _over(step, group))
            buffers[whole] = Buffer(whole, size, now, last_use(whole, now), over)
        if step.index in names:
            scratch = names[step.index]
            buffers[scratch] = Buffer(scratch, plan.scratch(step), now, now)
    return list(buffers.values()), names, time


def _over(step: Step, group: Group | None) -> tuple[tuple[str, int], ...]:
    """What the output of a step may overlap, and how far behind it must stay."""
    if group is None:
        behind = lag(step)
        if behind is None:
            return ()
        return tuple((source, -(-behind // TOGETHER) * TOGETHER) for source in step.sources)
    sources = dict.fromkeys(source for each in group.steps for source in each.sources)
    lags = {source: group.lag(step.target, source) for source in sources}
    return tuple((source, behind) for source, behind in lags.items() if behind is not None)
