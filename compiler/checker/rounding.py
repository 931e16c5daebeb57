# SPDX-License-Identifier: Apache-2.0
"""Outward rounding. u = 2^-53 is the unit roundoff; every bound moves outward by more than its own error."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import need

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
U = 2.0**-53
TWICE = 31  # bits that the first of two roundings takes
TINY = 2.0**-1000  # more than anything that underflows


def up(v: Floats) -> Floats:
    """Above the true value of what was computed with relative error 2u at most; 0 stays 0."""
    return v + 4 * U * np.abs(v)


def down(v: Floats) -> Floats:
    """Below it."""
    return v - 4 * U * np.abs(v)


def slack(terms: int, magnitude: Floats) -> Floats:
    """Error of an inner product whose `terms` absolute products sum to `magnitude`: summation, parameters
    (up to 9u relative), the last additions; 1.01 pays for the rounding of `magnitude` itself."""
    return (1.01 * (terms + 16) * U) * magnitude + TINY


def total(rows: Floats) -> Floats:
    """Sum of absolute values over axis 0, rounded up."""
    return np.asarray(np.abs(rows).sum(axis=0) * (1 + 1.01 * (len(rows) + 16) * U))


def below(v: Fraction) -> float:
    """A float just below an exact rational, or equal."""
    near = float(v)
    return near if Fraction(near) <= v else float(np.nextafter(near, -np.inf))


def above(v: Fraction) -> float:
    """A float just above an exact rational, or equal."""
    return -below(-v)


def times(q: Ints, scale: Fraction) -> tuple[Floats, Floats]:
    """scale * q, rounded down and up (|q| < 2^53)."""
    product = q.astype(np.float64) * float(scale)
    return down(product), up(product)


def lattice(low: Floats, high: Floats, step: Floats, span: tuple[int, int]) -> tuple[Ints, Ints]:
    """First and last integer n of `span` with low <= step * n <= high, never too narrow; step within u."""
    a, b = low / step, high / step
    first, last = np.ceil(a - 8 * U * np.abs(a)), np.floor(b + 8 * U * np.abs(b))
    need(np.isfinite(first).all() and np.isfinite(last).all(), "no finite bound on a sum")
    need(max(-span[0], span[1]) < 1 << 52, "an accumulator beyond 2^52")
    return np.clip(first, *span).astype(np.int64), np.clip(last, *span).astype(np.int64)


def quotient(product: Any, s: Ints, ties: str) -> Any:
    """round(product / 2^s), exact; `ties` go "even", "up" or "away" from 0."""
    unit = np.left_shift(np.int64(1), s).astype(product.dtype)
    whole = product // unit
    rest = product - whole * unit  # 0 <= rest < unit; compared with unit - rest: twice it could overflow
    upwards = {"even": whole % 2 == 1, "up": np.ones(whole.shape, bool), "away": whole >= 0}[ties]
    more = (rest > unit - rest) | ((rest == unit - rest) & upwards)
    return whole + more.astype(np.int64)


def rounded(n: Ints, m: Ints, s: Ints, mode: str) -> Ints:
    """n * m / 2^s as a Requantise of this mode rounds, for 0 < m < 2^31, 0 <= s <= 62 and n of any size."""
    narrow = int(np.abs(n).max(initial=0)) * int(m.max(initial=1)) < 1 << 62
    kind = np.int64 if narrow else object
    product = n.astype(kind) * m.astype(kind)
    if mode == "tflite-double":
        first = np.minimum(s, TWICE)
        result = quotient(quotient(product, first, "up"), s - first, "away")
    else:
        result = quotient(product, s, {"half-even": "even", "tflite-single": "up"}[mode])
    return np.asarray(result, np.int64)


def moved(scale: Fraction, s: Ints, mode: str) -> Floats:
    """How far rounding moves scale * q, outward: half a step, and of two roundings the first half of its own
    unit, which is 2^(31 - s) steps, more."""
    twice = (s > TWICE) & (mode == "tflite-double")
    return up(np.where(twice, 0.5 + 0.5 ** (np.maximum(s, TWICE) - 30.0), 0.5) * float(scale))
