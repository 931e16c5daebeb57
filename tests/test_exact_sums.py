# SPDX-License-Identifier: Apache-2.0
"""Sums of the golden model on both sides of what a float32 holds, against sums of Python's integers."""

import numpy as np
import pytest

from tinybound.domains.exact import Exact


@pytest.mark.parametrize("shape", [(1, 3, 7), (4, 5, 600), (1, 2, 4096)], ids=str)
@pytest.mark.parametrize("size", [3, 127, 30_000])
@pytest.mark.parametrize("zero", [-128, 5])
def test_every_sum(shape, size, zero):
    rng = np.random.default_rng(shape[-1] + size)
    weights = rng.integers(-size, size + 1, shape)
    weights[..., 0, :] = size  # all at one end: the largest sum there is
    x = rng.integers(-128, 128, (shape[0], shape[2], 6))
    x[..., 0] = 127 if zero < 0 else -128
    bias = rng.integers(-(2**30), 2**30, shape[:2])

    found = Exact().affine(x, weights, bias, zero)

    want = [
        [
            [sum(int(w) * (int(v) - zero) for w, v in zip(row, column, strict=True)) for column in group.T]
            for row in rows
        ]
        for rows, group in zip(weights, x, strict=True)
    ]
    assert (found == np.array(want) + bias[..., None]).all()


@pytest.mark.parametrize("side", [2**12, 2**12 + 1])
def test_the_last_integers_of_a_float32(side):
    """2^24 is held, (2^12 + 1)^2 is not: a wider limit would show."""
    x = np.full((1, 1, 1), side)
    assert Exact().affine(x, x, np.zeros((1, 1), np.int64), 0).item() == side * side
    assert int(np.float32(side) * np.float32(side)) == side * side - side % 2
