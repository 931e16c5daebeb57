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
Bools = NDArray[np.bool_]
U = 2.0**-53
AVERAGE, MEAN = "tflite-average", "half-even-mean"
TWICE = 31  # bits that the first of two roundings takes
NEAR = 15  # bits that the first rounding of a mean leaves
TINY = 2.0**-1000  # more than anything that underflows


def up(v: Floats) -> Floats:
    """Above the true value of what was computed with relative error 2u at most; 0 stays 0."""
    return v + 4 * U * np.abs(v)


def down(v: Floats) -> Floats:
    """Below it."""
    return v - 4 * U * np.abs(v)


def gap(most: Floats, least: Floats, low: Floats, high: Floats) -> Floats:
    """|y - x| at most, of x between least and most and y between low and high, two roundings in each of x."""
    return np.maximum(up(up(most) - low), up(high - down(least)))


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
    whole = product >> s
    rest = product - (whole << s)  # 0 <= rest < unit; compared with unit - rest: twice it could overflow
    left = unit - rest
    more = rest > left
    tie = rest == left
    if ties != "even" or tie.any():
        odd = (whole & 1) == 1
        more = more | (tie & {"even": odd, "up": np.ones(whole.shape, bool), "away": whole >= 0}[ties])
    return whole + more.astype(np.int64)


def taps(m: Ints, s: Ints) -> Ints:
    """How many numbers a mean with the factor m / 2^s, which is no less than one over it, is taken of."""
    return np.asarray((np.left_shift(np.int64(1), s) + m - 1) // m)


def rounded(n: Ints, m: Ints, s: Ints, mode: str, zero: int = 0) -> Ints:
    """n * m / 2^s as a Requantise of this mode rounds, for 0 < m < 2^31, 0 <= s <= 62 and n of any size; a
    mean of stored integers is rounded with their `zero` in it."""
    if mode == AVERAGE:
        n = n + taps(m, s) * zero
    narrow = int(np.abs(n).max(initial=0)) * int(m.max(initial=1)) < 1 << 62
    kind = np.int64 if narrow else object
    product = n.astype(kind) * m.astype(kind)
    if mode == "tflite-double":
        first = np.minimum(s, TWICE)
        return np.asarray(quotient(quotient(product, first, "up"), s - first, "away"), np.int64)
    if mode == MEAN:
        last = np.full_like(s, NEAR)
        return np.asarray(quotient(quotient(product, s - last, "up"), last, "even"), np.int64)
    ties = {"half-even": "even", "tflite-single": "up", AVERAGE: "away"}[mode]
    return np.asarray(quotient(product, s, ties), np.int64) - (zero if mode == AVERAGE else 0)


def moved(scale: Fraction, s: Ints, mode: str) -> Floats:
    """How far rounding moves scale * q, outward: half a step, and of two roundings the first half of its own
    unit, which is 2^(31 - s) steps, more; a mean by its zero point times what its factor is too large, or by
    half of the first's unit, 2^-15 steps."""
    twice = (s > TWICE) & (mode == "tflite-double")
    most = 0.5 + {AVERAGE: 2.0**-22, MEAN: 0.5 ** (NEAR + 1)}.get(mode, 0.0)
    return up(np.where(twice, 0.5 + 0.5 ** (np.maximum(s, TWICE) - 30.0), most) * float(scale))


def is_mean(m: Ints, s: Ints) -> bool:
    """Whether m / 2^s is so little more than one over a whole number as `moved` allows for, s up to 54."""
    unit = np.left_shift(np.int64(1), np.minimum(s, 54))
    return bool((s <= 54).all() and ((taps(m, s) * m - unit) <= unit >> 29).all())
