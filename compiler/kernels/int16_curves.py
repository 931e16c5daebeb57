# SPDX-License-Identifier: Apache-2.0
"""Functions and softmax of 16-bit integers (firmware/tb_curves16.h)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..ops.softmax import WIDE_ONE
from ..targets.plan import Step
from .int16 import Function, Int16, types


class Curves(Int16):
    """A function in pieces, one loop for each size of a piece and number of knees."""

    headers = ("tb_curves16.h",)

    def __init__(self) -> None:
        super().__init__("curve")

    def features(self, step: Step) -> Mapping[str, int]:
        """Elements, those of pieces that are bent, and how often one is compared with a knee."""
        op: Any = step.node.op
        count = int(np.prod(step.view["output"]))
        bent, knees = bool(op.bends.any()), len(op.knees)
        return {"layer": 1, "element": count, "bent": count * bent, "knee": count * knees}

    def functions(self, step: Step) -> tuple[Function, ...]:
        op: Any = step.node.op
        return (Function("TB_CURVE_16", (*types(step), str(op.bits), str(len(op.knees)))),)


class Softmax16(Int16):
    """Exponentials as products of two; a bit of a quotient after the other."""

    headers = ("tb_curves16.h",)

    def __init__(self) -> None:
        super().__init__("softmax")

    def functions(self, step: Step) -> tuple[Function, ...]:
        return (Function("TB_SOFTMAX_16", (*types(step), self.sum_type(step))),)

    def features(self, step: Step) -> Mapping[str, int]:
        """Elements and the bits of their quotients, which cost more with long sums."""
        op: Any = step.node.op
        count, kind = int(np.prod(step.view["output"])), self.sum_type(step)
        bits = count * (op.bits + 1)
        return {"layer": 1, "row": count // step.view["row"], kind: count, f"{kind}_bit": bits}

    def sum_type(self, step: Step) -> str:
        """int32_t where that holds twice the sum, which a division needs."""
        op: Any = step.node.op
        most = int(step.view["row"]) * WIDE_ONE << (op.extra > 0)
        return "int32_t" if most <= 1 << 30 else "int64_t"
