# SPDX-License-Identifier: Apache-2.0
"""int4 filters four by four: one mask instead of two per unpacked word on DSP cores, one load elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed

PART = 480  # TB_FOURS_TAPS of firmware/tb_dsp_fours.h


class Fours(Kernel):
    """Half words 4096 d + 256 (c + 8) + 16 (b + 8) + a + 8 for filters a, b, c and d, tap by tap
    (firmware/tb_int4.h, tb_dsp_fours.h)."""

    name = "fours"
    fits_one = True
    headers = ("tb_int4.h",)

    def takes(self, step: Step) -> bool:
        op: Any = step.node.op
        return step.view.get("code") == "int4" and getattr(op, "groups", 1) == 1

    def pack(self, step: Step) -> Packed:
        """COLUMNS: activations that a DSP core widens at a time, the window of one position or of two.
        PARTS: into which it cuts that. WINDOW: activations of one position, which other cores widen."""
        view = step.view
        halves = _halves(view["rows"])
        taps, positions = halves.shape[1], int(np.prod(view["output"][1:]))
        bias = np.pad(view["bias"], (0, -len(view["bias"]) % 4))
        stored = halves.astype("<i2").view(np.uint8)
        room = {"COLUMNS": taps * min(positions, 2), "PARTS": -(-taps // PART), "WINDOW": taps}
        return Packed(stored, bias, 2 * taps, room)

    def features(self, step: Step) -> Mapping[str, int]:
        return features.columns(step, 4)


def _halves(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Filters and taps filled up to fours by zeros."""
    outputs, taps = rows.shape
    filled = np.pad(rows, ((0, -outputs % 4), (0, -taps % 4)))
    a, b, c, d = (filled[i::4] for i in range(4))
    packed: NDArray[np.int64] = 4096 * d + 256 * (c + 8) + 16 * (b + 8) + a + 8
    return packed
