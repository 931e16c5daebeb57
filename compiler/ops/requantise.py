# SPDX-License-Identifier: Apache-2.0
"""Requantise: the only op that rounds. Its float twin is Clip."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Domain, Op, Shape

MODES = {  # `--requant` -> how a Requantise rounds; the law is docs/semantics.md
    "onnx": "half-even",
    "tflite-single": "tflite-single",
    "tflite-double": "tflite-double",
}
AVERAGE = "tflite-average"  # of an average pool that keeps its quantisation, in the last two
SLACK = Fraction(1, 1 << 22)  # steps that its multiplier, which is not 1 / taps quite, may move a result


@dataclass(frozen=True, eq=False)
class Requantise(Op):
    """q = clip(round((x - zero_in) * multiplier / 2^shift) + zero, lo, hi); `mode` says how it rounds.

    multiplier and shift are (C,) or (1,): per channel of axis 0 or one for all; 0 < multiplier < 2^31.
    The zero point is added after rounding, but for an average (see docs/semantics.md); saturation comes last.
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    zero_in: int
    zero: int
    lo: int
    hi: int
    mode: str = "half-even"

    activates = True

    def __post_init__(self) -> None:
        if self.mode not in (*MODES.values(), AVERAGE):
            raise ValueError(f"no requantisation mode {self.mode!r}")
        for m, s in zip(self.multiplier.tolist(), self.shift.tolist(), strict=True):
            if self.mode == AVERAGE and (s > 54 or 128 * ((-1 << s) % m) > SLACK * (1 << s)):
                raise ValueError(f"{m} / 2^{s} is not one over a number of taps")

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0] if len(self.multiplier) in (1, shapes[0][0]) else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.requantise(
            xs[0], self.multiplier, self.shift, self.zero_in, self.zero, self.lo, self.hi, self.mode
        )
