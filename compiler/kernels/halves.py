# SPDX-License-Identifier: Apache-2.0
"""int8 filters two by two, requantised where they are summed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed
from .one_shift import ratios, reach

LARGEST = 1 << 23  # 256 times a sum stays within 32 bits
FEW = 16  # taps that compilers write out, in firmware/tb_halves.h


class Halves(Kernel):
    """Half words 256 b + a + 128 for filters a and b, tap by tap (firmware/tb_halves.h)."""

    name = "halves"
    headers = ("tb_halves.h",)
    fits_one = True

    def features(self, step: Step) -> Mapping[str, int]:
        return features.columns(step, 4)

    def features_alone(self, step: Step) -> Mapping[str, int]:
        few = "few_" * (step.view["rows"].shape[1] <= FEW)
        return {few + name: count for name, count in self.features(step).items()}

    def takes(self, step: Step) -> bool:
        op: Any = step.node.op
        r = step.requantise
        if step.view.get("code") != "int8" or getattr(op, "groups", 1) > 1 or len(step.view["rows"]) % 4:
            return False
        low, high = reach(step)
        return (
            r is not None
            and (r.lo, r.hi) == (-128, 127)
            and bool(max(-low[1::2].min(), high[1::2].max()) < LARGEST)
            and ratios(step) is not None
        )

    def pack(self, step: Step) -> Packed:
        """HALF_TAPS: activations of a window; HALF_COLUMNS: of one or two, as a DSP core wants them.

        Taps are filled up to four by zeros. Where the channels allow it, the first and third of four share a
        word, as they do when a word of activations is unpacked.
        """
        rows, channels = step.view["rows"], step.view["input"][0]
        halves = (256 * rows[1::2] + rows[0::2] + 128).astype(np.int16)
        halves = np.pad(halves, ((0, 0), (0, -rows.shape[1] % 4)))  # without 128: no sum takes that off again
        if channels % 4 == 0:
            halves = halves.reshape(len(halves), -1, 4)[:, :, [0, 2, 1, 3]].reshape(halves.shape)
        taps, positions = halves.shape[1], int(np.prod(step.view["output"][1:]))
        room = {"HALF_TAPS": taps, "HALF_COLUMNS": taps * min(positions, 2)}
        return Packed(halves, step.view["bias"], 2 * taps, room)
