# SPDX-License-Identifier: Apache-2.0
"""int8 depthwise layers on maps of 16 bits, two channels to a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from .base import Kernel, Packed, is_depthwise
from .features import affine
from .quads16 import LEAST, bounds, upper, with_upper
from .wide import LONGEST


class Wide16(Kernel):
    """Weights that widen to the halves of a word, beside those of a map (firmware/tb_wide_16.h)."""

    name = "wide_16"
    headers = ("tb_int16.h", "tb_wide_16.h")
    template = "_wide16.c.j2"
    words = 2

    def takes(self, step: Step) -> bool:
        if step.view.get("code") != "int8" or not is_depthwise(step.node.op):
            return False
        channels, taps = step.view["rows"].shape
        whole = step.view["words"] == (2, 2) and upper(step) is not None
        return whole and channels % 4 == 0 and taps <= LONGEST

    def pack(self, step: Step) -> Packed:
        """WIDE_TAPS, WIDE_CHANNELS: addresses of a window, and a pixel of padding."""
        channels, taps = step.view["rows"].shape
        records = _records(step).astype(np.int32)
        return Packed(
            records, row_bytes=records[0].nbytes, room={"WIDE_TAPS": taps, "WIDE_CHANNELS": channels}
        )

    def inner(self, step: Step) -> tuple[int, int]:
        """Arguments of TB_WIDE_16, which makes the inner function: taps, bounds."""
        return step.view["rows"].shape[1], bounds(step)

    def scaling(self, step: Step) -> Mapping[str, Any]:  # noqa: ARG002 -- the same for all
        """Only bounds and zero point: the records have the rest."""
        return {"multiplier": [], "shift": [0], "direct": 1, "step": 0}

    def features(self, step: Step) -> Mapping[str, int]:
        return with_upper(affine(step), step)


def _records(step: Step) -> NDArray[np.int64]:
    """(fours, words) of four channels each: biases, taps by two, a tap that is left over, multipliers and
    shifts.

    Words of taps hold bytes: (c, t), (c, t + 1), (c + 1, t), (c + 1, t + 1); of the last tap channels 0, 2,
    1 and 3.
    """
    rows, bias, found = step.view["rows"], step.view["bias"], upper(step)
    assert found is not None
    count, taps = len(rows) // 4, rows.shape[1]
    fours = rows.reshape(count, 4, taps)
    pairs = fours[:, :, : taps // 2 * 2].reshape(count, 2, 2, -1, 2).transpose(0, 3, 1, 2, 4)
    last = fours[:, [0, 2, 1, 3], taps // 2 * 2 :]
    words = [
        np.ascontiguousarray(part.reshape(count, -1), "<i1").view("<i4")
        for part in (pairs, last, found.shift - LEAST)
    ]
    parts = [bias, *words[:2], found.multiplier, words[2]]
    return np.concatenate([part.reshape(count, -1) for part in parts], axis=1)
