# SPDX-License-Identifier: Apache-2.0
"""Sums of two maps of 16 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..rounding import HALF_EVEN
from ..targets.plan import Step
from .int16 import Function, Int16
from .quads16 import bounds

SHIFTS = range(17, 47)  # inputs are multiplied by 2^16 first, and a last bit is for rounding
LARGEST = 1 << 47  # 2^16 times a sum stays within 64 bits


class Sum16(Int16):
    """Products of 64 bits, of which the upper word is the sum (firmware/tb_add_16.h)."""

    headers = ("tb_int16.h", "tb_add_16.h")
    template = "_sum16.c.j2"

    def __init__(self) -> None:
        super().__init__("add")
        self.name = "sum_16"

    def takes(self, step: Step) -> bool:
        r, op = step.requantise, step.node.op
        if step.kind != "add" or r is None or set(step.view["words"]) != {2} or len(r.shift) > 1:
            return False
        shift = int(r.shift[0])
        return (
            bool((r.multiplier == 1).all())
            and shift in SHIFTS
            and r.mode == HALF_EVEN
            and r.zero % 2 == 0
            and _most(op) + abs(_constant(step)) < LARGEST
        )

    def functions(self, step: Step) -> tuple[Function, ...]:
        return (Function("TB_SUM_16", (str(bounds(step)),)),)

    def constants(self, step: Step) -> dict[str, int]:
        """Fields of a tb_sum_16."""
        op: Any = step.node.op
        r, constant = step.requantise, _constant(step) << 16
        assert r is not None
        twice = [(bound % (1 << 16)) * 0x10001 for bound in (r.lo, r.hi)]
        return {
            "ma": op.ma,
            "mb": op.mb,
            "lower": constant % (1 << 32),
            "upper": constant >> 32,
            "shift": int(r.shift[0]) - SHIFTS.start,
            "low": twice[0],
            "high": twice[1],
        }

    def features(self, step: Step) -> Mapping[str, int]:
        """pair: of elements, of which one may be left."""
        count = int(np.prod(step.view["output"]))
        return {"layer": 1, "pair": count // 2, "odd": count % 2, "clamped": count * (bounds(step) == 2)}


def _constant(step: Step) -> int:
    op: Any = step.node.op
    r = step.requantise
    assert r is not None
    shift = int(r.shift[0])
    return int((r.zero << shift) + (1 << (shift - 1)) - op.za * op.ma - op.zb * op.mb)


def _most(op: Any) -> int:
    """What no sum or difference of two products exceeds."""
    return int((abs(op.ma) + abs(op.mb)) << 15)
