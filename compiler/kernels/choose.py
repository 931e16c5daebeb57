# SPDX-License-Identifier: Apache-2.0
"""Which kernel computes each step: the fastest, the smallest, or what lies between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..graph import Graph
from ..targets.plan import Plan, Step, make_plan
from . import KERNELS
from .base import Cost, Kernel
from .kernel_plan import KernelPlan, with_kernels
from .plain import Plain, Unweighted

Choice = dict[int, Kernel]


def able(step: Step) -> list[Kernel]:
    """The kernels that take a step, in order of KERNELS."""
    longest = 2 if step.kind == "curve" else max(step.view["words"])  # its integers may lie in a few
    return [kernel for kernel in KERNELS if kernel.words == longest and kernel.takes(step)]


@lru_cache(maxsize=1024)
def costs_of(step: Step, core: str) -> dict[Kernel, Cost]:
    """What every kernel that was measured on the core would cost, the fastest first."""
    known = [(kernel, kernel.cost(step, core)) for kernel in able(step)]
    found = [(kernel, cost) for kernel, cost in known if cost is not None]
    return dict(sorted(found, key=lambda pair: pair[1].instructions))


def costs(plan: Plan, core: str) -> list[dict[Kernel, Cost]]:
    """costs_of every step."""
    return [costs_of(step, core) for step in plan.steps]


def choose(plan: Plan, core: str, optimise: str = "speed", favourites: tuple[str, ...] = ()) -> Choice:
    """A kernel for every step: the fastest, or of the smallest choice; a favourite where it takes the step.

    Where the first of KERNELS that takes a step was not measured, it is that one; on a core that nobody
    measured it is the one in plain C.
    """
    chosen = fastest(plan, core)
    if optimise == "size":
        for chosen in smaller(plan, core):  # noqa: B007 -- the last one
            pass
    for step in plan.steps:
        liked = [kernel for kernel in able(step) if kernel.name in favourites]
        if liked:
            chosen[step.index] = liked[0]
    return chosen


def fastest(plan: Plan, core: str) -> Choice:
    """The kernel of the fewest predicted instructions for every step; see choose."""
    found = {}
    for step in plan.steps:
        known, first = costs_of(step, core), able(step)[0]
        found[step.index] = _quickest(step, core) if first in known or not known else first
    return found


def _quickest(step: Step, core: str) -> Kernel:
    known = costs_of(step, core)
    plain = (kernel for kernel in able(step) if isinstance(kernel, Plain | Unweighted))
    return next(iter(known), None) or next(plain, able(step)[0])


@dataclass(frozen=True)
class _Size:
    flash: int
    ram: int
    instructions: int


def _held(plan: Plan) -> list[int]:
    """Bytes of whole maps in the arena that each step reads, writes or leaves for later ones."""
    made = {step.target: step.index for step in plan.steps if step.target not in plan.outputs}
    read = {name: max((step.index for step in plan.readers(name)), default=at) for name, at in made.items()}
    return [
        sum(plan.bytes(name) for name, at in made.items() if at <= step.index <= read[name])
        for step in plan.steps
    ]


def _size(plan: Plan, known: Sequence[Mapping[Kernel, Cost]], choice: Choice, maps: Sequence[int]) -> _Size:
    """What a choice costs, but for what every choice has; maps: those of _held."""
    held = [(kernel, known[i].get(kernel), i) for i, kernel in choice.items()]
    each = [(kernel, cost) for kernel, cost, _ in held if cost is not None]
    shared = {kernel: cost.code for kernel, cost in each}
    arena = max((maps[i] + kernel.scratch(plan.steps[i]) for i, kernel in choice.items()), default=0)
    return _Size(
        sum(cost.flash for _, cost in each) + sum(shared.values()),
        arena + max((cost.stack for _, cost in each), default=0),
        sum(cost.instructions for _, cost in each),
    )


def smaller(plan: Plan, core: str, flash: bool = True, ram: bool = True) -> Iterator[Choice]:
    """From the fastest choice of measured kernels on, ever smaller in flash, RAM or both, at least loss of
    speed per byte.
    """
    known = costs(plan, core)
    choice = {step.index: _quickest(step, core) for step in plan.steps}
    maps = _held(plan)
    size = _size(plan, known, choice, maps)
    while True:
        yield dict(choice)
        best = None
        for moved in _moves(known, choice):
            other = {**choice, **moved}
            now = _size(plan, known, other, maps)
            saved = flash * (size.flash - now.flash) + ram * (size.ram - now.ram)
            if saved > 0:
                price = (now.instructions - size.instructions) / saved
                if best is None or price < best[0]:
                    best = price, other, now
        if best is None:
            return
        _, choice, size = best


def _moves(known: Sequence[Mapping[Kernel, Cost]], choice: Choice) -> Iterator[Choice]:
    """Another kernel for one step, for all of a kernel's, or for those of them that need the most stack."""
    used = dict.fromkeys(choice.values())
    for one in used:
        steps = [i for i, kernel in choice.items() if kernel is one and one in known[i]]
        stacks = sorted({known[i][one].stack for i in steps}, reverse=True)
        for other in KERNELS:
            able_too = [i for i in steps if other is not one and other in known[i]]
            for i in able_too:
                yield {i: other}
            if len(able_too) > 1:
                yield dict.fromkeys(able_too, other)
                for limit in stacks[1:]:
                    yield {i: other for i in able_too if known[i][one].stack > limit}


def predicted(plan: KernelPlan, step: Step, core: str) -> dict[str, Any]:
    """For the report: instructions of the step's kernel, and the next best kernel; None: not measured."""
    known, kernel = costs_of(step, core), plan.kernel(step)
    cost = kernel.cost(step, core, alone=plan.kernels.count(kernel) == 1)
    second = next((each for each in known if each is not kernel), None)
    return {
        "predicted_instructions": None if cost is None else cost.instructions,
        "runner_up": None if second is None else second.name,
        "runner_up_instructions": None if second is None else known[second].instructions,
    }


@lru_cache(maxsize=8)
def kernel_plan(
    graph: Graph, favourites: tuple[str, ...] = (), core: str = "cortex-m4", optimise: str = "speed"
) -> KernelPlan:
    """The plan of an integer graph with kernels, chosen as by choose."""
    plan = make_plan(graph)
    return with_kernels(plan, choose(plan, core, optimise, favourites))


def named(graph: Graph, names: Sequence[str]) -> KernelPlan:
    """The plan with the kernel of a name for every step, in order."""
    plan = make_plan(graph)
    by_name = {kernel.name: kernel for kernel in KERNELS}
    return with_kernels(plan, {i: by_name[name] for i, name in enumerate(names)})
