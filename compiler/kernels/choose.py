# SPDX-License-Identifier: Apache-2.0
"""Which kernel computes each step."""

from __future__ import annotations

from functools import lru_cache

from ..graph import Graph
from ..targets.plan import Plan, Step, make_plan
from . import KERNELS
from .base import Kernel
from .kernel_plan import KernelPlan, with_kernels


def able(step: Step) -> list[Kernel]:
    """The kernels that take a step, in order of KERNELS."""
    return [kernel for kernel in KERNELS if kernel.takes(step)]


def choose(plan: Plan, favourites: tuple[str, ...] = ()) -> dict[int, Kernel]:
    """A kernel for every step; one named in `favourites` where it takes the step."""
    found = {}
    for step in plan.steps:
        kernels = able(step)
        found[step.index] = next((k for k in kernels if k.name in favourites), kernels[0])
    return found


@lru_cache(maxsize=8)
def kernel_plan(graph: Graph, favourites: tuple[str, ...] = ()) -> KernelPlan:
    """The plan of an integer graph with kernels. favourites: as of choose."""
    plan = make_plan(graph)
    return with_kernels(plan, choose(plan, favourites))
