# SPDX-License-Identifier: Apache-2.0
"""One shift for all channels of a layer, with other multipliers that give the same integers.

A requantisation is a staircase over the sums that a layer can have: what it is, is where its steps lie.
Any multiplier and shift with the same steps, rounding half up, may stand for it. Then the shift and the
rounding bit are one constant of the layer, and with the DSP extension SMMLA, ASR and SSAT are what remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import Requantise
from ..rounding import HALF_EVEN, SINGLE
from ..targets.plan import Step

Integers = NDArray[np.int64]

MODES = (HALF_EVEN, SINGLE)  # the others' steps lie differently above and below 0
MOST = 53  # (2 n - 1) 2^(shift - 1) must fit 64 bits for every output n
LARGEST = 1 << 30  # multipliers stay below, sums within half of it: tb_high relies on it
USUAL = 36  # tried first: layers that share a shift may share code
HIGHEST = 14  # bits of a rounded fraction: 2^(8 + 14) times an output still fits 32 bits


@dataclass(frozen=True)
class OneShift:
    """clip(floor(sum * multiplier[c] / 2^shift + 1/2) + zero, lo, hi), for sums in range; none is a tie.

    multiplier (C,), or (1,) where one serves all channels.
    """

    multiplier: Integers
    shift: int


@lru_cache(maxsize=256)
def ratios(step: Step) -> OneShift | None:
    """one_shift of a weighted step, an average or a product of two tensors, over all sums that there may be.

    Powers of two alone stay shifts, and sums of 16-bit integers are not looked at.
    """
    r = step.requantise
    if r is None or bool((r.multiplier == 1).all()) or max(step.view["words"]) > 1:
        return None
    if "rows" in step.view:
        return one_shift(r, *reach(step))
    op: Any = step.node.op
    if step.kind == "mat_mul":
        ends = [(a - op.za) * (b - op.zb) * op.extents[-1] for a in (-128, 127) for b in (-128, 127)]
        return one_shift(r, *(np.array([end], dtype=np.int64) for end in (min(ends), max(ends))))
    if step.kind == "average_pool":
        taps = prod(op.kernel)
        return one_shift(r, *(np.array([taps * (end - op.zero)], dtype=np.int64) for end in (-128, 127)))
    return None


def reach(step: Step) -> tuple[Integers, Integers]:
    """The least and the largest sum of each output (C,) of a weighted step, over all int8 inputs."""
    rows, bias = step.view["rows"], step.view["bias"]
    if step.view["code"] == "pool64":  # whose bias is that of inputs from 0 to 255
        bias = bias + 128 * rows.sum(axis=1)
    ends = 127 * rows, -128 * rows
    return bias + np.minimum(*ends).sum(axis=1), bias + np.maximum(*ends).sum(axis=1)


def one_shift(r: Requantise, low: Integers, high: Integers) -> OneShift | None:
    """For sums from low[c] to high[c] (C,); None when no such multipliers with a shift above 32 do it, or
    when there is only one output.

    r.zero_in is not applied: sums are what the ratio multiplies.
    """
    m, s = np.broadcast_arrays(r.multiplier, r.shift, low)[:2]
    if r.lo == r.hi or r.mode not in MODES or s.max() > MOST or max(-low.min(), high.max()) > LARGEST // 2:
        return None
    n = np.arange(r.lo + 1, r.hi + 1)[:, None] - r.zero
    begin = -(-_least_product(n, s, r.mode) // m)  # the first sum that reaches output n, per channel
    ratio = (m / 2.0**s).max()
    top = min(32 + HIGHEST, 30 - int(np.frexp(ratio)[1]))
    for shift in sorted(range(33, top + 1), key=lambda shift: abs(shift - USUAL)):
        ends = _multipliers(n, begin, low, high, shift)
        if ends is None:
            continue
        least, most = ends
        if len(r.multiplier) == 1 and least.max() <= most.min():
            least, most = least.max(keepdims=True), most.min(keepdims=True)
        near = np.round(m * 2.0 ** (shift - s)).astype(np.int64)[: len(least)]
        return OneShift(_roundest(np.clip(near, least, most), least, most), shift)
    return None


def _roundest(near: Integers, least: Integers, most: Integers) -> Integers:
    """Between `least` and `most` the numbers with the most twos; `near` where all are odd."""
    best = near
    for twos in range(1, 30):
        even = -(-least >> twos) << twos
        best = np.where(even <= most, even, best)
    return best


def _least_product(n: Integers, s: Integers, mode: str) -> Integers:
    """The smallest sum * multiplier that rounds to n or more (all integers; s per channel)."""
    half = ((2 * n - 1) << s) >> 1  # floor; exact but for s = 0, where n is reached by n itself
    if mode == HALF_EVEN:
        return np.where(s == 0, n, half + (n & 1))
    return np.where(s == 0, n, half)


def _multipliers(
    n: Integers, begin: Integers, low: Integers, high: Integers, shift: int
) -> tuple[Integers, Integers] | None:
    """Per channel the least and the largest multiplier whose steps begin where they should."""
    half = (2 * n - 1) << (shift - 1)
    least, most = np.ones_like(low), np.full_like(low, LARGEST - 1)
    # sum * multiplier > half at the first sum of a step, < half at the one before: where there are such sums.
    for sums, here, up in (
        (np.maximum(begin, low), begin <= high, True),
        (np.minimum(begin - 1, high), begin > low, False),
    ):
        size = np.maximum(np.abs(sums), 1)
        towards = np.where(sums < 0, -half, half)
        above = (sums > 0) == up  # the multiplier must lie above towards / size, else below it
        least = np.maximum(least, np.where(here & above & (sums != 0), towards // size + 1, 1).max(axis=0))
        bound = np.where(here & ~above & (sums != 0), -(-towards // size) - 1, LARGEST - 1)
        most = np.minimum(most, bound.min(axis=0))
        if (here & (sums == 0) & ((half > 0) == up)).any():
            return None
    return None if (least > most).any() else (least, most)
