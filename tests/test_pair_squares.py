# SPDX-License-Identifier: Apache-2.0
"""Neurons of two layers bounded at once: against a search over signs and symbols, against exact values of
networks, in prover and checker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from both_readings import side_by_side, three_layers
from pair_nets import NONE, RELU, Pair, Sketch, ranges, violations
from rule_mutants import truth
from square_cases import squared
from test_pair_crown import deep

from tinybound.checker import crown
from tinybound.checker import squares as checked
from tinybound.domains import pair_crown, pair_lines, pair_squares
from tinybound.domains.pair_crown import PairCrown

CASES = [(seed, kinks) for seed in range(2) for kinks in (False, True)]


@pytest.fixture
def few(monkeypatch):
    """Networks of few neurons are bounded so as well."""
    monkeypatch.setattr(pair_squares, "MANY", 2)
    monkeypatch.setattr(crown, "FEWEST", 2)


def above(cases, side, tries=3):
    """How many rows have a value above their bound."""
    count = 0
    for seed, kinks in cases:
        case, rng = squared(seed, kinks=kinks), np.random.default_rng(seed)
        bound = getattr(case, side)()
        count += sum(case.found(rng, k, tries) > top for k, top in enumerate(bound))
    return count


def test_no_value_is_above_and_most_are_near():
    for seed, kinks in CASES:
        case, rng = squared(seed, kinks=kinks), np.random.default_rng(seed)
        mine, theirs = case.prover(), case.checker()
        found = np.array([case.found(rng, k) for k in range(len(mine))])
        assert (found <= theirs).all()
        assert (theirs <= mine).all()  # the prover has a little to spare
        assert (mine <= theirs * (1 + 1e-6)).all()
        assert (mine <= found * (1.7 if kinks else 1.15)).all()


@pytest.mark.parametrize("side", ["prover", "checker"])
def test_roundings_of_what_is_on(side, monkeypatch):
    """They count where a neuron is on; with T as it is chosen for that."""
    case, rng = squared(0, kinks=True), np.random.default_rng(0)
    case.h = 1.0
    found = np.array([case.found(rng, k, 3) for k in range(case.a.shape[1])])
    assert (found <= getattr(case, side)()).all()
    for module, name in ((pair_squares, "turned_on"), (checked, "rounded_when_on")):
        true = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, true=true: 0.05 * true(*args))
    assert (found > getattr(case, side)()).any()
    step, rng = 0.1, np.random.default_rng(0)
    for _ in range(3000):
        x, big = rng.uniform(-0.4, 0.4, 2) * rng.choice([1.0, 0.2])
        y = step * np.round(max(x + big, 0.0) / step)
        d = y - max(x, 0.0)
        both = x + big > 0
        t = (1.0 if both else x / -big) if x >= 0 else (min(1.0, y / big) if both else 0.0)
        assert 0 <= t <= 1
        assert abs(d - t * big) <= 0.5 * step * t + 1e-15
        slip = 0.25 * abs(big) + 0.75 * 0.5 * step + 1e-15
        assert t * x >= -slip
        assert (1 - t) * x <= slip


def test_kinks_gain():
    """Where a neuron is on for most inputs, rows know it."""
    ratios = []
    for seed in range(4):
        case = squared(seed, kinks=True)
        with_kinks = case.prover()
        case.kinks = False
        ratios.append((with_kinks / case.prover()).mean())
    assert np.mean(ratios) < 0.97


def test_without_an_earlier_bend():
    for seed in range(3):
        case, rng = squared(seed, tags=0), np.random.default_rng(seed)
        mine, theirs = case.prover(), case.checker()
        assert all(case.found(rng, k) <= top for k, top in enumerate(theirs))
        assert (theirs <= mine).all()


def test_nothing_at_all():
    """Rows of zeros, and of a network that reads no noise."""
    case = squared(0)
    case.rows, case.a = 0 * case.rows, 0 * case.a
    assert case.prover() == pytest.approx(0.0, abs=1e-9)
    assert case.checker() == pytest.approx(0.0, abs=1e-9)
    case = squared(1)
    case.g, case.m, case.lean = 0 * case.g, 0 * case.m, 0 * case.lean
    assert np.isfinite(case.prover()).all()


def changed(**how):
    """A rule whose result has some fields made smaller."""
    return lambda true: (
        lambda *args: replace(
            true(*args), **{name: share * getattr(true(*args), name) for name, share in how.items()}
        )
    )


def without(name):
    """Half of one thing that an earlier bend's symbols stand for."""
    return lambda true: (
        lambda group, *rows: true(
            replace(group, halves=replace(group.halves, **{name: 0.3 * getattr(group.halves, name)})), *rows
        )
    )


MUTANTS = {
    "sums of forms": ("rooted", changed(f=0.9)),
    "signs of the earlier bend": ("rooted", changed(phi=0.5)),
    "centres": ("rooted", changed(q=-3.0)),
    "noise": ("rooted", without("m")),
    "linear part": ("rooted", without("lean")),
    "the rest": ("rooted", without("off")),
    "dual": ("_proven", lambda true: lambda *args: 0.85 * true(*args)),
    "all of it": ("most", lambda true: lambda *args: 0.85 * true(*args)),
    "kinks": ("kinks_of", changed(c=-1.0, g=-1.0)),
}


@pytest.mark.parametrize(
    "name", [*list(MUTANTS)[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in list(MUTANTS)[2:])]
)
def test_a_wrong_rule_is_noticed(name, monkeypatch):
    rule, make = MUTANTS[name]
    monkeypatch.setattr(pair_squares, rule, make(getattr(pair_squares, rule)))
    assert above(CASES, "prover") > 0


CHECKED = {
    "sums of forms": ("_parts", lambda true: lambda *args: (0.9 * true(*args)[0], *true(*args)[1:])),
    "signs of the earlier bend": (
        "_parts", lambda true: lambda *args: (*true(*args)[:2], 0.5 * true(*args)[2], true(*args)[3])
    ),
    **{rule: (rule, lambda true: lambda *args: 0.85 * true(*args)) for rule in ("most", "bounds", "_dual")},
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_a_wrong_checker_is_noticed(name, monkeypatch):
    rule, make = CHECKED[name]
    owner = checked.Squares if hasattr(checked.Squares, rule) else checked._Uphill
    monkeypatch.setattr(owner, rule, make(getattr(owner, rule)))
    assert above(CASES, "checker") > 0


@pytest.mark.parametrize("side", ["prover", pytest.param("checker", marks=pytest.mark.slow)])
def test_few_steps_are_sound_and_need_the_eigenvalue(side, monkeypatch):
    """What the ascent leaves open is paid for."""
    monkeypatch.setattr(pair_squares, "STEPS", 1)
    monkeypatch.setattr(checked, "ROUNDS", 1)
    assert above(CASES, side) == 0
    monkeypatch.setattr(pair_squares, "_least", lambda *args: 0.0)
    monkeypatch.setattr(checked, "short_of", lambda *args: 0.0)
    assert above(CASES, side) > 0


@pytest.mark.parametrize("least", [pair_squares._least, checked.short_of])
def test_least_eigenvalues(least):
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 40):
        for scale in (1e-20, 1.0, 1e9):
            m = rng.normal(size=(n, n))
            for s in (m + m.T, m @ m.T, -np.eye(n), np.zeros((n, n)), np.ones((n, n))):
                s = scale * s
                true, found = max(-np.linalg.eigvalsh(s).min(), 0.0), least(s, np.abs(s), 1)
                assert true <= found <= true + 1e-10 * (np.abs(s).sum() + 1e-250)


@pytest.mark.slow
def test_exact_values_stay_inside(few):
    for seed in range(2):
        pair = deep(seed)
        assert violations(pair, {"crown": ranges(pair, PairCrown())}, seed, 8) == set()


def test_it_is_tighter(few, monkeypatch):
    """Two layers of neurons that may be on or off."""
    s = Sketch(0, (12,), lower=-0.1, upper=0.1)
    pair = s.build(s.dense(s.dense(s.dense(s.dense("x", 30, RELU), 30, RELU), 30, RELU), 4, NONE))
    (out,) = pair.whole.outputs
    boxes = ranges(pair, PairCrown())
    exact = truth(pair, 0, 10)
    assert not exact.left(boxes)
    monkeypatch.setattr(pair_squares, "MANY", 1000)
    alone = ranges(pair, PairCrown())[out]
    assert (boxes[out].ud - boxes[out].ld).sum() < 0.9 * (alone.ud - alone.ld).sum()
    monkeypatch.setattr(pair_squares, "MANY", 2)
    monkeypatch.setattr(pair_lines.Bent, "squared", lambda self, rows, total: np.zeros(4))
    assert exact.left(ranges(pair, PairCrown()))


def test_symbols_stand_for_what_is_left(few, monkeypatch):
    """d = D / 2 + t D + r, whatever e and t are, and its form with its symbols in it say the same."""
    seen, rng = [], np.random.default_rng(0)
    true = pair_crown.halves_of
    monkeypatch.setattr(
        pair_crown, "halves_of", lambda *args: seen.append((args, true(*args))) or seen[-1][1]
    )
    ranges(deep(0), PairCrown())
    assert len(seen) > 1
    for (before, after, joint), (each,) in seen:
        old, at = before.symbols.size, joint.at
        place = np.searchsorted(after.symbols, each.ids)
        element = np.abs(after.gd[place]).argmax(axis=1)
        own = np.isin(after.symbols, each.symbols)
        for _ in range(20):
            e, t, r = (
                rng.uniform(-1, 1, own.sum()),
                rng.uniform(-0.5, 0.5, len(place)),
                rng.choice([-1, 1], len(place)),
            )
            big = before.cd.ravel()[element] + before.gd[:, element].T @ e[:old]
            d = big / 2 + t * big + r * joint.off[np.searchsorted(at, element)]
            symbol = t * (each.c + each.m @ e) + each.shift + each.lean @ e
            form = after.cd.ravel()[element] + after.gd[own][:, element].T @ e + symbol
            assert (np.abs(form - d) <= each.off).all()


@pytest.mark.parametrize("side", ["prover", "checker"])
def test_signs_of_a_kink(side):
    """T = (X(x + D) - X(x)) / D is on the right side of the limit, but for the slip."""
    case, rng = squared(0, kinks=True), np.random.default_rng(0)
    case.box[4:] *= 20
    if side == "prover":
        kinks = case.prover_group().kinks
        c, slip = kinks.c, kinks.slip
    else:
        group = case.checker_group()
        c, slip = group.gap, group.slip
    assert (c == case.c[0, case.at]).all()
    for _ in range(300):
        x = rng.uniform(*case.box[:2, case.at]) * rng.choice([1.0, 0.01])
        d = rng.uniform(*case.box[4:, case.at])
        on = (np.maximum(x + d, 0) - np.maximum(x, 0)) / d
        assert (on * x >= -slip).all()
        assert ((1 - on) * x <= slip).all()
    assert (slip <= 0.2500001 * np.abs(case.box[4:, case.at]).max(axis=0)).all()


def test_the_checker_does_the_same(few, tmp_path, monkeypatch):
    build, steps, entry = three_layers(tmp_path)
    bounded, true = [], checked.Squares.most
    monkeypatch.setattr(
        checked.Squares, "most", lambda self, a, s: bounded.append(s.shape) or true(self, a, s)
    )
    theirs = dict(crown.Crown().run(steps, entry))
    assert len(bounded) > 4
    for ends, mine in side_by_side(build, theirs):
        assert np.allclose(ends, mine, rtol=1e-6, atol=1e-7 * np.abs(mine).max())
        assert (ends[5] <= mine[5] + 1e-9 * np.abs(mine).max()).all()
    exact = truth(Pair(build.float_graph, build.graph, build.domain.lower, build.domain.upper), 0, 4)
    assert not exact.left(theirs)
    monkeypatch.setattr(checked.Squares, "most", lambda self, a, s: np.full(a.shape[2], -5.0))
    assert exact.left(dict(crown.Crown().run(steps, entry)))
