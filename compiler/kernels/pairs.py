# SPDX-License-Identifier: Apache-2.0
"""int8 filters two by two, so that a DSP core unpacks four weights by one instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed

LARGEST = 1 << 16  # sum of |b| of a filter: 256 times 128 times it stays below 2^31


class Pairs(Kernel):
    """Half words 256 b + a + 128 for filters a and b, tap by tap (firmware/tb_int8.h, tb_dsp_pairs.h)."""

    name = "pairs"
    headers = ("tb_int8.h",)

    def takes(self, step: Step) -> bool:
        op: Any = step.node.op
        one_group = step.view.get("code") == "int8" and getattr(op, "groups", 1) == 1
        return one_group and _sums_fit(step.view["rows"])

    def pack(self, step: Step) -> Packed:
        """COLUMNS: activations that a DSP core widens at a time, the window of one position or of two."""
        view = step.view
        halves = _halves(view["rows"])
        taps, positions = halves.shape[1], int(np.prod(view["output"][1:]))
        bias = np.append(view["bias"], np.zeros(len(view["bias"]) % 2, dtype=np.int64))
        stored = halves.astype("<i2").view(np.uint8)
        return Packed(stored, bias, 2 * taps, {"COLUMNS": taps * min(positions, 2)})

    def features(self, step: Step) -> Mapping[str, int]:
        return features.columns(step, 2)


def _sums_fit(rows: NDArray[np.int64]) -> bool:
    """Whether 256 B stays within 32 bits for every second filter."""
    second = rows[1::2]
    return not len(second) or bool(np.abs(second).sum(axis=1).max() < LARGEST)


def _halves(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Filters filled up to an even number and taps to four by zeros."""
    outputs, taps = rows.shape
    filled = np.pad(rows, ((0, outputs % 2), (0, -taps % 4)))
    packed: NDArray[np.int64] = 256 * filled[1::2] + filled[0::2] + 128
    return packed
