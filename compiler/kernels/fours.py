# SPDX-License-Identifier: Apache-2.0
"""int4 filters four by four: one mask instead of two per unpacked word on DSP cores, one load elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from .base import Kernel, Packed

LARGEST = 1 << 12  # sum of |d| of a filter: 4096 times 128 times it stays below 2^31


class Fours(Kernel):
    """Half words 4096 d + 256 (c + 8) + 16 (b + 8) + a + 8 for filters a, b, c and d, tap by tap
    (firmware/tb_int4.h, tb_dsp_fours.h)."""

    name = "fours"
    headers = ("tb_int4.h",)

    def takes(self, step: Step) -> bool:
        op: Any = step.node.op
        one_group = step.view.get("code") == "int4" and getattr(op, "groups", 1) == 1
        return one_group and _sums_fit(step.view["rows"])

    def pack(self, step: Step) -> Packed:
        """COLUMNS: activations that a DSP core widens at a time, the window of one position or of two.
        WINDOW: those of one, which other cores widen."""
        view = step.view
        halves = _halves(view["rows"])
        taps, positions = halves.shape[1], int(np.prod(view["output"][1:]))
        bias = np.pad(view["bias"], (0, -len(view["bias"]) % 4))
        stored = halves.astype("<i2").view(np.uint8)
        room = {"COLUMNS": taps * min(positions, 2), "WINDOW": taps}
        return Packed(stored, bias, 2 * taps, room)


def _sums_fit(rows: NDArray[np.int64]) -> bool:
    """Whether 4096 D stays within 32 bits for every fourth filter; 256 C and 16 B then do where they are no
    longer than D could be."""
    last = np.abs(rows[3::4]).sum(axis=1)
    others = np.abs(rows).sum(axis=1)
    return int(last.max(initial=0)) < LARGEST and int(others.max()) < 16 * LARGEST


def _halves(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Filters and taps filled up to fours by zeros."""
    outputs, taps = rows.shape
    filled = np.pad(rows, ((0, -outputs % 4), (0, -taps % 4)))
    a, b, c, d = (filled[i::4] for i in range(4))
    packed: NDArray[np.int64] = 4096 * d + 256 * (c + 8) + 16 * (b + 8) + a + 8
    return packed
