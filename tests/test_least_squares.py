# SPDX-License-Identifier: Apache-2.0
"""Few-bit weights: the scale is the best of all, the integers are the nearest, stored ones are kept."""

from fractions import Fraction

import numpy as np
import pytest

from tinybound.graph import Graph, Node, Value
from tinybound.ops import Dense
from tinybound.ops.base import IntegerWeights
from tinybound.quantise.least_squares import INT4, best_scale, fit, squared_error
from tinybound.quantise.weights import choose_weights

ROWS = {
    "normal": lambda rng: rng.normal(0, 0.1, 60),
    "heavy": lambda rng: rng.standard_cauchy(40),
    "positive": lambda rng: rng.uniform(0, 3, 30),
    "negative": lambda rng: rng.uniform(-3, 0, 30),
    "sparse": lambda rng: np.where(rng.random(50) < 0.9, 0, rng.normal(0, 1, 50)),
    "one": lambda rng: rng.normal(0, 1, 1),
    "equal": lambda rng: np.full(9, -0.37),
    "tiny beside large": lambda rng: np.append(rng.normal(0, 1e-25, 5), rng.normal(0, 1e5, 5)),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("low, high", [(-8, 7), (-2, 1), (-7, 7)])
def test_no_scale_is_better(kind, low, high):
    compared = 0
    for seed in range(2):
        row = ROWS[kind](np.random.default_rng(seed))
        if not row.any():
            continue
        peak, best = np.abs(row).max(), Fraction(best_scale(row, low, high))
        least = squared_error(row, best, low, high)
        for other in (
            *np.geomspace(peak / 100, 3 * peak, 600),
            *(float(best) * (1 + np.arange(-9, 10) / 1e5)),
        ):
            assert least <= squared_error(row, Fraction(other), low, high) + 1e-12 * peak**2, other
            compared += 1
    print(f"{compared} scales tried")


@pytest.mark.parametrize("kind", ROWS)
def test_no_power_of_two_is_better(kind):
    rows = np.stack([ROWS[kind](np.random.default_rng(seed)) for seed in range(5)])
    integers, scales = fit(rows, *INT4, power_of_two=True)
    for row, whole, scale in zip(rows, integers, scales, strict=True):
        assert scale.numerator & (scale.numerator - 1) == scale.denominator & (scale.denominator - 1) == 0
        least = ((row - float(scale) * whole) ** 2).sum()
        around = [Fraction(2) ** k for k in range(-40, 20)]
        assert least <= min(squared_error(row, s, *INT4) for s in around) * (1 + 1e-9)


def test_integers_are_the_nearest_and_use_the_whole_range():
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1, (6, 4, 3, 3))
    integers, scales = fit(weights, *INT4)
    assert integers.shape == weights.shape
    assert (integers.min(), integers.max()) == INT4
    for row, whole, scale in zip(weights, integers, scales, strict=True):
        assert Fraction(float(np.float32(float(scale)))) == scale
        np.testing.assert_array_equal(whole, np.clip(np.rint(row / float(scale)), *INT4))


def test_dead_channels_have_a_scale():
    for power_of_two in (False, True):
        integers, scales = fit(
            np.array([[0.0, 0.0], [1e-300, -1e-310], [1.0, 0.0]]), *INT4, power_of_two=power_of_two
        )
        assert not integers[:2].any()
        assert scales[:2] == (1, 1)
        assert float(scales[2]) * integers[2, 0] == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("top, kept", [(7, True), (8, False)])
def test_a_quantised_models_integers_are_kept_where_they_fit(top, kept):
    whole = np.array([[-8, 3, 0], [top, -1, 2]])
    stored = IntegerWeights(whole, (Fraction(1, 4), Fraction(3, 4)), bias=np.array([5, -6]))
    scales = np.array([[0.25], [0.75]])
    values = {"x": Value("x", (3,)), "y": Value("y", (2,))}
    node = Node("d", Dense(whole * scales, np.zeros(2)), ("x",), "y")
    graph = Graph("stored", ("x",), ("y",), (node,), values)

    chosen = choose_weights(graph, {"d": "int4"}, {"d": stored}, power_of_two=False)["d"]

    assert chosen.code == "int4"
    assert (chosen.integers is whole, chosen.scales == stored.scales) == (kept, kept)
    assert choose_weights(graph, {}, {"d": stored}, power_of_two=False)["d"] is stored
