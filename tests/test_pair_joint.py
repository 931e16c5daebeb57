# SPDX-License-Identifier: Apache-2.0
"""Neurons bounded together: against every corner, against exact values of networks, in prover and checker."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from both_readings import side_by_side, three_layers
from pair_nets import NONE, RELU, Rational, Sketch, fractions, points, ranges, reals, violations
from test_pair_crown import deep

from tinybound.certify.lockstep import entries, lockstep, walk
from tinybound.checker import together
from tinybound.checker.crown import Crown
from tinybound.domains import pair_crown, pair_joint
from tinybound.domains.exact import run
from tinybound.domains.pair_back import Total
from tinybound.domains.pair_box import Box
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_vertex import Envelope


def matrices():
    rng = np.random.default_rng(0)
    yield from (np.zeros((3, 3)), np.eye(4), np.ones((5, 5)), np.diag([3.0, 1e-9, 0.0]), np.full((1, 1), 7.0))
    for n, inner in ((2, 2), (6, 40), (40, 6), (150, 200)):
        for scale in (1e-30, 1.0, 1e20):
            m = rng.normal(size=(n, inner)) * np.sqrt(scale)
            yield m @ m.T


@pytest.mark.parametrize("norm", [pair_joint._norm, together.largest])
def test_the_norm_is_above_and_close(norm):
    for matrix in matrices():
        true, found = np.linalg.norm(matrix, 2), norm(matrix.copy())
        assert true <= found <= 1.02 * true + 1e-12 * np.abs(matrix).max() + 1e-290


def cases(count):
    """a, M and the largest sum of a t (M e), by all corners of t."""
    rng = np.random.default_rng(1)
    for i in range(count):
        k, n = int(rng.integers(1, 7)), int(rng.integers(1, 12))
        a, m = rng.normal(size=k), rng.normal(size=(k, n)) * 10.0 ** rng.integers(-3, 3)
        if i % 3 == 0:
            m = np.abs(m) * (rng.random(m.shape) < 0.5)
        if i % 5 == 0:
            a[0] = 0.0
        corners = np.array(list(product((-0.5, 0.5), repeat=k)))
        yield a, m, float(np.abs((corners * a) @ m).sum(axis=1).max())


def worst_of(a, m):
    """By prover and checker, with nothing else to pay for."""
    at, rest, total = np.arange(len(a)), np.zeros(len(a)), Total(np.zeros(1))
    pair_joint.Joint(at, rest, m, np.abs(m).sum(axis=1), rest).take(a[:, None], total)
    return float(total.bound()[0]), float(together.Together(at, rest, m, rest).most(a[:, None])[0])


def test_no_corner_is_above():
    for a, m, true in cases(200):
        mine, theirs = worst_of(a, m)
        one_by_one = 0.5 * float((np.abs(a) @ np.abs(m)).sum())
        assert true <= mine <= one_by_one * (1 + 1e-9) + 1e-290
        assert true <= theirs * (1 + 1e-15)
        assert theirs == pytest.approx(mine, rel=1e-9, abs=1e-290)


def test_mixed_signs_gain():
    rng = np.random.default_rng(2)
    a, m = rng.normal(size=30), rng.normal(size=(30, 300))
    mine, _ = worst_of(a, m)
    assert mine < 0.45 * 0.5 * float((np.abs(a) @ np.abs(m)).sum())


@pytest.mark.parametrize("limits", [(0.0, np.inf), (0.0, 2.0), (-1.0, 1.0)])
def test_what_rounding_costs_beside_the_activation(limits):
    """At every yhat of a fine grid, with ranges that do and do not reach the integers' limits."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        ly, uy = np.sort(rng.normal(size=2) * 3)
        h, top = rng.random() * 0.3, rng.choice([1.0, 2.0, 5.0])
        kl, ku = (np.clip(np.round(v / (2 * h)) * 2 * h, max(limits[0], -3), top) for v in (ly, uy))
        env = Envelope(h, h, np.array([kl]), np.array([ku]))
        box = Box(*(np.array([v]) for v in (ly - 1, uy + 1, ly, uy, -1.0, 1.0)))
        y = np.linspace(ly, uy, 300)
        x = np.clip(y, *limits)
        true = max((np.clip(y + h, kl, ku) - x).max(), (x - np.clip(y - h, kl, ku)).max())
        flat = np.array([[box.lx[0]], [box.ux[0]], [ly], [uy], [-1.0], [1.0]])
        for found in (pair_joint._rounded(box, env, limits), together.off_by(flat, env, limits)):
            assert true <= found[0] <= true + 0.02 * (uy - ly) + 1e-12


def joints(pair):
    """(elements together, sum before the activation, value after it), per bend of a network."""
    both = lockstep(pair.real, pair.whole)
    domain, name = PairCrown(), {at: value for value, at in both.values.items()}
    for position, state in walk(both, domain, entries(both, pair.whole, pair.lower, pair.upper)):
        joint = getattr(domain._tape[state.place], "joint", None)
        if joint is not None and both.steps[position].word == "requantise":
            yield joint, pair.whole.producer(name[position]).inputs[0], name[position]


def too_small(seeds):
    """How often a row's part of d that is not D / 2 exceeds what is paid for it, over exact points."""
    over = tried = 0
    for seed in seeds:
        pair, rng = deep(seed), np.random.default_rng(seed)
        groups = list(joints(pair))
        for i, x in enumerate(points(pair, rng, 12)):
            real, whole = run(pair.real, fractions(x), Rational(i)), run(pair.whole, pair.quantise(x))
            for joint, before, after in groups:
                big, d = (reals(pair.whole.values[n], whole[n]) - real[n] for n in (before, after))
                rest = np.array([float(v) for v in (d - big / 2).ravel()[joint.at]])
                for _ in range(4):
                    a = np.sign(rest) * rng.random(rest.size) * (rng.random(rest.size) < rng.random())
                    total = Total(np.zeros(1))
                    joint.take(a[:, None], total)
                    over, tried = over + int(float(a @ rest) > float(total.bound()[0])), tried + 1
    assert tried > 100
    return over


def test_exact_values_stay_below():
    assert too_small(range(4)) == 0


MUTANTS = {
    "norm": ("_norm", lambda matrix: 0.0),
    "rounding": ("_rounded", lambda box, envelope, limits: 0 * box.lx),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_rule_is_caught(name, monkeypatch):
    monkeypatch.setattr(pair_joint, *MUTANTS[name])
    caught = too_small(range(4)) > 0
    if name == "norm":
        caught |= any(worst_of(a, m)[0] < true for a, m, true in cases(50))
    assert caught


def test_together_is_tighter(monkeypatch):
    """Of neurons that read much noise with mixed signs; never looser, as the least of both ways is taken."""
    s = Sketch(0, (40,), lower=-0.1, upper=0.1)
    pair = s.build(s.dense(s.dense(s.dense("x", 40, RELU), 40, RELU), 4, NONE))
    out = pair.whole.producer(pair.whole.outputs[0]).inputs[0]
    boxes = ranges(pair, PairCrown())
    assert violations(pair, {"crown": boxes}, 0, 4) == set()
    mine = boxes[out]
    monkeypatch.setattr(pair_crown, "joint_of", lambda *args: None)
    alone = ranges(pair, PairCrown())[out]
    assert (mine.ud <= alone.ud * (1 + 1e-12)).all()
    assert (mine.ud - mine.ld).sum() < 0.985 * (alone.ud - alone.ld).sum()


def test_the_checker_puts_the_same_together(tmp_path, monkeypatch):
    build, steps, entry = three_layers(tmp_path)
    sizes, true = [], together.Together.most

    def most(self, a):
        sizes.append(int((a != 0).sum()))
        return true(self, a)

    monkeypatch.setattr(together.Together, "most", most)
    theirs = dict(Crown().run(steps, entry))
    assert sum(sizes) > 20
    for checked, mine in side_by_side(build, theirs):
        assert np.allclose(checked, mine, rtol=1e-9, atol=1e-12 * np.abs(mine).max())
