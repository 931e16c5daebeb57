# SPDX-License-Identifier: Apache-2.0
"""A plan whose steps have kernels: what the C target lays out in memory and renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..targets.plan import Plan, Step
from .base import Kernel, Packed


@dataclass(frozen=True, eq=False)
class KernelPlan(Plan):
    """A plan and the kernel of each of its steps."""

    kernels: tuple[Kernel, ...]

    def kernel(self, step: Step) -> Kernel:
        """The kernel of a step."""
        return self.kernels[step.index]

    def packed(self, step: Step) -> Packed:
        """The step's weights as its kernel reads them."""
        return self._packed[step.index]

    @cached_property
    def _packed(self) -> list[Packed]:
        return [kernel.pack(step) for kernel, step in zip(self.kernels, self.steps, strict=True)]

    def scratch(self, step: Step) -> int:
        """Bytes of working memory in the arena."""
        return self.kernel(step).scratch(step)


def with_kernels(plan: Plan, kernels: Mapping[int, Kernel]) -> KernelPlan:
    """The plan with a kernel for every step index."""
    chosen = tuple(kernels[step.index] for step in plan.steps)
    rest = plan.order, plan.pool, plan.size, plan.words, plan.outputs
    return KernelPlan(plan.graph, plan.steps, *rest, chosen)
