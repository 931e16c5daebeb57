# SPDX-License-Identifier: Apache-2.0
"""Deliberately wrong relaxation rules: the checks of test_pair_bounds must catch every one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pair_nets import NONE, Sketch, broken, zoo
from test_pair_bounds import on_borders

from tinybound.certify import lockstep
from tinybound.domains import (
    pair,
    pair_back,
    pair_box,
    pair_forms,
    pair_interval,
    pair_lines,
    pair_pool,
    pair_score,
    pair_table,
    pair_vertex,
    pair_zonotope,
)
from tinybound.domains.pair_box import Pad
from tinybound.ops.function import Function
from tinybound.passes.derive_ranges import derive_ranges

MODULES = (
    pair,
    pair_back,
    pair_box,
    pair_forms,
    pair_interval,
    pair_lines,
    pair_pool,
    pair_score,
    pair_table,
    pair_vertex,
    pair_zonotope,
)


def everywhere(monkeypatch, name, value):
    for module in MODULES:
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)


def caught(networks, count=12):
    """Domains in which some network shows the error."""
    return {kind for seed, network in networks for kind, _ in broken(network, seed, count)}


def nets(*seeds):
    return [(seed, zoo(seed)) for seed in seeds]


class Leaky(Function):
    """Slope 1 above 0 and 1/2 below: reaches its Lipschitz constant."""

    monotone = 1
    lipschitz = 1.0

    def __call__(self, x):
        return np.maximum(x, 0.5 * x)


def leaky():
    s = Sketch(3, (3,), lower=0.2, upper=1.0)
    return at_points([(0, s.build(s.put(Leaky(), s.dense("x", 4, NONE)), top=2, squeeze=1.2))])


def at_points(networks):
    """Boxes shrunk to one corner: nothing is left that could hide an error."""
    for _, network in networks:
        network.upper["x"][...] = network.lower["x"]
    return networks


BOTH = {"interval", "zonotope", "product"}


def no_half_step(m):
    true = pair.Rounding.envelope
    m.setattr(pair.Rounding, "envelope", lambda self, q: replace(true(self, q), lower=0.0, upper=0.0))
    return nets(0, 8, 16, 4), BOTH


def no_input_rounding(m):
    true = pair.Entry.envelope
    m.setattr(pair.Entry, "envelope", lambda self: replace(true(self), lower=0.0, upper=0.0))
    return nets(0, 8, 1), BOTH


def no_saturation(m):
    def ends(self, box):
        span = self.unit.integers(box)
        return tuple(pair.rounded(n, self.m, self.s, self.mode) + self.zero for n in span)

    m.setattr(pair.Rounding, "ends", ends)
    return nets(*range(10)), BOTH


def half_up(m):
    m.setattr(pair, "rounded", lambda n, m, s, mode, zero=0: (n * m + ((np.int64(1) << s) >> 1)) >> s)
    return [(seed, on_borders(seed)) for seed in range(24)], BOTH


def another_mode(m):
    """TFLite's two roundings taken for half to even."""
    true = pair.rounded
    m.setattr(pair, "rounded", lambda n, m, s, mode, zero=0: true(n, m, s, "half-even", zero))
    return [(seed, on_borders(seed, "tflite-double")) for seed in range(24)], BOTH


def one_rounding(m):
    """The first of two roundings costs nothing."""
    m.setattr(pair, "farthest", lambda mode, shift: Fraction(1, 2))
    networks = []
    for seed in range(8, 12):  # small shifts: of weights that are 1 or -1, in whole units
        s = Sketch(seed, (1,), mode="tflite-double")
        networks.append((seed, s.build(s.dense("x", 4, NONE, "pot4"), top=1, squeeze=1.2 + seed % 6 / 4)))
    return networks, BOTH


def half_cell(m):
    """The lower end of the step envelope taken for both."""
    true = pair.Rounding.ends
    m.setattr(pair.Rounding, "ends", lambda self, box: (true(self, box)[0],) * 2)
    return nets(0, 1), BOTH


def no_weight_error(m):
    """Forget (V - W) x."""
    true = pair.Affine.__init__

    def init(self, step, unit):
        true(self, step, unit)
        self.e = 0 * self.e

    m.setattr(pair.Affine, "__init__", init)
    return nets(0, 1, 4), BOTH


def bias_of_one_side(m):
    true = pair.Affine.__init__

    def init(self, step, unit):
        true(self, step, unit)
        self.c = self.b

    m.setattr(pair.Affine, "__init__", init)
    return nets(0, 1, 2), BOTH


def equal_summands(m):
    true = pair.Sum.__init__

    def init(self, step, a, b):
        true(self, step, a, b)
        self.factors, self.excess = [1.0, 1.0], [0.0, 0.0]

    m.setattr(pair.Sum, "__init__", init)
    s = Sketch(0, (3,))
    a = s.dense("x", 4, NONE)
    network = s.build(s.add(a, s.dense(a, 4, NONE), NONE), squeeze=1.2)
    add = next(node for node in network.whole.nodes if type(node.op).__name__ == "Add")
    object.__setattr__(add.op, "ma", add.op.ma * 2)
    values = network.whole.values
    spans = {"x": (values["x"].range.lo, values["x"].range.hi)}
    whole = derive_ranges(network.whole, spans, {name: value.quant for name, value in values.items()})
    return [(0, replace(network, whole=whole))], BOTH


def padding_counts(m):
    m.setattr(lockstep, "_pad", lambda step: Pad(0.0, (0.25, 0.25), (0.25, 0.25)))
    return nets(3, 5), BOTH


def padding_keeps_its_bits(m):
    """Padding reads the zero point itself, not the zero point with its low bits cleared."""
    m.setattr(lockstep, "_pad", lambda step: Pad())
    return at_points(nets(6, 14, 22, 30)), BOTH


def cut_to_nearest(m):
    true = pair.cut

    def wrong(step, box):
        envelope = true(step, box)
        return replace(envelope, lower=envelope.lower / 2, upper=envelope.lower / 2)

    everywhere(m, "cut", wrong)
    s = Sketch(0, (1,))
    return [(0, s.build(s.dense("x", 2, NONE, code="pool64"), squeeze=1.2).at(4))], BOTH


def wrong_maximum(m):
    """The largest lower end of d."""
    m.setattr(pair_interval.PairInterval, "max", lambda self, x, axis: pair_box.Box(
        *(end.max(axis=axis) for end in (x.lx, x.ux, x.ly, x.uy, x.ld, x.ud))
    ).tighten())  # fmt: skip
    return nets(3, 11, 19, 27), BOTH


def maximum_is_the_star(m):
    """The tap that stands for the window taken for its maximum."""
    true = pair_pool._differences

    def wrong(a, b, same):
        return tuple((0 * low, 0 * high) for low, high in true(a, b, same))

    m.setattr(pair_pool, "_differences", wrong)
    return nets(3, 11, 19, 27), {"zonotope"}


def shallow_function(m):
    true = pair_table.Pointwise.__init__

    def init(self, step, unit):
        true(self, step, unit)
        self.slope = (0.9 * self.slope[0], 0.9 * self.slope[1])

    m.setattr(pair_table.Pointwise, "__init__", init)
    return leaky(), BOTH


def exact_table(m):
    """The table taken for the function itself."""
    true = pair_table.Pointwise.__init__

    def init(self, step, unit):
        true(self, step, unit)
        self.rho = tuple(0 * rho for rho in self.rho)
        self.out = tuple(0 * out - 9 if i == 0 else 0 * out + 9 for i, out in enumerate(self.out))

    m.setattr(pair_table.Pointwise, "__init__", init)
    s = Sketch(3, (3,))
    network = s.build(s.put(Leaky(), "x"), squeeze=1.2)
    network.lower["x"][...] = np.array([7, 30, 55]) * float(network.whole.values["x"].quant.scale[0])
    return at_points([(0, network)]), BOTH


def half_chord(m):
    true = pair_vertex.activation

    def wrong(box, limits):
        lam, mid, half = true(box, limits)
        return lam, mid, half / 2

    everywhere(m, "activation", wrong)
    return nets(0, 8, 16, 24), {"zonotope"}


def naive_intercept(m):
    """The chord through the lower end for a middle: mu = -lam * l on one side only."""
    true = pair_vertex.activation

    def wrong(box, limits):
        lam, mid, half = true(box, limits)
        return lam, 0 * mid, half

    everywhere(m, "activation", wrong)
    return nets(0, 8, 16, 24), {"zonotope"}


def dropped_symbols(m):
    for module in (pair_forms, pair_zonotope):
        m.setattr(module, "LIMIT", 64)
    m.setattr(pair_forms, "total", lambda matrix: np.abs(matrix).sum(axis=0) * (matrix.shape[0] > 9))
    return nets(5, 13), {"zonotope"}


def inward(m):
    """No outward rounding at all: bounds of a single point must break."""
    everywhere(m, "down", lambda v: v)
    everywhere(m, "up", lambda v: v)
    everywhere(m, "slack", lambda terms, size: 0 * size)
    return at_points(nets(0, 1, 8, 9)), {"interval", "product"}


MUTANTS = [
    no_half_step, no_input_rounding, no_saturation, half_up, another_mode, one_rounding, half_cell,
    no_weight_error, bias_of_one_side,
    equal_summands, padding_counts, padding_keeps_its_bits, cut_to_nearest, wrong_maximum,
    maximum_is_the_star, shallow_function, exact_table, half_chord, naive_intercept, dropped_symbols, inward,
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_wrong_rule_is_caught(mutant, monkeypatch):
    networks, expected = mutant(monkeypatch)
    found = caught(networks)
    assert expected <= found


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_right_rule_is_not(mutant):
    """The networks that expose a mutant are sound without it."""
    with pytest.MonkeyPatch.context() as patch:
        networks, _ = mutant(patch)
    assert caught(networks, 4) == set()
