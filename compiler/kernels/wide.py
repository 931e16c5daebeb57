# SPDX-License-Identifier: Apache-2.0
"""int8 depthwise layers, two taps of two channels to a word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from .base import Kernel, Packed, is_depthwise
from .one_shift import ratios

LONGEST = 200  # taps whose addresses are within reach of one instruction


class Wide(Kernel):
    """Weights that widen to 16 bits, so that one instruction multiplies two taps (firmware/tb_wide.h)."""

    name = "wide"
    fits_one = True
    headers = ("tb_wide.h",)
    template = "_wide.c.j2"

    def takes(self, step: Step) -> bool:
        if step.view.get("code") != "int8" or not is_depthwise(step.node.op):
            return False
        channels, taps = step.view["rows"].shape
        return channels % 4 == 0 and taps <= LONGEST and ratios(step) is not None

    def pack(self, step: Step) -> Packed:
        """TAPS, CHANNELS: addresses of a window, and a pixel of padding."""
        channels, taps = step.view["rows"].shape
        records = _records(step).astype(np.int32)
        return Packed(records, row_bytes=records[0].nbytes, room={"TAPS": taps, "CHANNELS": channels})

    def inner(self, step: Step) -> tuple[int, ...]:
        """Arguments of TB_WIDE, which makes the inner function: taps, bits to shift, whether to clamp."""
        found, r = ratios(step), step.requantise
        assert found is not None and r is not None
        return step.view["rows"].shape[1], found.shift - 32, int((r.lo, r.hi) != (-128, 127))


def _records(step: Step) -> NDArray[np.int64]:
    """(fours, words) of four channels each: biases, taps by two, a tap that is left over, multipliers.

    Words of taps hold bytes: (c, t), (c + 1, t), (c, t + 1), (c + 1, t + 1).
    """
    rows, bias, found = step.view["rows"], step.view["bias"], ratios(step)
    assert found is not None
    count, taps = len(rows) // 4, rows.shape[1]
    fours = rows.reshape(count, 4, taps)
    even, last = fours[:, :, : taps // 2 * 2], fours[:, :, taps // 2 * 2 :]
    pairs = even.reshape(count, 2, 2, -1, 2).transpose(0, 3, 1, 4, 2)
    words = [part.reshape(count, -1).astype("<i1").view("<i4") for part in (pairs, last)]
    parts = [bias, *words, np.broadcast_to(found.multiplier, bias.shape)]
    return np.concatenate([part.reshape(count, -1) for part in parts], axis=1)
