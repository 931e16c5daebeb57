# SPDX-License-Identifier: Apache-2.0
"""Sums of two maps in 32 bits, where no two inputs make a tie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..targets.plan import Step
from . import features
from .base import Kernel
from .one_shift import MODES

SHIFTS = range(17, 40)  # a zero point 2^(shift - 16) takes half of 32 bits at most
LARGEST = (1 << 31) - (1 << 16)  # the upper half of a factor has 16 bits with its sign


class AddSplit(Kernel):
    """Factors in halves of 16 bits (firmware/tb_add.h)."""

    name = "add_split"
    headers = ("tb_add.h",)
    template = "add_split.c.j2"

    def features(self, step: Step) -> Mapping[str, int]:
        """four: of outputs that are not clipped further, which DSP cores sum up; one: the others."""
        found = features.elements(step)
        count = int(np.prod(step.view["output"]))
        fours = 0 if found["clipped"] else count // 4
        return {**found, "four": fours, "one": count - 4 * fours}

    def takes(self, step: Step) -> bool:
        if step.kind != "add" or step.requantise is None:
            return False
        op: Any = step.node.op
        r = step.requantise
        shift = int(r.shift[0])
        return (
            len(r.shift) == len(r.multiplier) == 1
            and int(r.multiplier[0]) == 1
            and shift in SHIFTS
            and r.mode in MODES
            and max(abs(op.ma), abs(op.mb)) < LARGEST
            and not _ties(op, shift)
        )

    def split(self, step: Step) -> dict[str, int]:
        """Fields of a tb_split."""
        op: Any = step.node.op
        r = step.requantise
        assert r is not None
        shift = int(r.shift[0])
        constant = (r.zero << shift) + (1 << (shift - 1)) - op.za * op.ma - op.zb * op.mb
        lower_a, lower_b = ((m + (1 << 15)) % (1 << 16) - (1 << 15) for m in (op.ma, op.mb))
        return {
            "upper_a": (op.ma - lower_a) >> 16,
            "upper_b": (op.mb - lower_b) >> 16,
            "upper": constant >> 16,
            "lower_a": lower_a,
            "lower_b": lower_b,
            "lower": constant & 0xFFFF,
            "bits": shift - 16,
            "lo": r.lo,
            "hi": r.hi,
        }


def _ties(op: Any, shift: int) -> bool:
    """Whether any two inputs of 8 bits lie halfway between two outputs."""
    x = np.arange(-128, 128, dtype=np.int64)
    sums = ((x - op.za) * op.ma)[:, None] + ((x - op.zb) * op.mb)[None, :]
    return bool((sums & ((1 << shift) - 1) == 1 << (shift - 1)).any())
