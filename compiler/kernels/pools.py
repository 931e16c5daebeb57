# SPDX-License-Identifier: Apache-2.0
"""Pools over maps whose channels are a multiple of four."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from ..targets.plan import Step
from . import features
from .base import Kernel
from .one_shift import ratios

MOST_TAPS = 256  # their sums fit 16 bits


class AverageFours(Kernel):
    """Sums of four channels at a time (firmware/tb_reduce.h)."""

    name = "average_fours"
    headers = ("tb_reduce.h",)
    template = "average_pool.c.j2"
    apart = True

    def takes(self, step: Step) -> bool:
        op: Any = step.node.op
        fours = step.kind == "average_pool" and step.view["input"][0] % 4 == 0
        return fours and prod(op.kernel) <= MOST_TAPS and ratios(step) is not None

    def features(self, step: Step) -> Mapping[str, int]:
        return features.pool(step)


class MaxFours(Kernel):
    """The largest of four channels at a time (firmware/tb_reduce.h)."""

    name = "max_fours"
    headers = ("tb_reduce.h",)
    template = "max_pool.c.j2"
    apart = True

    def takes(self, step: Step) -> bool:
        return step.kind == "max_pool" and step.view["input"][0] % 4 == 0

    def features(self, step: Step) -> Mapping[str, int]:
        return features.pool(step)
