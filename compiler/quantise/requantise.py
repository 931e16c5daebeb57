# SPDX-License-Identifier: Apache-2.0
"""The integer multiplier and shift that stand for a real ratio of scales, by our rule and by TFLite's."""

from __future__ import annotations

import math
from fractions import Fraction

from ..errors import CompileError
from ..rounding import MEAN_BITS

MAX_SHIFT = 62
MOST_TAPS = 1 << (MEAN_BITS - 2)
TOLERANCE = Fraction(1, 100_000)  # of an output step, over the whole accumulator range


def multiplier(ratio: Fraction, reach: int, where: str = "requantise") -> tuple[int, int]:
    """(m, s) with m / 2^s close to `ratio` > 0 for accumulators of magnitude up to `reach`.

    A power of two gives m = 1 (or 2^k with s = 0). Otherwise s = 32 with an odd m when that moves no
    accumulator by more than 1e-5 of a step (ties are then impossible: a tie needs acc divisible by 2^31),
    else a 31-bit m, or one of fewer bits where sums are longer than 32: no product reaches 2^62.
    """
    bits = min(31, 62 - reach.bit_length())
    top, bottom = ratio.numerator, ratio.denominator
    if top & (top - 1) == 0 and bottom & (bottom - 1) == 0:
        shift = bottom.bit_length() - top.bit_length()
        if 0 <= shift <= MAX_SHIFT:
            return 1, shift
        if 1 - bits <= shift < 0:
            return 1 << -shift, 0
    odd = 2 * int(ratio * (1 << 31)) + 1
    if odd < 1 << bits and reach * abs(Fraction(odd, 1 << 32) - ratio) <= TOLERANCE:
        return odd, 32
    shift = min(bits - 1 - _log2(ratio), MAX_SHIFT)
    m = round(ratio * (1 << shift)) if shift >= 0 else 0
    if m >= 1 << bits:
        m, shift = m >> 1, shift - 1
    if shift < 0:
        found = f"scale ratio {float(ratio):.3g}"
        raise CompileError(where, found, f"below 2^{bits}", "a larger output scale")
    return max(m, 1), shift


def tflite_multiplier(ratio: Fraction, where: str = "requantise") -> tuple[int, int]:
    """(m, s) as TFLite chooses them for the double nearest to `ratio`: 31 bits, m rounded half up."""
    fraction, exponent = math.frexp(ratio)
    m = math.floor(Fraction(fraction) * (1 << 31) + Fraction(1, 2))
    if m == 1 << 31:
        m, exponent = m >> 1, exponent + 1
    if exponent > 30:
        raise CompileError(where, f"scale ratio {float(ratio):.3g}", "below 2^30", "a larger output scale")
    # TFLite takes m = 0 below 2^-32; so small, any m makes every sum of 32 bits 0.
    return (m, 31 - exponent) if m and exponent >= -31 else (1, MAX_SHIFT)


def average_multiplier(taps: int) -> tuple[int, int]:
    """(m, s) for the mean of `taps` numbers of 8 bits, halves away from 0: m / 2^s is 1 / taps, or more by
    less than could move a result past the next half."""
    if taps & (taps - 1) == 0:
        return 1, taps.bit_length() - 1
    shift = 29 + taps.bit_length()
    return -(-(1 << shift) // taps), shift


def halves(ratio: Fraction, m: int, s: int, reach: int) -> bool:
    """Whether accumulators times `ratio` can be halves that m / 2^s misses, and 15 bits of a fraction tell
    them from all other results: of those the nearest is 2^-14 away, and m / 2^s moves none by 2^-16."""
    bottom = ratio.denominator
    if bottom % 2 or bottom & (bottom - 1) == 0 or bottom > MOST_TAPS or s <= MEAN_BITS:
        return False
    return reach * abs(Fraction(m, 1 << s) - ratio) < Fraction(1, 2 << MEAN_BITS)


def _log2(ratio: Fraction) -> int:
    """floor(log2(ratio)), exactly."""
    guess = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    return guess if ratio >= Fraction(2) ** guess else guess - 1
