# SPDX-License-Identifier: Apache-2.0
"""Powers of two as straight-line additions: fast, and four bytes of code or so per weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed
from .straight_code import AT_ONCE, LANES, SINGLE, Group, lanes, single

MOST_WEIGHTS = 50_000  # not 0, of a layer: more than 200 KB of code


@dataclass(frozen=True)
class Block:
    """Filters that are requantised at once."""

    first: int
    count: int
    groups: list[Group]


@dataclass(frozen=True)
class Code:
    """What templates/_straight.c.j2 writes.

    words   of a window, filled up to fours by zeros (padded)
    block   the most filters of a block
    span    fields of the tb_span
    """

    lanes: bool
    outputs: int
    words: int
    padded: bool
    block: int
    span: dict[str, int]
    groups: list[Group]

    @property
    def form(self) -> str:
        return "TB_LANES" if self.lanes else "TB_SINGLE"

    @property
    def blocks(self) -> list[Block]:
        """All groups, in blocks."""
        found = []
        for first in range(0, self.outputs, self.block):
            last = min(first + self.block, self.outputs)
            groups = [group for group in self.groups if first <= group.first < last]
            found.append(Block(first, last - first, groups))
        return found


@lru_cache(maxsize=32)
def _code(step: Step) -> Code:
    rows = step.view["rows"]
    outputs, taps = rows.shape
    paired = int(np.prod(step.view["output"][1:])) > 1
    groups = lanes(rows) if paired else single(rows)
    width = LANES if paired else SINGLE
    return Code(
        lanes=paired,
        outputs=outputs,
        words=taps + -taps % 4,
        padded=taps % 4 > 0,
        block=min(AT_ONCE, outputs + -outputs % width),
        span=span(step),
        groups=groups,
    )


def span(step: Step, *, keeps: bool = True) -> dict[str, int]:
    """Fields of a tb_span; keeps: the words of a window are still there for the next one."""
    op: Any = step.node.op
    depth = step.view["input"][0]
    kernel, dilations = getattr(op, "kernel", (1, 1)), getattr(op, "dilations", (1, 1))
    near = getattr(op, "strides", (1, 1))[1] == dilations[1] == 1
    shared = max(kernel[1] - 2, 0) if near and keeps else 0
    return {
        "line": kernel[1] * depth,
        "two": 2 * depth,
        "shared": shared,
        "kept": shared * depth,
        "far_row": (kernel[0] - 1) * dilations[0],
        "far_column": (kernel[1] - 1) * dilations[1],
    }


def fits(step: Step) -> bool:
    """Whether a layer's code stays within bounds, and its sums within 32 bits with all that starts add."""
    op: Any = step.node.op
    if step.view.get("code") != "pot4" or getattr(op, "groups", 1) != 1:
        return False
    rows = step.view["rows"]
    reach = np.abs(step.view["bias"]) + 3 * 128 * np.abs(rows).sum(axis=1)
    return bool(np.count_nonzero(rows) <= MOST_WEIGHTS and reach.max() < 1 << 30)


class Additions(Kernel):
    """A pot4 layer as code of its own: what it takes, and what its length depends on."""

    def takes(self, step: Step) -> bool:
        return fits(step)

    def code_features(self, step: Step) -> Mapping[str, int]:
        terms = int(np.count_nonzero(step.view["rows"]))
        return {"layer": 1, "filter": len(step.view["rows"]), "term": terms}


class Straight(Additions):
    """One addition per weight that is not 0; two positions at a time (firmware/tb_straight.h)."""

    name = "straight"
    fits_one = True
    headers = ("tb_straight.h",)
    template = "_straight.c.j2"
    slow_on = ("cortex-m0plus", "rv32imc")  # do not shift what they add: `triples`, `buckets` gain more

    def features(self, step: Step) -> Mapping[str, int]:
        code = _code(step)
        return features.operations(step, (x for group in code.groups for x in group.lines), not code.lanes)

    def code(self, step: Step) -> Code:
        """The layer's code."""
        return _code(step)

    def pack(self, step: Step) -> Packed:
        """DEPTH: a pixel of padding."""
        return Packed(bias=step.view["bias"], room={"DEPTH": step.view["input"][0]})
