# SPDX-License-Identifier: Apache-2.0
"""Requantise in float64 operations that round once each, proven equal to the law for every accumulator.

acc * m needs 62 bits, a double holds 53, and still  Round(acc * M),  M = m / 2^s (exact in a double), is
right: no product is rounded beyond a tie, so only what is rounded *onto* a tie could be decided wrongly.
Both the law and the double form rise with acc, so they agree everywhere when they agree on both sides of
every jump of the law and at both ends: that is checked here, for each channel, when a form is made. One
that fails is moved by a few units in the last place and checked again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from ..ops import Requantise
from ..rounding import AVERAGE, DOUBLE, HALF_EVEN, MEAN, MEAN_BITS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EVEN = (HALF_EVEN, MEAN)


@dataclass(frozen=True)
class DoubleForm:
    """q = clip(R(t) + zero, lo, hi), t = (acc - shift) * factor per channel, in float64.

    R is half to even without `up`, of a mean first to multiples of 1 / `first`; with it,
    max(floor(t + up), 0) + min(ceil(t - down), 0): any rounding with thresholds of its own for either sign.
    """

    shift: int
    factor: Floats
    up: Floats | None
    down: Floats | None
    first: float = 1.0

    def rounded(self, acc: Ints) -> Floats:
        """R(t); acc (C, n), what the ONNX operators compute."""
        t = (acc - self.shift).astype(np.float64) * self.factor[:, None]
        if self.up is None or self.down is None:
            return np.rint(np.rint(t * self.first) / self.first) if self.first > 1 else np.rint(t)
        rises = np.maximum(np.floor(t + self.up[:, None]), 0.0)
        return np.asarray(rises + np.minimum(np.ceil(t - self.down[:, None]), 0.0))


def double_form(where: str, op: Requantise, law: Any, span: tuple[int, int]) -> DoubleForm:
    """The form of a Requantise whose accumulators lie in span; law(acc, m, s) is the golden model's result
    for acc (C, n). CompileError (none is known) when no candidate equals it."""
    m, s = op.multiplier, op.shift
    shift = op.zero_in
    if op.mode == AVERAGE:  # rounds the stored integers' sum: zero points are taken out before, not after
        taps = {int(-((-1 << int(b)) // int(a))) for a, b in zip(m, s, strict=True)}
        if len(taps) != 1:
            raise CompileError(where, "an average over several numbers of taps", "one")
        shift -= taps.pop() * op.zero
    points, wanted = _jumps(op, law, span)
    chosen: list[tuple[float, float, float] | None] = [None] * len(m)
    for channel in range(len(m)):
        acc, right = points[channel], wanted[channel]
        for factor, up, down in _candidates(op.mode, int(m[channel]), int(s[channel])):
            form = _form(op.mode, shift, np.array([[factor, up, down]]))
            own = form.rounded(acc[None]) + (0 if op.mode == AVERAGE else op.zero)
            if np.array_equal(np.clip(own, op.lo, op.hi)[0], right):
                chosen[channel] = factor, up, down
                break
    if any(entry is None for entry in chosen):
        raise CompileError(where, f"a {op.mode} rounding that float64 does not reach", "another --requant")
    return _form(op.mode, shift, np.array(chosen, np.float64))


def _form(mode: str, shift: int, rows: Floats) -> DoubleForm:
    if mode in EVEN:
        return DoubleForm(shift, rows[:, 0], None, None, 2.0**MEAN_BITS if mode == MEAN else 1.0)
    return DoubleForm(shift, rows[:, 0], rows[:, 1], rows[:, 2])


def _candidates(mode: str, m: int, s: int) -> Iterator[tuple[float, float, float]]:
    """(factor, up, down), the most natural first. A second rounding moves the thresholds by 2^(30 - s)."""
    exact = m / 2**s  # an integer below 2^31 over a power of two: no rounding
    first = 2.0 ** (30 - s) if mode == DOUBLE and s > 31 else 0.0
    near = 2.0**-44  # more than a double's spacing at an int8 result, less than any distance of thresholds
    for steps in (0, 1, -1, 2, -2):
        factor = exact * (1 + steps * 2.0**-52)
        if mode in EVEN:
            yield factor, 0.0, 0.0
            continue
        for down in (0.5 + first, 0.5 + first - near, 0.5 - near, 0.5):
            for up in (0.5 + first, 0.5 + first + near, 0.5):
                yield factor, up, down


def _jumps(op: Requantise, law: Any, span: tuple[int, int]) -> tuple[Ints, Ints]:
    """Accumulators (C, n) on both sides of every jump of the law, and both ends; and the law there."""
    channels, levels = len(op.multiplier), np.arange(op.lo, op.hi)
    low = np.full((channels, levels.size), span[0], np.int64)
    high = np.full_like(low, span[1] + 1)  # the least accumulator above level k lies in [low, high]
    while (low < high).any():
        middle = (low + high) >> 1
        over = law(np.minimum(middle, span[1])) > levels
        over |= middle > span[1]
        high, low = np.where(over, middle, high), np.where(over, low, np.minimum(middle + 1, high))
    ends = np.broadcast_to(np.array(span, np.int64), (channels, 2))
    points = np.clip(np.concatenate([low, low - 1, ends], axis=1), *span)
    return points, law(points)
