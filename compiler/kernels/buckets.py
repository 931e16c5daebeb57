# SPDX-License-Identifier: Apache-2.0
"""Powers of two as straight-line additions for cores that do not shift what they add (RISC-V)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from . import features
from .base import Packed
from .buckets_code import ONE_FUNCTION, TAPS, Layer, layer
from .straight import Additions, span

AT_ONCE = 4 * ONE_FUNCTION  # filters between two requantisations


@dataclass(frozen=True)
class Code:
    """What templates/_buckets.c.j2 writes.

    room, sums  of the function that walks over positions, in words
    blocks      first filter, count, functions as their first filter and operations
    """

    layer: Layer
    span: dict[str, int]
    outputs: int
    room: int
    sums: int
    blocks: list[tuple[int, int, list[tuple[int, list[str]]]]]


@lru_cache(maxsize=32)
def _code(step: Step, kernel: Buckets) -> Code:
    made = kernel.made(step.view["rows"])
    outputs, taps = step.view["rows"].shape
    functions = [(i * ONE_FUNCTION, lines) for i, lines in enumerate(made.functions)]
    blocks = [
        (first, min(AT_ONCE, outputs - first), [f for f in functions if first <= f[0] < first + AT_ONCE])
        for first in range(0, outputs, AT_ONCE)
    ]
    room = made.at + taps + -taps % TAPS
    return Code(made, span(step, keeps=kernel.keeps), outputs, room, 2 * min(AT_ONCE, outputs), blocks)


class Buckets(Additions):
    """One load and one addition per weight that is not 0, at two positions; where the weights of two taps
    are equal but for the sign, for both of them (firmware/tb_buckets.h)."""

    name = "buckets"
    headers = ("tb_buckets.h",)
    template = "_buckets.c.j2"
    slow_on: ClassVar[tuple[str, ...]] = ("cortex-m0plus", "cortex-m3", "cortex-m4")
    form: ClassVar[str] = "TB_FILTERS"  # the macro that makes a function of operations
    keeps: ClassVar[bool] = False  # whether the words of a window are still there afterwards

    def made(self, rows: NDArray[np.int64]) -> Layer:
        """The operations for weights (outputs, taps)."""
        return layer(rows)

    def features(self, step: Step) -> Mapping[str, int]:
        """words: those that are emptied first."""
        code = self.code(step)
        lines = (line for part in (code.layer.taps, *code.layer.functions) for line in part)
        return {**features.operations(step, lines, False), "words": code.room}

    def code(self, step: Step) -> Code:
        """The layer's code."""
        return _code(step, self)

    def pack(self, step: Step) -> Packed:
        """DEPTH: a pixel of padding."""
        bias = step.view["bias"] - np.array(self.code(step).layer.starts, dtype=np.int64)
        return Packed(bias=bias, room={"DEPTH": step.view["input"][0]})
