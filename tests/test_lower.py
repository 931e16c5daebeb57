# SPDX-License-Identifier: Apache-2.0
"""From floats to integers: the lowered graph of small networks."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import slow
from hypothesis import settings

from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.graph import Graph, Node, Value
from tinybound.ops import Add, Clip, Dense, MaxPool, Mul, Requantise
from tinybound.ops.base import IntegerWeights, Scaled
from tinybound.quantise import powers
from tinybound.quantise.calibrate import calibrate, samples_of_box
from tinybound.quantise.lower import lower
from tinybound.quantise.weights import choose_weights

quick = settings(max_examples=300, deadline=None, derandomize=True)


def dense(weights, bias, clip=None):
    """x -> Dense -> Clip as a float graph."""
    outputs, inputs = weights.shape
    values = {n: Value(n, (k,)) for n, k in (("x", inputs), ("t", outputs), ("y", outputs))}
    nodes = (Node("dense", Dense(weights, bias), ("x",), "t"), Node("clip", clip or Clip(), ("t",), "y"))
    return Graph("net", ("x",), ("y",), nodes, values)


UNIT = Scaled(Fraction(1, 64), 3, -128, 127)


def test_a_sum_beyond_32_bits_is_refused_by_layer_name():
    graph = dense(np.ones((2, 70_000)), np.zeros(2))
    weights = {"dense": IntegerWeights(np.full((2, 70_000), 127), (Fraction(1),) * 2)}
    with pytest.raises(
        CompileError, match=r"dense: sums up to \d+ do not fit the 32-bit accumulator; .*; try "
    ):
        lower(graph, {"x": UNIT, "y": UNIT}, weights)


def test_the_accumulator_limit_is_sharp():
    """|bias| + 384 * sum |w| = 2^31 - 1 is taken, one more is not."""
    weights = np.full((1, 10), 100)
    room = (1 << 31) - 1 - 384 * 1000
    for bias, fits in ((room, True), (room + 1, False), (-room, True), (-room - 1, False)):
        whole = IntegerWeights(weights, (Fraction(1),), "int8", np.array([bias]))
        graph = dense(weights * 1.0, np.array([float(bias)]))
        if fits:
            lower(graph, {"x": UNIT, "y": UNIT}, {"dense": whole})
        else:
            with pytest.raises(CompileError, match="32-bit accumulator"):
                lower(graph, {"x": UNIT, "y": UNIT}, {"dense": whole})


@pytest.mark.parametrize(
    "clip", [Clip(), Clip(0.0), Clip(0.0, 1.0), Clip(-0.3, 0.7), Clip(5.0), Clip(-9.0, -8.0)]
)
def test_a_clip_becomes_the_limits_of_its_requantise(clip):
    rng = np.random.default_rng(10)
    graph = dense(rng.normal(0, 1, (3, 4)), rng.normal(0, 1, 3), clip)
    whole = lower(graph, {"x": UNIT, "y": UNIT}, choose_weights(graph, {}, {}, power_of_two=False))
    op = whole.nodes[1].op
    assert isinstance(op, Requantise)
    limit = [min(max(Fraction(v) / UNIT.scale + 3, Fraction(-128)), Fraction(127)) if np.isfinite(v) else
             Fraction(-128 if v < 0 else 127) for v in (clip.lo, clip.hi)]  # fmt: skip
    assert abs(op.lo - limit[0]) <= Fraction(1, 2)
    assert abs(op.hi - limit[1]) <= Fraction(1, 2)
    assert op.lo <= op.hi


def test_scales_of_accumulators_are_what_their_multiplier_says():
    rng = np.random.default_rng(11)
    graph = dense(rng.normal(0, 1, (5, 4)) * 10.0 ** rng.integers(-2, 3, (5, 1)), rng.normal(0, 1, 5))
    out = Scaled(Fraction(3, 128), -7, -128, 127)
    for two in (False, True):
        whole = lower(graph, {"x": UNIT, "y": out}, choose_weights(graph, {}, {}, power_of_two=two))
        op, scales = whole.nodes[1].op, whole.values["t"].quant.scale
        assert whole.values["t"].quant.zero == 0
        pairs = zip(op.multiplier.tolist(), op.shift.tolist(), strict=True)
        assert list(scales) == [out.scale * Fraction(m, 2**s) for m, s in pairs]


def test_calibration_finds_the_extremes():
    graph = dense(np.array([[1.0, -2.0]]), np.array([0.5]), Clip(0.0))
    x = {"x": np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, -4.0]])}
    ranges = calibrate(graph, x)
    assert ranges == {"x": (-4.0, 3.0), "t": (0.5, 7.5), "y": (0.5, 7.5)}


@pytest.mark.parametrize("x", [{}, {"x": np.zeros((0, 2))}])
def test_an_empty_calibration_is_refused(x):
    with pytest.raises(CompileError, match="calibration: no samples"):
        calibrate(dense(np.ones((1, 2)), np.zeros(1)), x)


def test_a_calibration_that_is_not_finite_is_refused():
    with pytest.raises(CompileError, match=r"calibration: 'x' is not finite"):
        calibrate(dense(np.ones((1, 2)), np.zeros(1)), {"x": np.array([[np.nan, 1.0]])})


def test_samples_of_a_box_stay_inside_and_reach_the_ends():
    lower_end, upper_end = np.array([-1.0, 0.0, 2.0]), np.array([1.0, 0.0, 5.0])
    sides = {"x": lower_end}, {"x": upper_end}
    x = samples_of_box(*sides, 200)["x"]
    assert x.shape == (200, 3)
    assert ((x >= lower_end) & (x <= upper_end)).all()
    assert (x == lower_end).any(axis=0).all()
    assert (x == upper_end).any(axis=0).all()
    np.testing.assert_array_equal(x, samples_of_box(*sides, 200)["x"])


@pytest.mark.parametrize(("op", "ends"), [(Add(-1), (-2, 2)), (Mul(), (-1, 1))])
def test_two_inputs_are_not_sampled_alike(op, ends):
    """Drawn alike, x - z is 0 on every sample and x * z never negative: both were stored so, and cut."""
    values = {name: Value(name, (3,)) for name in "xzy"}
    graph = Graph("net", ("x", "z"), ("y",), (Node("op", op, ("x", "z"), "y"),), values)
    box = {"x": -np.ones(3), "z": -np.ones(3)}, {"x": np.ones(3), "z": np.ones(3)}
    assert calibrate(graph, samples_of_box(*box, 2000))["y"] == ends


def test_ops_that_move_integers_pass_their_scale_on():
    values = {"x": Value("x", (1, 2, 2)), "y": Value("y", (1, 1, 1)), "z": Value("z", (1, 1, 1))}
    nodes = (Node("pool", MaxPool((1, 2, 2), (2, 2)), ("x",), "y"), Node("clip", Clip(0.0, 1.0), ("y",), "z"))
    graph = Graph("net", ("x",), ("z",), nodes, values)
    other = Scaled(Fraction(1, 128), -128, -128, 127)
    whole = lower(graph, {"x": UNIT, "y": other, "z": other}, {})
    assert whole.values["y"].quant == whole.values["x"].quant
    assert whole.values["z"].quant.scale == (Fraction(1, 128),)
    for q in range(-128, 128):
        got = run(whole, {"x": np.full((1, 2, 2), q)})["z"][0, 0, 0]
        real = Fraction(q - 3, 64)
        assert got == min(max(slow.rhe(real * 128) - 128, -128), 0)


def test_spread_thresholds_are_in_order():
    """nearest is monotone: a larger weight never snaps lower."""
    snapped = powers.nearest(np.linspace(-100, 100, 5001)).tolist()
    assert all(a <= b for a, b in pairwise(snapped))
