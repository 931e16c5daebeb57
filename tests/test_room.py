# SPDX-License-Identifier: Apache-2.0
"""Dead channels: weights at or near zero beside an ordinary bias compile in every code and keep the bias."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tinybound.domains.exact import run
from tinybound.graph import Graph, Node, Value
from tinybound.ops import Clip, Dense
from tinybound.ops.base import IntegerWeights, Scaled
from tinybound.quantise.lower import lower
from tinybound.quantise.room import BIAS_BITS, finer
from tinybound.quantise.weights import choose_weights


def network(weights, bias, code, *, power_of_two):
    """A dense layer of these weights as integers, and as floats."""
    values = {"x": Value("x", (16,)), "t": Value("t", (len(bias),)), "y": Value("y", (len(bias),))}
    nodes = (Node("d", Dense(weights, bias), ("x",), "t"), Node("c", Clip(), ("t",), "y"))
    real = Graph("room", ("x",), ("y",), nodes, values)
    scale = Fraction(1, 64) if power_of_two else Fraction(float(np.float32(0.0163)))
    wanted = {"x": Scaled(scale, -3, -128, 127), "y": Scaled(Fraction(1, 32), 0, -128, 127)}
    chosen = choose_weights(real, {"d": code}, {}, power_of_two=power_of_two)
    return real, lower(real, wanted, chosen)


@pytest.mark.parametrize("power_of_two", [False, True])
@pytest.mark.parametrize("code", ["int8", "int4", "pot4", "pool64"])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-9, 1e-7])
def test_dead_channels_give_their_bias(code, size, power_of_two):
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 0.05, (6, 16))
    weights[2:5] = size * rng.normal(0, 1, (3, 16))
    bias = np.array([0.5, -0.25, 3.2, -2.9, 1e-3, 0.0])
    real, whole = network(weights, bias, code, power_of_two=power_of_two)
    op, out = whole.node("d").op, whole.values["y"].quant

    assert np.abs(op.bias).max() <= 1 << (BIAS_BITS + 1)
    for q in (np.full(16, -128), np.full(16, 127), rng.integers(-128, 128, 16)):
        x = (q + 3) * float(whole.values["x"].quant.scale[0])
        found = (run(whole, {"x": q})["y"] - out.zero) * float(out.scale[0])
        gaps = np.abs(found - run(real, {"x": x})["y"])
        assert gaps[2:5].max() <= 0.55 * float(out.scale[0]), (code, gaps)


def test_ordinary_channels_are_left_alone():
    rng = np.random.default_rng(4)
    weights, bias = rng.normal(0, 0.05, (6, 16)), rng.normal(0, 1, 6)
    real, whole = network(weights, bias, "int8", power_of_two=False)
    chosen = choose_weights(real, {"d": "int8"}, {}, power_of_two=False)["d"]

    np.testing.assert_array_equal(whole.node("d").op.weights, chosen.integers)


@pytest.mark.parametrize("top", [1, 2, 7, 63, 64, 128])
def test_weights_of_few_bits_have_finer_units(top):
    """The same real weights; a bias that lies between two of them is closer to the file's."""
    q = np.array([[top, -1, 0], [-top, 1, 1]])
    held = IntegerWeights(q, (Fraction(1, 2), Fraction(3, 8)))
    op = Dense(q * np.array([[0.5], [0.375]]), np.array([0.3, -1.7]))
    found = finer(op, held, Fraction(1, 4))

    times = found.integers[0, 0] // top
    assert times == {1: 64, 2: 32, 7: 16, 63: 2, 64: 1, 128: 1}[top]
    for i in range(2):
        assert [n * found.scales[i] for n in found.integers[i]] == [n * held.scales[i] for n in q[i]]
    whole = Dense(op.weights, np.array([0.125 * 8, -0.09375 * 5]))
    assert finer(whole, held, Fraction(1, 4)) is held  # whole numbers of units
    assert finer(op, replace(held, code="int4"), Fraction(1, 4)).integers is q


def test_finer_units_leave_room_for_the_bias():
    held = IntegerWeights(np.array([[1, -1]]), (Fraction(1),))
    for bits, bias in ((20, 4.5), (20, 2.0**18 + 0.5), (20, 2.0**20 + 0.5)):
        found = finer(Dense(np.array([[1.0, -1.0]]), np.array([bias])), held, Fraction(1), bits)
        assert found.integers.max() == {4.5: 64, 2.0**18 + 0.5: 2}.get(bias, 1)
