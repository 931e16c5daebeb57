# SPDX-License-Identifier: Apache-2.0
"""The integer multiplier and shift that stand for a real ratio of scales."""

from __future__ import annotations

from fractions import Fraction

from ..errors import CompileError

MAX_SHIFT = 62
TOLERANCE = Fraction(1, 100_000)  # of an output step, over the whole accumulator range


def multiplier(ratio: Fraction, reach: int, where: str = "requantise") -> tuple[int, int]:
    """(m, s) with m / 2^s close to `ratio` > 0 for accumulators of magnitude up to `reach`.

    A power of two gives m = 1 (or 2^k with s = 0). Otherwise s = 32 with an odd m when that moves no
    accumulator by more than 1e-5 of a step (ties are then impossible: a tie needs acc divisible by 2^31),
    else a 31-bit m.
    """
    top, bottom = ratio.numerator, ratio.denominator
    if top & (top - 1) == 0 and bottom & (bottom - 1) == 0:
        shift = bottom.bit_length() - top.bit_length()
        if 0 <= shift <= MAX_SHIFT:
            return 1, shift
        if -30 <= shift < 0:
            return 1 << -shift, 0
    odd = 2 * int(ratio * (1 << 31)) + 1
    if odd < 1 << 31 and reach * abs(Fraction(odd, 1 << 32) - ratio) <= TOLERANCE:
        return odd, 32
    shift = min(30 - _log2(ratio), MAX_SHIFT)
    m = round(ratio * (1 << shift)) if shift >= 0 else 0
    if m >= 1 << 31:
        m, shift = m >> 1, shift - 1
    if shift < 0:
        raise CompileError(where, f"scale ratio {float(ratio):.3g}", "below 2^31", "a larger output scale")
    return max(m, 1), shift


def _log2(ratio: Fraction) -> int:
    """floor(log2(ratio)), exactly."""
    guess = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    return guess if ratio >= Fraction(2) ** guess else guess - 1
