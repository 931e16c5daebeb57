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
        """Elements, which cost more with long sums."""
        count = int(np.prod(step.view["output"]))
        return {"layer": 1, "row": count // step.view["row"], self.sum_type(step): count}

    def sum_type(self, step: Step) -> str:
        """int32_t where that holds twice the sum, which a division needs."""
        return "int32_t" if step.view["row"] * WIDE_ONE <= 1 << 30 else "int64_t"
