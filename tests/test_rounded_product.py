# SPDX-License-Identifier: Apache-2.0
"""A factor times doubles is the exact product, rounded once: the same as float(Fraction) to the last bit."""

from fractions import Fraction

import numpy as np
import pytest

from tinybound.passes.rounded_product import rounded_product


def same(factor, xs):
    got = rounded_product(factor, xs)
    want = [float(factor * Fraction(x)) for x in xs.tolist()]
    assert got.tolist() == want
    return len(want)


@pytest.mark.parametrize("seed", range(20))
def test_random_factors(seed):
    rng = np.random.default_rng(seed)
    factor = Fraction(int(rng.integers(-(1 << 62), 1 << 62)) or 1, int(rng.integers(1, 1 << 62)))
    xs = rng.normal(0, 1, 2000) * 2.0 ** rng.integers(-60, 60, 2000)
    small = rng.normal(0, 1, 500).astype(np.float32).astype(np.float64)
    assert same(factor, xs) + same(factor, small) == 2500


def test_ties_and_their_neighbours():
    """The middle between two doubles, and less than a 2^-110th beside it."""
    rng = np.random.default_rng(0)
    odd = (2 * rng.integers(1 << 51, 1 << 52, 300) + 1).astype(np.float64)
    for beside in (Fraction(0), Fraction(1, 1 << 110), -Fraction(1, 1 << 110)):
        # x * 3/2 has one bit too many for a double when x is odd and below 2^53 / 1.5: half way
        same(Fraction(3, 2) + beside, odd)
        same(Fraction(1 + (1 << 52), 1 << 52) + beside, odd)
        same(Fraction(1) + beside, 2.0 ** np.arange(-30.0, 30.0))
        same(Fraction(1) - Fraction(1, 1 << 54) + beside, 2.0 ** np.arange(-30.0, 30.0))


def test_extreme_magnitudes():
    xs = np.array([0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e-200, 1e200, -1e300])
    for factor in (Fraction(1, 3), Fraction(-7, 5), Fraction(1, 10**200), Fraction(10**7, 3)):
        same(factor, xs)
    with pytest.raises(OverflowError):
        rounded_product(Fraction(10**200), np.array([1e200]))
