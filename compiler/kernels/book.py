# SPDX-License-Identifier: Apache-2.0
"""Powers of two of any layer on DSP cores: a table makes two weights of a byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed


class Book(Kernel):
    """Bytes of two taps of filters a and b by turns (firmware/tb_pot4.h)."""

    name = "book"
    headers = ("tb_pot4.h",)

    def takes(self, step: Step) -> bool:
        op: Any = step.node.op
        return step.view.get("code") == "pot4" and getattr(op, "groups", 1) == 1

    def pack(self, step: Step) -> Packed:
        """COLUMNS: activations that a DSP core widens at a time, the window of one position or of two."""
        view = step.view
        outputs, taps = len(view["rows"]), view["rows"].shape[1]
        held = view["stored"].shape[1]  # two taps to a byte already
        wide = taps + -taps % 4
        halves = np.pad(view["stored"], ((0, outputs % 2), (0, wide // 2 - held)))
        stored = np.ascontiguousarray(halves.reshape(-1, 2, wide // 2).transpose(0, 2, 1))
        bias = np.append(view["bias"], np.zeros(outputs % 2, dtype=np.int64))
        positions = int(np.prod(view["output"][1:]))
        return Packed(stored, bias, wide, {"COLUMNS": wide * min(positions, 2)})

    def features(self, step: Step) -> Mapping[str, int]:
        return {**features.plain(step), **features.columns(step, 2, unrolled=4)}
