# SPDX-License-Identifier: Apache-2.0
"""Large pieces: the integers that a box of cells leads to, and bounds that look at cells only where they
must; exact differences lie within, and a wrong rule, in the prover or in the checker, is noticed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cell_nets import case, cells, checker, checker_form, points_of, wrong, wrong_at_points
from test_single import single_case

from tinybound.certify import blocks as blocks_module
from tinybound.certify import states as states_module
from tinybound.certify.blocks import blocks, bounded
from tinybound.certify.cells import Numpy, cells_of, ends_of
from tinybound.certify.chain import Chain
from tinybound.certify.compiled import Compiled, kernel_of
from tinybound.certify.states import states
from tinybound.checker import cells as checker_cells
from tinybound.checker import large as checker_large
from tinybound.checker import states as checker_states

SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))]
LIMITS = {"cell by cell": -np.inf, "as a whole": np.inf, "either": None}


def prover(each, limit=-np.inf, kernel=Numpy):
    """Bounds of the pieces, each as a large one; limit None: the middle of what is found cell by cell."""
    found = cells(each, kernel)
    form = found.kernel.linear(*ends_of(each.pieces))
    if limit is None:
        limit = float(np.median(prover(each).max(axis=1)))
    return np.array([
        bounded(found, piece, form, i, limit, piece.count).bound for i, piece in enumerate(each.pieces)
    ])  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    """Blocks of some cells, and no piece too small for them."""
    monkeypatch.setattr(blocks_module, "BLOCK", 6)
    monkeypatch.setattr(checker_cells, "FEW", 0)
    monkeypatch.setattr(checker_large, "PART", 5)


def all_cells(piece):
    return cells_of([piece])[1]


def reached(each, piece):
    """Prover's and checker's integers of every cell of a piece, and those of the slow way."""
    first, last = np.array(piece.first), np.array(piece.last)
    q = all_cells(piece)
    whole, which = states(each.chain.layers, first, last)
    other, place = checker_states.reached(checker_form(each), first, last)
    assert len(np.unique(whole, axis=0)) == len(whole)
    assert len(other) == len(whole)
    return whole[which], other[place], Numpy(each.chain).points(q.astype(float), q)[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_integers_are_those_of_every_cell(seed):
    """The whole box, parts of it, single cells."""
    each = case(seed)
    for piece in (each.whole.root, *each.pieces):
        mine, other, slow = reached(each, piece)
        assert (mine == slow).all()
        assert (other == slow).all()


@pytest.fixture(scope="module")
def compiled():
    """The C kernel, or a skip."""
    if not isinstance(kernel_of(case(0).chain), Compiled):
        pytest.skip("no gcc")
    return kernel_of


def alike(compiled, layers, units, piece):
    """Both kernels find the same integers for every cell, and as many different ones."""
    first, last = np.array(piece.first), np.array(piece.last)
    mine, which = states(layers, first, last)
    other, place = compiled(Chain(layers, units)).states(first, last)
    assert (mine[which] == other[place]).all()
    assert len(mine) == len(other)


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_both_kernels_find_the_same_integers(seed, compiled):
    """By all rules of rounding; sums beyond what float64 rounds exactly; one layer alone."""
    each = case(seed)
    units = each.chain.units
    first = each.chain.layers[0]
    grown = replace(first, counts=first.counts * 300001.0, bias=first.bias * 300001.0 + 1)
    for piece in (each.whole.root, *each.pieces[:8]):
        alike(compiled, each.chain.layers, units, piece)
        alike(compiled, each.chain.layers[:1], units, piece)
        alike(compiled, (grown, *each.chain.layers[1:]), units, piece)


def test_weights_that_are_no_floats(compiled):
    """2^24 (a - b) + a is small where a = b, and float32 loses a there."""
    each, big = case(1), 2.0**24
    layer = each.chain.layers[0]
    counts, bias = np.tile([big + 1, -big], (len(layer.counts), 1)), np.zeros_like(layer.bias)
    layer = replace(layer, counts=counts, bias=bias, zero_in=0, zero=0, mode="half-even")
    layer = replace(layer, m=np.ones_like(layer.m), s=np.zeros_like(layer.s))
    box = SimpleNamespace(first=(-9, -9), last=(9, 9))
    alike(compiled, (layer,), each.chain.units, box)
    whole, _ = states((layer,), np.array(box.first), np.array(box.last))
    assert np.unique(whole[:, 0]).tolist() == [-128, *range(-9, 10), 127]


@pytest.mark.parametrize("module", [states_module, checker_states])
@pytest.mark.parametrize("digits", [1.0, 3.0, 40.0])
def test_rows_are_told_apart_by_several_numbers(module, digits, monkeypatch):
    """Where float64 holds the digits of few neurons."""
    monkeypatch.setattr(module, "PACKED" if module is states_module else "WHOLE64", digits)
    each = case(1)
    if module is checker_states:
        x = np.random.default_rng(0).integers(0, 3, (500, 4)).astype(float)
        kept, place = checker_states._once(x, np.zeros(4), np.full(4, 2.0))
        assert (kept[place] == x).all()
        assert len(kept) == len(np.unique(x, axis=0)) < len(x)
    else:
        mine, _, slow = reached(each, each.whole.root)
        assert (mine == slow).all()


def test_rows_of_one_key_are_no_rows_of_one_vector(monkeypatch):
    """The key of several numbers is a hash: rows that differ are never taken for one."""
    monkeypatch.setattr(states_module, "PACKED", 1.0)
    monkeypatch.setattr(states_module, "MIX", np.zeros(4, np.uint64))
    each = case(1)
    first, last = np.array(each.whole.root.first), np.array(each.whole.root.last)
    whole, which = states(each.chain.layers, first, last)
    q = all_cells(each.whole.root)
    assert (whole[which] == Numpy(each.chain).points(q.astype(float), q)[1]).all()


def test_wide_sums_leave_float32():
    """Sums beyond 2^24 are exact too."""
    each = case(4)
    layer = each.chain.layers[0]
    grown = replace(layer, counts=layer.counts * 300001.0, bias=layer.bias * 300001.0 + 1)
    layers = (grown, *each.chain.layers[1:])
    first, last = np.array(each.whole.root.first), np.array(each.whole.root.last)
    q = all_cells(each.whole.root)
    whole, which = states(layers, first, last)
    slow = Numpy(Chain(layers, each.chain.units)).points(q.astype(float), q)[1]
    assert (whole[which] == slow).all()
    assert states_module._reach(grown, first.astype(float), last.astype(float))[2].max() > 2**24


def test_blocks_tile_a_piece(monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK", 12)
    for first, last in (([0], [30]), ([-3, 2], [1, 9]), ([0, 0, 5], [3, 2, 6]), ([7, 1, 1, 1], [8, 4, 4, 4])):
        first, last = np.array(first), np.array(last)
        seen = []
        for a, b in blocks(first, last):
            assert np.prod(b - a + 1) <= 12
            seen += [tuple(a + k) for k in np.ndindex(*(b - a + 1))]
        assert sorted(seen) == sorted(tuple(first + k) for k in np.ndindex(*(last - first + 1)))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_hold(seed, limit, few):
    each = case(seed)
    assert wrong(each, prover(each, LIMITS[limit]), seed) == []
    points = points_of(each)
    assert wrong_at_points(points, prover(points, LIMITS[limit])) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_checkers_bounds_hold(seed, few):
    """Tight ones, and those that a claim lets be."""
    each = case(seed)
    for claim in (-np.inf, 0.01):
        assert wrong(each, checker(each, claim), seed) == []
    points = points_of(each)
    assert wrong_at_points(points, checker(points)) == 0


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("seed", range(3))
def test_what_the_prover_claims_the_checker_confirms(seed, limit, few):
    each = case(seed)
    mine = prover(each, LIMITS[limit])
    for i, piece in enumerate(each.pieces):
        alone = type(each)(each.pair, each.chain, each.whole, [piece])
        assert (checker(alone, mine[i]) <= mine[i]).all()


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("seed", range(2))
def test_the_float_networks_own_rounding_is_added(seed, limit, few):
    """In float32: as much more as the deviation of the piece, block by block and cell by cell."""
    each = single_case(seed)
    real = replace(each, chain=replace(each.chain, single=False))
    mine, blur = prover(each, LIMITS[limit]), cells(each).blur(*ends_of(each.pieces))
    assert (mine >= (prover(real, LIMITS[limit]) + blur) * (1 - 1e-9)).all()
    assert (mine <= (prover(real, LIMITS[limit]) + blur) * (1 + 1e-6)).all()
    assert (checker(each) <= mine).all()
    assert (checker(each) > checker(real)).all()


def test_a_piece_whose_form_is_loose_is_given_up():
    each = case(2)
    found = cells(each)
    form = found.kernel.linear(*ends_of([each.whole.root]))
    assert bounded(found, each.whole.root, form, 0, 0.0, 3) is None


each_of_form = blocks_module._Form.each


PLANTED = {
    "a cell is missing": (
        blocks_module, "blocks", lambda first, last: list(blocks(first, last))[:1],
    ),
    "two vectors are taken for one": (
        states_module, "_merged", lambda x, *_: (np.arange(min(len(x), 1)), np.zeros(len(x), np.int64)),
    ),
    "a still neuron moves": (
        states_module, "_reach", lambda layer, _low, _high: (*2 * (0 * layer.bias,), 1 + 0 * layer.bias),
    ),
    "cells without width": (
        blocks_module._Form, "each", lambda self, a, b: 2 * (0.5 * sum(each_of_form(self, a, b)),),
    ),
    "a slope of nothing": (
        blocks_module, "_around", lambda found, lines, q: np.zeros((len(q), len(lines.c))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_noticed(name, few, monkeypatch):
    monkeypatch.setattr(*PLANTED[name])
    assert any(wrong(each, prover(each), seed, 100) for seed, each in enumerate(map(case, range(14))))


CHECKER = {
    "a part is missing": (checker_large, "_worst", None),
    "two vectors are one": (checker_states, "_once", lambda x, *_: (x[:1], np.zeros(len(x), np.int64))),
    "the middle for the whole cell": (checker_large.Leaf, "parts", None),
    "a slope of nothing": (checker_large, "_around", lambda *more: np.zeros((len(more[2]), 2))),
}
whole_worst, whole_parts = checker_large._worst, checker_large.Leaf.parts


def _only_the_lower(leaf, first, last, claim):
    spans = last - first + 1
    if np.prod(spans) <= checker_large.PART:
        return whole_worst(leaf, first, last, claim)
    i = int(spans.argmax())
    last = last.copy()
    last[i] = (first[i] + last[i]) // 2
    return _only_the_lower(leaf, first, last, claim)


CHECKER["a part is missing"] = (checker_large, "_worst", _only_the_lower)
CHECKER["the middle for the whole cell"] = (
    checker_large.Leaf, "parts", lambda self, i, a, b: (whole_parts(self, i, a, b)[0], np.zeros(b - a + 1)),
)  # fmt: skip


@pytest.mark.parametrize("name", CHECKER)
def test_a_planted_bug_in_the_checker_is_noticed(name, few, monkeypatch):
    monkeypatch.setattr(checker_large, "shallow", lambda _: False)  # where cells are carried on as one
    monkeypatch.setattr(*CHECKER[name])
    assert any(wrong(each, checker(each), seed, 100) for seed, each in enumerate(map(case, range(14))))
