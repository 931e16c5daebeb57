# SPDX-License-Identifier: Apache-2.0
"""Rounding steps: the shift, the multiplier, scales, powers of two, pools, and the lowering they feed."""

from fractions import Fraction

import numpy as np
import pytest
import slow
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tinybound.domains.exact import half_even_shift
from tinybound.errors import CompileError
from tinybound.graph import Graph, Node, Value
from tinybound.ops import Clip, Conv
from tinybound.quantise import pools, powers
from tinybound.quantise.requantise import TOLERANCE, multiplier
from tinybound.quantise.scales import activation, divide, float32_scale, per_channel
from tinybound.quantise.weights import choose_weights, takes

quick = settings(max_examples=300, deadline=None, derandomize=True)

# -- rounding ---------------------------------------------------------------------------------------


def test_half_even_shift_equals_fractions_on_all_small_products():
    compared = 0
    for shift in range(8):
        product = np.arange(-600, 601)
        want = [slow.rhe(Fraction(p, 2**shift)) for p in product.tolist()]
        np.testing.assert_array_equal(half_even_shift(product, np.int64(shift)), want)
        compared += len(want)
    print(f"{compared} roundings compared")


@quick
@given(st.integers(-(2**62), 2**62), st.integers(0, 62), st.integers(-2, 2))
@example(2**62, 62, 0)
@example(-(2**62), 62, 0)
@example(2**61, 62, 0)
@example(-(2**61), 62, 1)
@example(3 * 2**60, 61, 0)
def test_half_even_shift_equals_fractions(product, shift, nudge):
    tie = (product >> shift << shift) + (1 << shift >> 1) + nudge  # at a tie, or beside it
    for value in (product, tie):
        if abs(value) <= 2**62:
            got = half_even_shift(np.array([value]), np.array([shift]))[0]
            assert got == slow.rhe(Fraction(value, 2**shift)), (value, shift)


# -- multiplier -------------------------------------------------------------------------------------

RATIOS = st.one_of(
    st.builds(Fraction, st.integers(1, 2**24), st.integers(1, 2**40)),
    st.builds(lambda a, b: Fraction(float(np.float32(a))) / Fraction(float(np.float32(b))),
              st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)),
)  # fmt: skip


@quick
@given(RATIOS, st.integers(1, 2**31 - 1))
@example(Fraction(1, 3), 2**31 - 1)
@example(Fraction(2**31 - 1, 2**31), 100)
@example(Fraction(2**32 - 1, 2**32), 2**31 - 1)
@example(Fraction(1, 2**63 + 1), 2**31 - 1)
def test_a_multiplier_is_close_and_small(ratio, reach):
    assume(ratio < 2**31 - 1)
    m, s = multiplier(ratio, reach)

    assert 0 < m < 2**31
    assert 0 <= s <= 62
    error = abs(Fraction(m, 2**s) - ratio)
    if s == 32 and m % 2 == 1 and reach * error <= TOLERANCE:
        return  # the odd rule: no accumulator moves by more than 1e-5 of a step, and ties cannot be
    # else the nearest of 31 bits; below 2^-32 the shift stops at 62 and m has fewer, but never 0
    assert error <= Fraction(1, 2 ** (s + 1)) or (m, s) == (1, 62)
    assert m >= 2**30 or s == 62 or error == 0


@pytest.mark.parametrize("k", range(-30, 63))
def test_a_power_of_two_is_exact(k):
    ratio = Fraction(2) ** -k

    m, s = multiplier(ratio, 2**31 - 1)

    assert Fraction(m, 2**s) == ratio
    assert (m, s) == ((1, k) if k >= 0 else (2**-k, 0))


@quick
@given(st.floats(1e-5, 0.49), st.integers(1, 5000))
def test_small_layers_get_an_odd_multiplier_at_32(ratio, reach):
    ratio = Fraction(ratio)
    if ratio.numerator == 1 and ratio.denominator & (ratio.denominator - 1) == 0:
        return
    m, s = multiplier(ratio, reach)

    assert s == 32
    assert m % 2 == 1
    assert reach * abs(Fraction(m, 2**32) - ratio) <= Fraction(1, 100_000)
    odd = [c for c in (m - 2, m + 2) if c > 0]
    assert all(abs(Fraction(m, 2**32) - ratio) <= abs(Fraction(c, 2**32) - ratio) for c in odd)


TOO_LARGE = [Fraction(2**31), Fraction(2**33 + 1), Fraction(2**31) - Fraction(1, 4), Fraction(2**40)]


@pytest.mark.parametrize("ratio", TOO_LARGE)
def test_a_ratio_that_no_multiplier_holds_is_refused(ratio):
    with pytest.raises(CompileError, match="layer: scale ratio"):
        multiplier(ratio, 10, "layer")


# -- scales -----------------------------------------------------------------------------------------

ENDS = st.floats(-1e4, 1e4, allow_nan=False).map(lambda v: 0.0 if abs(v) < 1e-6 else v)


@quick
@given(ENDS, ENDS, st.booleans())
@example(0.0, 0.0, False)
@example(-5.0, -1.0, False)
@example(0.5, 6.0, True)
def test_an_activation_scale_holds_zero_and_covers_its_range(a, b, two):
    lo, hi = sorted((a, b))

    s = activation(lo, hi, power_of_two=two)

    assert (s.lo, s.hi) == (-128, 127)
    assert -128 <= s.zero <= 127  # so 0 is one of the integers, exactly
    assert Fraction(float(np.float32(float(s.scale)))) == s.scale  # a float32 holds it
    if two:
        assert s.scale.numerator == 1 or s.scale.denominator == 1
        assert (s.scale.numerator * s.scale.denominator).bit_count() == 1
    bottom, top = s.scale * (s.lo - s.zero), s.scale * (s.hi - s.zero)
    slack = s.scale * Fraction(51, 100)  # the zero point is rounded, the scale has 24 bits
    assert bottom <= Fraction(min(lo, 0.0)) + slack
    assert Fraction(max(hi, 0.0)) - slack <= top


@quick
@given(st.floats(2.0**-99, 2.0**99))
@example(1.0)
@example(0.5)
@example(1.0000000000000002)
def test_power_of_two_scales_round_up(value):
    s = float32_scale(value, power_of_two=True)

    assert (s.numerator * s.denominator).bit_count() == 1
    assert Fraction(value) * (1 - Fraction(1, 10**11)) <= s < 2 * Fraction(value) * (1 + Fraction(1, 10**11))


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-40])
def test_a_channel_without_weights_has_scale_one(value):
    assert float32_scale(value, power_of_two=False) == 1


def test_per_channel_scales_reach_the_top():
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1, (40, 3, 3, 3)) * 10.0 ** rng.integers(-6, 6, (40, 1, 1, 1))
    weights[5] = 0
    for two in (False, True):
        scales = per_channel(weights, 127, power_of_two=two)
        units = np.abs(divide(weights, scales)).reshape(40, -1).max(axis=1)
        assert units[5] == 0
        rest = np.delete(units, 5)
        assert (rest <= 127 * (1 + 1e-6)).all()
        assert (rest > (63.4 if two else 126.9)).all()


# -- powers of two ----------------------------------------------------------------------------------

GRID = sorted({0, *(s * 2**e for s in (-1, 1) for e in range(7))})


def test_nearest_equals_brute_force():
    units = np.concatenate([np.linspace(-140, 140, 40_001), np.random.default_rng(2).normal(0, 3, 5000)])
    got = powers.nearest(units)
    distance = np.abs(units[:, None] - np.array(GRID)[None])
    assert set(got.tolist()) <= set(GRID)
    np.testing.assert_array_equal(np.abs(units - got), distance.min(axis=1))
    print(f"{len(units)} weights compared")


@pytest.mark.parametrize("value", [0.0, 0.5, -0.5, 1.5, 3.0, -6.0, 48.0, 96.0, 1e6, 0.25])
def test_nearest_at_the_thresholds(value):
    best = min(abs(value - g) for g in GRID)
    assert abs(value - int(powers.nearest(np.array([value]))[0])) == best


def test_snap_takes_the_best_scale_of_its_grid():
    rng = np.random.default_rng(4)
    weights = rng.normal(0, 1, (16, 3, 3, 2)) * 10.0 ** rng.integers(-4, 4, (16, 1, 1, 1))
    weights[3] = 0
    integers, scales = powers.snap(weights)
    assert integers.shape == weights.shape
    assert set(np.unique(integers).tolist()) <= set(GRID)
    assert not integers[3].any()
    for row, whole, scale in zip(weights.reshape(16, -1), integers.reshape(16, -1), scales, strict=True):
        error = ((row - float(scale) * whole) ** 2).sum()
        peak = np.abs(row).max()
        for factor in np.linspace(0.7, 1.4, 64):
            other = max(float(np.float32(peak / 64 * factor)), 1e-30)
            near = np.array([min(GRID, key=lambda g, v=v: abs(v - g)) for v in row / other])
            assert error <= ((row - other * near) ** 2).sum() * (1 + 1e-6) + 1e-30


def test_snap_to_powers_of_two_has_power_of_two_scales():
    integers, scales = powers.snap(np.random.default_rng(5).normal(0, 1, (8, 20)), power_of_two=True)
    assert all((s.numerator * s.denominator).bit_count() == 1 for s in scales)
    assert set(np.unique(integers).tolist()) <= set(GRID)


# -- pools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("two", [False, True])
def test_shared_layers_hold_at_most_64_vectors(two):
    rng = np.random.default_rng(6)
    layers = [
        rng.normal(0, 1, (12, 72)),
        rng.normal(0, 0.01, (40, 16)),
        np.zeros((4, 8)),
        rng.normal(0, 3, (3, 8)),
    ]
    layers[0][2] = 0
    shared = pools.share(layers, power_of_two=two)

    vectors = {tuple(v) for integers, _ in shared for v in integers.reshape(-1, 8).tolist()}
    assert len(vectors) <= 64
    assert all(-127 <= w <= 127 for v in vectors for w in v)
    for rows, (integers, scales) in zip(layers, shared, strict=True):
        assert integers.shape == rows.shape
        assert len(scales) == len(rows)
        assert all(s > 0 for s in scales)
        if two:
            assert all((s.numerator * s.denominator).bit_count() == 1 for s in scales)
    assert pools.share(layers, power_of_two=two)[0][1] == shared[0][1]  # deterministic


def test_few_distinct_vectors_are_kept_exactly():
    rng = np.random.default_rng(7)
    vectors = rng.integers(-127, 128, (20, 8))
    vectors[:, 0] = 127
    rows = vectors[rng.integers(0, 20, (10, 3))].reshape(10, 24) * 0.5
    [(integers, scales)] = pools.share([rows])
    np.testing.assert_array_equal(integers * np.array([[float(s)] for s in scales]), rows)


def test_assign_equals_brute_force():
    rng = np.random.default_rng(8)
    vectors, pool = rng.normal(0, 10, (500, 8)), np.rint(rng.normal(0, 10, (64, 8)))
    distance = ((vectors[:, None] - pool[None]) ** 2).sum(axis=2)
    chosen = pools.assign(vectors, pool)
    np.testing.assert_allclose(distance[np.arange(500), chosen], distance.min(axis=1))


def layered():
    """Conv 8 -> 4, depthwise, grouped, Conv 4 -> 8, Dense 8 * 2 * 2 -> 3 and one without 8 inputs."""
    rng = np.random.default_rng(9)
    size = (8, 2, 2)
    shapes = {
        "pooled": (4, 8, 1, 1),
        "narrow": (8, 4, 1, 1),
        "depthwise": (8, 1, 1, 1),
        "grouped": (16, 4, 1, 1),
    }
    values, nodes, last = {"x": Value("x", size)}, [], "x"
    for name, shape in shapes.items():
        groups = {"depthwise": 8, "grouped": 2}.get(name, 1)
        op = Conv(rng.normal(0, 1, shape), np.zeros(shape[0]), values[last].shape, groups=groups)
        values[f"{name}.t"] = Value(f"{name}.t", op.shape(values[last].shape))
        values[name] = Value(name, op.shape(values[last].shape))
        nodes += [Node(name, op, (last,), f"{name}.t"), Node(f"{name}.clip", Clip(0.0), (f"{name}.t",), name)]
        last = name
    return Graph("layers", ("x",), (last,), tuple(nodes), values)


def test_layers_that_cannot_take_a_code_fall_back_to_int8():
    graph = layered()
    names = [n.name for n in graph.nodes if n.op.weighted]
    for code, expected in {
        "int8": ["int8"] * 4,
        "int4": ["int4", "int4", "int8", "int8"],
        "pot4": ["pot4", "pot4", "int8", "int8"],
        "pool64": ["pool64", "int8", "int8", "int8"],
    }.items():
        chosen = choose_weights(graph, dict.fromkeys(names, code), {}, power_of_two=False)
        assert [chosen[n].code for n in names] == expected
        assert [takes(n, code) for n in graph.nodes if n.op.weighted] == [c == code for c in expected]
        for n in names:
            assert chosen[n].integers.shape == graph.node(n).op.weights.shape


def test_an_unknown_code_is_refused():
    with pytest.raises(CompileError, match=r"--weights: code 'int7'; expected one of int8, int4, pot4, pool"):
        choose_weights(layered(), {"pooled": "int7"}, {}, power_of_two=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["weights", "bias"])
def test_weights_that_are_not_finite_are_refused(bad, field):
    graph = layered()
    getattr(graph.nodes[0].op, field).reshape(-1)[1] = bad
    with pytest.raises(CompileError, match="pooled: NaN or infinite weights"):
        choose_weights(graph, {}, {}, power_of_two=False)
