# SPDX-License-Identifier: Apache-2.0
"""Requantise: the only op that rounds. Its float twin is Clip."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rounding import AVERAGE, HALF_EVEN, MEAN, MEAN_BITS, MODES
from .base import Domain, Op, Shape

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
    mode: str = HALF_EVEN

    activates = True

    def __post_init__(self) -> None:
        if self.mode not in (*MODES.values(), AVERAGE, MEAN):
            raise ValueError(f"no requantisation mode {self.mode!r}")
        if self.mode == MEAN and self.shift.min() <= MEAN_BITS:
            raise ValueError(f"a mean shifted by {self.shift.min()} bits, no more than {MEAN_BITS}")
        for m, s in zip(self.multiplier.tolist(), self.shift.tolist(), strict=True):
            if self.mode == AVERAGE and (s > 54 or 128 * ((-1 << s) % m) > SLACK * (1 << s)):
                raise ValueError(f"{m} / 2^{s} is not one over a number of taps")

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0] if len(self.multiplier) in (1, shapes[0][0]) else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.requantise(
            xs[0], self.multiplier, self.shift, self.zero_in, self.zero, self.lo, self.hi, self.mode
        )
