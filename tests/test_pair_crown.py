# SPDX-License-Identifier: Apache-2.0
"""Differential CROWN: tighter than what it starts from, the same in parts, and its mutants caught."""

from __future__ import annotations

import numpy as np
import pytest
from pair_nets import NONE, RELU, Sketch, ranges, violations, zoo

from tinybound.domains import pair_back, pair_crown, pair_lines
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_product import PairProduct

ENDS = ("lx", "ux", "ly", "uy", "ld", "ud")


def same(a, b):
    return all(np.array_equal(getattr(a, end), getattr(b, end)) for end in ENDS)


def deep(seed):
    """Three hidden layers on a box that is wide enough for neurons to change sides."""
    s = Sketch(seed, (6,), lower=-0.2, upper=0.3)
    h = s.dense("x", 12, RELU)
    for _ in range(2):
        h = s.dense(h, 12, RELU)
    return s.build(s.dense(h, 3, NONE), squeeze=1.2)


def test_much_tighter_on_deep_networks():
    ratios = []
    for seed in range(4):
        pair = deep(seed)
        (out,) = pair.whole.outputs
        mine, others = (ranges(pair, make()) for make in (PairCrown, PairProduct))
        assert violations(pair, {"crown": mine}, seed, 12) == set()
        ratios.append(np.divide(*(np.maximum(x[out].ud, -x[out].ld).max() for x in (mine, others))))
    assert max(ratios) < 1
    assert np.mean(ratios) < 0.8


def test_without_a_budget_it_is_the_product(monkeypatch):
    monkeypatch.setattr(pair_crown, "BUDGET", 0)
    monkeypatch.setattr(pair_crown, "WORK", 0)  # of rows that are bounded with whole bends
    for seed in range(8):
        a, b = ranges(zoo(seed), PairCrown()), ranges(zoo(seed), PairProduct())
        assert all(same(a[name], b[name]) for name in b)


@pytest.mark.parametrize("seed", [3, 5, 7])
def test_rows_in_small_parts(seed, monkeypatch):
    whole = ranges(zoo(seed), PairCrown())
    monkeypatch.setattr(pair_crown, "CHUNK", 200)
    parts = ranges(zoo(seed), PairCrown())
    for name, box in whole.items():
        assert np.allclose(box.ud, parts[name].ud, rtol=1e-9, atol=1e-12)
        assert np.allclose(box.ld, parts[name].ld, rtol=1e-9, atol=1e-12)


def last_of_overlapping(m):
    """A position that several windows read keeps the coefficient of one."""

    def sums(self, part):
        out = np.zeros((self.count, part.shape[1]))
        out[self._targets] = part[self._order][self._starts]
        return out

    m.setattr(pair_back.Moved, "_sums", sums)


def one_sided_root(m):
    """Every input at the middle of its range."""
    true = pair_back.Root.__init__

    def init(self, box):
        true(self, box)
        self._x = (self._x[0], 0 * self._x[1])

    m.setattr(pair_back.Root, "__init__", init)


def float_weights_on_both_sides(m):
    true = pair_back.Linear.__init__

    def init(self, read, terms, before):
        true(self, read, terms, before)
        self._v = self._w

    m.setattr(pair_back.Linear, "__init__", init)


def bias_of_one_side(m):
    true = pair_back.Linear.__init__

    def init(self, read, terms, before):
        true(self, read, terms, before)
        self._shift = 0 * self._shift

    m.setattr(pair_back.Linear, "__init__", init)


def upper_for_lower(m):
    """The line above x taken for both signs."""
    true = pair_lines.Bent.__init__

    def init(self, *args):
        true(self, *args)
        self._lower = self._upper

    m.setattr(pair_lines.Bent, "__init__", init)


def planes_through_the_middle(m):
    """Slopes without their intercepts."""
    true = pair_lines.Bent.__init__

    def init(self, *args):
        true(self, *args)
        self._planes[3] = self._planes[4] = 0.5 * (self._planes[3] + self._planes[4])
        self._choice = self._chooser()

    m.setattr(pair_lines.Bent, "__init__", init)


def x_is_forgotten(m):
    """A plane for y instead of d, without what it leaves of x."""
    true = pair_lines.Bent.__init__

    def init(self, *args):
        true(self, *args)
        self._planes[2] = 0
        self._choice = self._chooser()

    m.setattr(pair_lines.Bent, "__init__", init)


def no_common_input(m):
    """Of two readers of one tensor the last counts."""
    m.setattr(pair_back.Rows, "plus", lambda self, other: other)


def second_tap_alone(m):
    m.setattr(pair_crown.PairCrown, "_larger", lambda self, a, of_a, b, of_b: (b, of_b))


MUTANTS = [
    last_of_overlapping, one_sided_root, float_weights_on_both_sides, bias_of_one_side, upper_for_lower,
    planes_through_the_middle, x_is_forgotten, no_common_input, second_tap_alone,
]  # fmt: skip


def broken(seeds):
    found = set()
    for seed in seeds:
        try:
            found |= violations(zoo(seed), {"crown": ranges(zoo(seed), PairCrown())}, seed, 6)
        except (RuntimeWarning, OverflowError):  # a range without numbers shows itself
            found.add(("crown", "empty"))
    return found


SEEDS = (0, 1, 3, 5, 8, 11)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_wrong_rule_is_caught(mutant, monkeypatch):
    mutant(monkeypatch)
    assert broken(SEEDS)


def test_the_right_rules_are_not():
    assert broken(SEEDS) == set()
