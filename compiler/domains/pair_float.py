# SPDX-License-Identifier: Apache-2.0
"""Outward rounding for the pair domains. u = 2^-53 is the unit roundoff of float64.

Every computed bound is moved outward by more than its rounding error, so float64 never loses a true value.
Float weights are within 2u of the true ones, V = (S_acc / S_in) * Wq within 2u: slack() covers both.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..rounding import AVERAGE, DOUBLE, HALF_EVEN, MEAN, MEAN_BITS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

U = 2.0**-53
TINY = 2.0**-1000  # covers underflow


def slack(terms: int, magnitude: Floats) -> Floats:
    """Bound on everything that goes wrong in inner products of `terms` products whose absolute values sum to
    `magnitude`: gamma_n of the sum itself, parameter errors (9u) and the final additions; 1.01 covers the
    rounding of `magnitude` and of this line."""
    return (1.01 * (terms + 16) * U) * magnitude + TINY


def down(value: Floats) -> Floats:
    """Below the true value of anything computed with relative error at most 2u. Exact zeros stay zero."""
    return value - 4 * U * np.abs(value)


def up(value: Floats) -> Floats:
    """Above the true value of anything computed with relative error at most 2u."""
    return value + 4 * U * np.abs(value)


def total(matrix: Floats) -> Floats:
    """Sum of absolute values over axis 0, rounded up."""
    return np.asarray(np.abs(matrix).sum(axis=0) * (1 + 1.01 * (matrix.shape[0] + 16) * U))


def below(value: Fraction) -> float:
    """Largest convenient float not above an exact rational."""
    near = float(value)
    return near if near <= value else float(np.nextafter(near, -np.inf))


def above(value: Fraction) -> float:
    """Smallest convenient float not below an exact rational."""
    near = float(value)
    return near if near >= value else float(np.nextafter(near, np.inf))


def lattice(low: Floats, high: Floats, step: Floats, span: tuple[int, int]) -> tuple[Ints, Ints]:
    """Integers n of `span` with low <= step * n <= high, as (first, last): never too narrow. `step` is within
    u of its true value (relative), so the quotients are within 3u; 8u is taken off before rounding inward."""
    a, b = low / step, high / step
    first, last = np.ceil(a - 8 * U * np.abs(a)), np.floor(b + 8 * U * np.abs(b))
    if np.isnan(first).any() or np.isnan(last).any() or max(-span[0], span[1]) > 1 << 52:
        raise OverflowError("an accumulator bound that is no number, or beyond 2^52")
    return np.clip(first, *span).astype(np.int64), np.clip(last, *span).astype(np.int64)


def rounded(n: Ints, m: Ints, s: Ints, mode: str, zero: int = 0) -> Ints:
    """n * m / 2^s as a Requantise of this mode rounds it, exact for any size of n; a mean with `zero` inside.

    Every mode is one shift of a nudged product: by half for ties up; by half, less 1 where the quotient is
    even, for ties to even, or where the product is negative, for ties away from 0. Two roundings, the first
    by 31 bits: the second one's tie lies 2^30 off where the first carries upwards, and ties go away from 0.
    A mean is rounded to 15 bits of a fraction first, half up: its halves are exact then.
    """
    average = mode == AVERAGE
    n = n + zero * -((-1 << s) // m) if average else n
    wide = bool((np.abs(n.astype(np.float64)) * m >= 2.0**62).any())
    kind = object if wide else np.int64
    product, shift = n.astype(kind) * m.astype(kind), s.astype(kind)
    half = (np.ones_like(shift) << shift) >> 1
    if mode == MEAN:
        product, shift = (
            (product + (half >> MEAN_BITS)) >> (shift - MEAN_BITS),
            np.full_like(shift, MEAN_BITS),
        )
        half = (np.ones_like(shift) << shift) >> 1
    if mode in (HALF_EVEN, MEAN):
        nudge = half - np.where(s > 0, 1 - ((product >> shift) & 1), 0)
    elif mode == DOUBLE:
        nudge = half + np.where(s > 31, np.where(product < -(1 << 30), -(1 << 30), 1 << 30), 0)
    else:
        nudge = half - (np.where(s > 0, product < 0, 0) if average else 0)
    return np.asarray((product + nudge) >> shift, np.int64) - (zero if average else 0)


def scaled(q: Ints, scale: Fraction) -> tuple[Floats, Floats]:
    """scale * q rounded down and up."""
    product = q.astype(np.float64) * float(scale)
    return down(product), up(product)


def multiples(n: Ints, unit: Fraction) -> tuple[Floats, Floats]:
    """unit * n rounded down and up, and as it is where floats hold it: a float32's products with integers."""
    if Fraction(float(unit)) == unit and unit.numerator * int(np.abs(n).max(initial=0)) <= 1 << 53:
        return (product := n.astype(np.float64) * float(unit)), product
    return scaled(n, unit)
