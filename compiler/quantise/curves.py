# SPDX-License-Identifier: Apache-2.0
"""The pieces of a function of 16-bit integers: as few as come within a quarter of a step of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from ..ops.base import Scaled
from ..ops.curve import FIRST, POINT, Curve
from ..ops.function import Function
from ..ops.trunc import Trunc

Floats = NDArray[np.float64]
SIZES = (8, 7, 6, 5)  # bits of a piece: from 257 to 2,049 knots, of 6 bytes each with what follows it
CLOSE = 0.25  # steps
LIMIT = 1 << 16  # steps of a value, so that what C computes fits 32 bits
BEND = (1 << 15) - 1
STRAIGHT = 2  # what rounded knots are off by


def curve(where: str, fn: Function, source: Scaled, target: Scaled) -> Curve:
    """The fewest pieces that are CLOSE to the function, or the most of SIZES if these stay within a step."""
    q = np.arange(FIRST, -FIRST)
    steps = _steps(fn, q, source, target)
    ends = target.lo - target.zero, target.hi - target.zero
    for bits in SIZES:
        found = _pieces(fn, bits, source, target)
        near = found.values() / (1 << POINT) + (found.parity - target.zero)
        off = float(np.abs(np.clip(near, *ends) - np.clip(steps, *ends)).max())
        if off <= CLOSE:
            return found
    if off < 1:
        return found
    raise CompileError(
        where, f"a {type(fn).__name__} of 16-bit integers that {len(found.knots)} knots miss by {off:.3g}",
        "less than a step", f"a scale below {float(source.scale):.3g}, or 8 bits, in front of it",
    )  # fmt: skip


def truncation(where: str, fn: Trunc, source: Scaled, target: Scaled) -> Curve:
    """The fewest pieces that are a Trunc, every integer of it. Rounding down is rounding of half a step less,
    but for what a knot can hold: then none of the integers lies at a tie."""
    factor, offset = Fraction(fn.factor) * source.scale / target.scale, Fraction(fn.offset) / target.scale
    steps = (factor * (q - source.zero) + offset for q in range(FIRST, -FIRST))
    wanted = np.clip([fn.entry(step, target.zero) for step in steps], target.lo, target.hi)
    for bits in SIZES:
        less = Fraction(1, 2) - Fraction(1, 1 << (POINT - bits))
        more = {"FLOOR": -less, "CEIL": less, "ROUND": Fraction(0)}[fn.rounding] * target.scale
        found = _pieces(replace(fn, offset=float(Fraction(fn.offset) + more)), bits, source, target)
        if np.array_equal(found.entries, wanted):
            return found
    raise CompileError(
        where, f"a Trunc of 16-bit integers that {len(found.knots)} knots do not give exactly",
        "at most 8 bits fewer, to the nearest with an even zero point", "a Quant in its place",
    )  # fmt: skip


def _steps(fn: object, q: NDArray[np.float64] | NDArray[np.int64], source: Scaled, target: Scaled) -> Floats:
    """What a function makes of integers, in steps of the output."""
    assert callable(fn)
    with np.errstate(over="ignore", under="ignore"):
        reals = np.asarray(fn((q - source.zero) * float(source.scale)), np.float64)
    return reals / float(target.scale)


def _pieces(fn: Function, bits: int, source: Scaled, target: Scaled) -> Curve:
    size, parity = 1 << bits, target.zero & 1
    knots, bends, knees = list[Floats](), list[Floats](), list[int]()
    start = FIRST
    for end, smooth in fn.smooth_pieces():
        first = -FIRST if end == inf else ceil(Fraction(end) / source.scale) + source.zero
        stop = min(max(first, start), -FIRST)
        if stop == start:
            continue
        at = start + size * np.arange(-((start - stop) // size) + 1.0)
        value, middle = (
            np.clip(_steps(smooth, q, source, target) + (target.zero - parity), -LIMIT, LIMIT)
            for q in (at, at[:-1] + size / 2)
        )
        knots.append(np.rint(value * (1 << (POINT - bits))))
        chord = (knots[-1][:-1] + knots[-1][1:]) * (size / 2)
        # In the middle of a piece r (size - r) is size^2 / 4, and 2^(2 bits - 8) of that are 64.
        bent = np.rint((middle * (1 << POINT) - chord) / 64)
        if np.abs(bent).max() <= STRAIGHT:
            bent[:] = 0
        bends.append(np.append(np.clip(bent, -BEND, BEND), 0))  # a piece that is skipped
        knees.append(start)
        start = stop
    whole = (np.concatenate(knots), np.concatenate(bends)[:-1], np.array(knees[1:]))
    a, b, c = (array.astype(np.int64) for array in whole)
    return Curve(a, b, c, bits, parity, target.lo, target.hi)
