# SPDX-License-Identifier: Apache-2.0
"""Tiny networks solved exactly: no attack is above what is proven, no bound below what is shown, and where
both are exact they agree. The solver shares no code with what it judges."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from exact_program import hull
from exact_solver import HALF, Choices, cut, largest, net_of, program, solve
from pair_nets import DOMAINS, NONE, RELU, RELU6, Rational, Sketch, fractions, points, ranges, reals
from test_certify_brute_force import supremum

from tinybound.certify.certificate import certify
from tinybound.certify.effort import Effort
from tinybound.domains import pair
from tinybound.domains.exact import run
from tinybound.ops.clip import Clip

GAP = Fraction(1, 10**7)
MODES = ("half-even", "tflite-single")


def slow(*seeds):
    return [pytest.param(seed, marks=pytest.mark.slow) for seed in seeds]


def one_input(seed):
    """One or two hidden layers; ties (scales that are powers of two) and an input that saturates, by seed."""
    s = Sketch(seed, (1,), lower=-0.2, upper=0.1, two=seed % 3 == 2)
    h = s.dense("x", 4, RELU)
    h = s.dense(h, 3, RELU) if seed % 2 else h
    squeeze, top, reach = [1.2, 0.6][seed // 3 % 2], [127, 7][seed % 2], [5.0, 0.7][seed // 4 % 2]
    return s.build(s.dense(h, 1, NONE), squeeze=squeeze, top=top, reach=reach)


def two_inputs(seed):
    """Two hidden layers of 3 or 4 neurons, few integers per value or narrow limits, both rules for ties."""
    s = Sketch(seed, (2,), two=seed % 3 == 2, mode=MODES[seed % 2])
    h = s.dense("x", 3 + seed % 2, [RELU6, RELU, Clip(-0.3, 0.4)][seed % 3])
    h = s.dense(h, 3, RELU)
    how = {"squeeze": [12, 30, 0.7][seed % 3], "top": [127, 7, 3][seed % 3], "reach": [20, 30, 9][seed % 3]}
    return s.build(s.dense(h, 1, NONE), **how)


@cache
def solved(seed):
    return largest(net_of(two_inputs(seed)), 0, most=500)


@pytest.mark.parametrize("seed", [0, *slow(*range(1, 8))])
def test_it_finds_the_supremum(seed):
    """Of one input, every cell and every kink is tried, in rationals."""
    network = one_input(seed)
    found, true = largest(net_of(network), 0, most=2000), supremum(network)
    assert found.low <= true <= found.high
    assert found.high <= found.low + GAP
    print(f"seed {seed}: supremum {float(true):.9f} in {found.nodes} nodes")


@pytest.mark.parametrize("seed", [0, *slow(*range(1, 10))])
def test_bounds_and_attacks_enclose_it(seed):
    network = two_inputs(seed)
    found = solved(seed)
    effort = Effort(2000, ratio=1.0001, cells=1 << 12)
    made = certify(network.real, network.whole, network.lower, network.upper, hashes={}, effort=effort)
    (name,) = made.bound
    attack, bound = made.attack.found[name][0], made.bound[name][0]
    assert Fraction(attack) <= found.high
    assert found.low <= Fraction(bound)
    for kind, make in DOMAINS.items():
        box = ranges(network, make())[name]
        top = max(Fraction(float(box.ud[0])), Fraction(-float(box.ld[0])))
        assert found.low <= top, kind
        if found.high <= found.low + GAP:
            assert found.high <= top + GAP, kind
    if found.high <= found.low + GAP:  # all three are exact: to the solver's gap and the search's 1e-4
        assert attack >= 0.999 * float(found.low)
        assert bound <= 1.001 * float(found.high)
    print(
        f"seed {seed}: attack {attack:.7f}, solver {float(found.low):.7f} ... {float(found.high):.7f}"
        f" ({found.nodes} nodes), certified {bound:.7f}"
    )


def test_the_solver_sees_a_bound_without_rounding(monkeypatch):
    """A planted mistake: each requantisation moves nothing."""
    network, true = two_inputs(7), pair.Rounding.__init__

    def bold(self, *arguments):
        true(self, *arguments)
        self.half = 0.0 * self.half

    monkeypatch.setattr(pair.Rounding, "__init__", bold)
    found = solved(7)
    (name,) = network.whole.outputs
    for kind in ("interval", "product", "crown"):
        box = ranges(network, DOMAINS[kind]())[name]
        assert max(box.ud[0], -box.ld[0]) < found.low, kind


@pytest.mark.parametrize("seed", range(2))
def test_any_weights_prove_a_bound(seed):
    """Dual variables are advice: whatever they are, no point of the program is above what they prove."""
    rng, net = np.random.default_rng(seed), net_of(two_inputs(seed))
    made = program(net, Choices({}), 1, 0)
    best = solve(net, 1, 0, most=20).low
    for _ in range(20):
        n = len(made.rows)
        weights = rng.exponential(10.0 ** rng.integers(-6, 2), n) * rng.integers(-1, 2, n)
        assert made.proven(made.objective, weights) + made.constant >= best
    bound, _ = made.bound()
    assert bound >= best


def test_a_program_without_points_is_proven_empty():
    net = net_of(two_inputs(0))
    both = {("q", 0, 0): (net.quantise(net.box[0][0]),) * 2, ("x", 1, 0): (Fraction(100), None)}
    assert program(net, Choices(both), 1, 0) is None
    made = program(net, Choices({}), 1, 0)
    one = Fraction(1)
    made.rows += [({0: one, 1: one}, -one), ({0: -one, 1: -one}, -one)]
    assert made.bound() == (None, None)


@pytest.mark.parametrize("seed", range(4))
def test_its_networks_are_the_golden_model_and_the_float_network(seed):
    network, rng = two_inputs(seed), np.random.default_rng(seed)
    net, (name,) = net_of(network), network.whole.outputs
    for x in points(network, rng, 40):
        real = run(network.real, fractions(x), Rational())[name]
        y = reals(network.whole.values[name], run(network.whole, network.quantise(x))[name])
        assert net.difference([Fraction(v) for v in x["x"].tolist()], 0) == (y - real)[0]


@pytest.mark.parametrize("seed", range(30))
def test_lines_hold_every_rounded_and_clipped_value(seed):
    rng = np.random.default_rng(seed)
    low, high = sorted(Fraction(int(v), 16) for v in rng.integers(-64, 64, 2))
    ends = sorted(int(v) for v in rng.integers(-4, 5, 2))
    for limits, half in ((tuple(ends), HALF), (tuple(ends), 0), ((0, None), 0), ((None, None), 0)):
        above, below = hull(low, high, limits, half)
        for i in range(33):
            v = low + (high - low) * Fraction(i, 32)
            for moved in (v - half, v, v + half):
                out = cut(moved, *limits)
                assert all(out <= s * v + r for s, r in above)
                assert all(out >= s * v + r for s, r in below)
