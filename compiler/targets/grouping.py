# SPDX-License-Identifier: Apache-2.0
"""Which steps run row by row: those that save memory, and as few as possible."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ..kernels.kernel_plan import KernelPlan
from .layout import Memory, buffers_of, lay_out
from .rows import Group, can_run_by_rows
from .slices import Slices, joins

WORTH = 32  # groups are taken when they save this part of the memory: they cost some code
SHORT = 6  # steps in groups that are tried one by one
LONG = 32  # steps in a group at most: with every window a group keeps more rows
STATE, WINDOW = 16, 88  # bytes of stack: a tb_rows per step of a group, and a tb_window

Span = tuple[int, int]
Cut = tuple[Span, ...]


@lru_cache(maxsize=8)
def plan_memory(plan: KernelPlan, where: str = "caller") -> Memory:
    """The layout with the least memory that was found. where: as lay_out."""
    slices = _slices(plan, where)
    chosen = _Search(plan, where, slices).best()
    return lay_out(plan, chosen, where, slices)


def _slices(plan: KernelPlan, where: str) -> Slices:
    """The slices of every Concat whose output may live as long as they do without making the arena larger."""
    chosen: Slices = {}
    for join in joins(plan):
        more = {**chosen, **join}
        if join and lay_out(plan, (), where, more).arena <= lay_out(plan, (), where, chosen).arena:
            chosen = more
    return chosen


class _Search:
    """Groups of one plan by span, and what each set of groups needs.

    needs: by span of steps, one step or a group, a lower bound of the arena while it runs. No cut needs less
    than its parts, so one whose parts need too much is not laid out.
    """

    def __init__(self, plan: KernelPlan, where: str, slices: Slices) -> None:
        self.plan, self.where, self.slices = plan, where, slices
        self.count = len(plan.steps)
        able = [can_run_by_rows(plan, step) for step in plan.steps]
        self.groups: dict[Span, Group] = {}
        self.known: dict[tuple[Cut, bool], tuple[int, int]] = {}
        for first in range(self.count):
            for last in range(first + 1, min(first + LONG, self.count)):
                if not able[first] or not able[last]:
                    break
                group = Group(plan, first, last)
                if group.linked:
                    self.groups[first, last] = group
        self.needs = {(i, i): self.need((), i) for i in range(self.count)}
        self.needs |= {span: self.need((group,), span[0]) for span, group in self.groups.items()}

    def best(self) -> tuple[Group, ...]:
        """Start from the best cut under some limit; then add groups one by one while each is worth it."""
        cut = self.under_limits()
        cut = cut if self.worth(cut, ()) else ()
        while True:
            free = [s for s in self.groups if all(s[1] < t[0] or t[1] < s[0] for t in cut)]
            more = [(*cut, (first, last)) for first, last in free if last - first < SHORT]
            most = self.most(cut)
            best = min((each for each in more if self.least(each) <= most), key=self.cost, default=None)
            if best is None or not self.worth(best, cut):
                return tuple(self.groups[span] for span in sorted(cut))
            cut = best

    def cost(self, cut: Cut, *, final: bool = False) -> tuple[int, int]:
        """Arena and stack in bytes, then steps in groups."""
        known = self.known.get((cut, final))
        if known is None:
            known = self.known[cut, final] = self._cost(cut, final)
        return known

    def _cost(self, cut: Cut, final: bool) -> tuple[int, int]:
        groups = [self.groups[span] for span in sorted(cut)]
        lengths = [last - first + 1 for first, last in cut]
        stack = max((WINDOW + STATE * length for length in lengths), default=0)
        return lay_out(self.plan, groups, self.where, self.slices, final=final).arena + stack, sum(lengths)

    def most(self, cut: Cut) -> int:
        """The memory that another cut may need to be worth taking."""
        before = self.cost(cut, final=True)[0]
        return before - before // WORTH

    def worth(self, cut: Cut, other: Cut) -> bool:
        """Whether a cut saves enough against another one."""
        return cut != other and self.cost(cut, final=True)[0] <= self.most(other)

    def least(self, cut: Cut) -> int:
        """A lower bound of what a cut needs."""
        inside = {i for first, last in cut for i in range(first, last + 1)}
        alone = [(i, i) for i in range(self.count) if i not in inside]
        return max(self.needs[span] for span in [*cut, *alone])

    def under_limits(self) -> Cut:
        """For each limit of memory, the fewest steps in groups that keep to it; the best of these cuts."""
        useful = {  # a group that needs no less than its steps is none of the fewest
            (first, last): need
            for (first, last), need in self.needs.items()
            if first == last or need < max(self.needs[i, i] for i in range(first, last + 1))
        }
        best: Cut = ()
        most = self.most(())
        for limit in sorted(set(useful.values())):
            if limit > most:
                break
            cut = _fewest(self.count, [span for span, need in useful.items() if need <= limit])
            if cut is not None and (not best or self.cost(cut) < self.cost(best)):
                best = cut
                most = min(most, self.cost(best)[0])
        return best

    def need(self, groups: tuple[Group, ...], step: int) -> int:
        """A lower bound of what lives while a step, or the group that begins with it, runs."""
        buffers, _, time = buffers_of(self.plan, groups, self.where, self.slices)
        now = time[step]
        live = [b for b in buffers if b.first <= now <= b.last]
        total = sum(b.size for b in live)
        sizes = {b.name: b.size for b in live if b.last == now}
        for b in live:  # an output over an input that dies costs the lag, or what it is larger
            if b.first == now:
                gains = [
                    (b.size + sizes[n] - max(b.size, behind + sizes[n]), n)
                    for n, behind in b.over
                    if n in sizes
                ]
                gain, name = max(gains, default=(0, ""))
                if gain > 0:
                    total -= gain
                    del sizes[name]
        return total


def _fewest(count: int, allowed: Sequence[Span]) -> Cut | None:
    """Steps 0 to count - 1 cut into allowed spans, with the fewest steps in spans of several; the latter."""
    starts: list[list[int]] = [[] for _ in range(count)]
    for first, last in allowed:
        starts[last].append(first)
    best: list[tuple[int, int] | None] = [(0, 0)]  # steps in groups so far; minus where the last span begins
    for last in range(count):
        options = []
        for first in starts[last]:
            before = best[first]
            if before is not None:
                options.append((before[0] + (last - first + 1 if last > first else 0), -first))
        best.append(min(options, default=None))
    cut: list[Span] = []
    end = count
    while end:
        found = best[end]
        if found is None:
            return None
        if -found[1] < end - 1:
            cut.append((-found[1], end - 1))
        end = -found[1]
    return tuple(reversed(cut))
