# SPDX-License-Identifier: Apache-2.0
"""A rational factor times many doubles, every product rounded once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SPLIT = float((1 << 27) + 1)
_LEAST, _MOST = 2.0**-400, 2.0**400  # where no partial product leaves the range of normal doubles
_NEAR = 2.0**-96  # relative; what the sum below neglects is under 2^-102


def rounded_product(factor: Fraction, xs: Floats) -> Floats:
    """float(factor * x) per element, half to even; OverflowError beyond every double.

    factor is taken as two doubles and the product as a sum of two (Dekker 1971, error-free transformations);
    where that sum lies too close to the middle between two doubles, and for extreme magnitudes, Fractions.
    """
    high = float(factor)
    low = float(factor - Fraction(high))
    out = np.zeros(xs.shape)
    usual = (np.abs(xs) > _LEAST) & (np.abs(xs) < _MOST) & (_LEAST < abs(high) < _MOST)
    x = xs[usual]
    product = high * x
    a, b = _halves(np.float64(high)), _halves(x)
    error = ((a[0] * b[0] - product) + a[0] * b[1] + a[1] * b[0]) + a[1] * b[1]
    rest = error + low * x
    total = product + rest
    left = np.abs(rest - (total - product))  # what rounding to `total` leaves
    unit = np.spacing(np.abs(total))
    near = np.minimum(np.abs(left - unit / 2), np.abs(left - unit / 4)) <= _NEAR * np.abs(total)
    out[usual] = total
    doubtful = ~usual & (xs != 0)
    doubtful[usual] = near
    out[doubtful] = [float(factor * Fraction(v)) for v in xs[doubtful].tolist()]
    return out


def _halves(x: Floats | np.float64) -> tuple[Floats, Floats]:
    """x as a sum of two doubles of at most 26 bits each."""
    wide = _SPLIT * x
    high = wide - (wide - x)
    return np.asarray(high), np.asarray(x - high)
