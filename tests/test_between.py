# SPDX-License-Identifier: Apache-2.0
"""Shallow networks: bounds on whole boxes of cells, and cells counted off in C, hold exact differences; both
kernels give the same numbers; a wrong rule is noticed."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from cell_nets import broad, case, cells, checker_form, points_of, wrong, wrong_at_points

from tinybound.certify import between as between_module
from tinybound.certify import halves as halves_module
from tinybound.certify.between import shallow, sums_of
from tinybound.certify.cells import Numpy, ends_of
from tinybound.certify.certificate import certify
from tinybound.certify.compiled import Compiled, kernel_of
from tinybound.certify.effort import Effort
from tinybound.certify.halves import boxes_of, closed, halved
from tinybound.certify.hunt import hunt
from tinybound.checker import between as checker_between
from tinybound.checker import cells as checker_cells
from tinybound.checker import halves as checker_halves
from tinybound.checker.envelopes import Entry
from tinybound.checker.files import Rejected

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 60))]


def prover(each):
    found = cells(each)
    return between_module.bounds_of(found, between_module.sums_of(found), *boxes_of(each.pieces))


def checker(each):
    entry, form = each.whole.entries[0], checker_form(each)
    shape = (len(entry.lower),)
    root = Entry(entry.lower, entry.upper, entry.units.scale, entry.units.zero, shape)
    boxes = checker_between.Boxes(*boxes_of(each.pieces)).within(checker_cells._borders(root))
    return checker_between.bound(form, root, boxes)


def taken_apart(each, kernel=Numpy, limit=-1.0, room=1 << 40, attack=0.0):
    """Bounds by halves, cells that are above the limit alone."""
    found = cells(each, kernel)
    return closed(found, sums_of(found), each.pieces, limit, room, attack)


def checked_apart(each, claim=-1.0):
    """The checker's, one piece after the other."""
    entry, form = each.whole.entries[0], checker_form(each)
    root = Entry(entry.lower, entry.upper, entry.units.scale, entry.units.zero, (len(entry.lower),))
    boxes, borders = checker_between.Boxes(*boxes_of(each.pieces)), checker_cells._borders(root)
    claims = np.broadcast_to(claim, len(form.pairs[-1].w))
    one = [boxes.of(slice(k, k + 1)) for k in range(len(each.pieces))]
    made = (checker_halves.Halves(form, root, borders, claims).bounds(box) for box in one)
    return np.array([list(bounds)[-1] for bounds in made])


def array(found):
    return np.array([item.bound for item in found])


@pytest.fixture(scope="module")
def compiled():
    """The C kernel, or a skip."""
    if not isinstance(kernel_of(case(0).chain), Compiled):
        pytest.skip("no gcc")
    return kernel_of


def by_forms(each):
    """No cell alone: what is above this limit is halved and counted."""
    limit = float(np.median(prover(each).max(axis=1)))
    return array(taken_apart(each, limit=limit))


@pytest.fixture
def small(monkeypatch):
    """Boxes of these networks have few cells."""
    for module in (halves_module, checker_halves):
        monkeypatch.setattr(module, "SMALL", 16)
        monkeypatch.setattr(module, "LEAST", 4)


SIDES = {
    "prover": prover,
    "checker": checker,
    "alone": lambda each: array(taken_apart(each)),
    "forms": by_forms,
    "checked alone": checked_apart,
    "checked forms": lambda each: checked_apart(each, float(np.median(checker(each).max(axis=1)))),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_hold(seed, side, small):
    each = case(seed)
    assert shallow(each.chain)
    assert wrong(each, SIDES[side](each), seed) == []
    points = points_of(each)
    assert wrong_at_points(points, SIDES[side](points)) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_checker_is_a_little_tighter(seed):
    each = case(seed)
    mine, other = prover(each), checker(each)
    assert (other <= mine).all()
    assert (other >= mine * (1 - 1e-9)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_both_kernels_give_the_same_numbers(seed, compiled, small):
    """Whatever the limit and the room: bounds, cells above the limit, the worst cell, the work."""
    each, names = case(seed), ("bound", "worst", "cell", "above", "work")
    boxes, alike = boxes_of(each.pieces), array(taken_apart(each))
    for limit in (np.inf, float(np.median(alike)), 0.5 * float(np.median(alike)), -1.0):
        for room in (1 << 40, 3 * halves_module.DEAR):
            sides = (cells(each, kernel) for kernel in (Numpy, compiled))
            one, other = (halved(side, sums_of(side), boxes, limit, room) for side in sides)
            for a, b in zip(one, other, strict=True):
                assert (a is None) == (b is None)
                assert a is None or all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_checker_confirms_what_was_found(seed, small):
    """The claim is what the prover bounded each piece by, whatever its limit was."""
    each = case(seed)
    mine = prover(each)
    for limit in (0.7 * float(np.median(mine)), 1.3 * float(np.median(mine)), -1.0):
        found = array(taken_apart(each, limit=limit))
        one = [replace(each, pieces=[piece]) for piece in each.pieces]
        assert all((checked_apart(k, claim) <= claim).all() for k, claim in zip(one, found, strict=True))


def test_a_box_is_not_more_work_than_there_is_room_for(small, monkeypatch):
    each = case(2)
    work = [found.work for found in taken_apart(each)]
    room = int(np.median(work))
    assert [found is None for found in taken_apart(each, room=room)] == [n > room for n in work]

    monkeypatch.setattr(checker_halves, "WORK", room)
    with pytest.raises(Rejected, match="too many cells"):
        checked_apart(replace(each, pieces=[each.whole.root]))


@pytest.mark.parametrize("seed", range(2))
def test_some_of_the_forms(seed):
    each = case(seed)
    kernel = cells(each).kernel
    every = kernel.linear(*ends_of(each.pieces))
    alone = kernel.linear(*ends_of([each.pieces[5], each.pieces[0]]))
    assert all((getattr(every, n)[..., [5, 0]] == getattr(alone, n)).all() for n in ("c", "r", "lip"))
    assert np.allclose(every.g[..., [5, 0]], alone.g)


@pytest.mark.parametrize(("side", "module"), [(prover, between_module), (checker, checker_between)])
def test_memory_does_not_grow_with_pieces(side, module, monkeypatch):
    """Symbols times neurons are many for one piece already: of wide layers few are looked at together."""
    each = broad(40, 64)
    assert shallow(each.chain)
    found, peaks = [], []
    for numbers in (module.NUMBERS, 1 << 15):
        monkeypatch.setattr(module, "NUMBERS", numbers)
        tracemalloc.start()
        found.append(side(each))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert np.allclose(*found, rtol=1e-12)
    assert peaks[1] < 0.2 * peaks[0] < 8e6


def test_deep_networks_and_float32_are_left_out():
    chain = case(1).chain
    deep = replace(chain, layers=(chain.layers[0], *3 * chain.layers[1:2], *chain.layers[1:]))
    assert not shallow(deep)
    assert not shallow(replace(chain, single=True))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_there(seed):
    """Differences as large as both networks give, at inputs of the box."""
    each = case(seed)
    found = cells(each)
    seen = list(hunt(found, sums_of(found), each.whole.root))
    low, high = ([float(v) for v in end] for end in (each.whole.root.lower, each.whole.root.upper))
    scale, zero = float(each.whole.entries[0].units.scale), each.whole.entries[0].units.zero
    for gap, x in seen:
        assert (x >= np.array(low) - 1e-12).all()
        assert (x <= np.array(high) + 1e-12).all()
        q = np.clip(np.rint(x / scale) + zero, each.whole.entries[0].lo, each.whole.entries[0].hi)
        real, y = found.at(x[None], q[None].astype(np.int64))
        assert np.isclose(np.abs(real - y).max(), gap)
    assert max(gap for gap, _ in seen) >= 0.5 * max(item.gap for item in taken_apart(each))


@pytest.mark.parametrize("looks", [1, 3])
def test_what_is_sought_ends_in_time(looks):
    """Ctrl-C and the end of the time are seen between a few boxes; what was found until then is there."""
    each, asked = case(1), []

    def over():
        asked.append(1)
        return len(asked) > looks

    found = cells(each)
    seen = list(hunt(found, sums_of(found), each.whole.root, over))
    assert (bool(seen), len(asked)) == (looks > 1, looks + 1)


@pytest.mark.slow
def test_the_search_of_a_large_box_ends_near_what_is_found(monkeypatch):
    """Of a box that is too large for one leaf."""
    each = case(2)
    monkeypatch.setattr("tinybound.certify.grow.UNCUT", 1)
    monkeypatch.setattr("tinybound.certify.grow.LEAST", 4)
    pair = each.pair
    effort = Effort(pieces=5000, ratio=1.02, cells=1 << 12)
    made = certify(pair.real, pair.whole, pair.lower, pair.upper, hashes={}, effort=effort)
    assert made.fields["leaves"].count("cells") == len(made.fields["leaves"])
    assert made.largest <= 1.03 * made.attack.largest


def noticed(patch, module, what, make, side):
    """A rule made wrong, on some network of 16."""
    patch.setattr(module, what, make(getattr(module, what)))
    assert any(wrong(each, side(each), seed, 100) for seed, each in enumerate(map(case, range(16))))


def less(**share):
    return lambda true: (
        lambda *a, **k: replace(true(*a, **k), **{n: getattr(true(*a, **k), n) * s for n, s in share.items()})
    )


PLANTED = {
    "no rounding": ("farthest", lambda true: lambda *a: true(*a) / 2),
    "half of the weights": ("sums_of", lambda true: lambda c: [replace(s, v=0.5 * s.v) for s in true(c)]),
    "no bend": ("chord", lambda true: lambda *a: (*true(*a)[:2], 0.1 * true(*a)[2])),
    "x in the middle of its cell": ("entered", less(gd=0.2)),
    "steps that are no steps": ("rounded", less(gd=0.7)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_noticed(name, monkeypatch):
    what, make = PLANTED[name]
    noticed(monkeypatch, between_module, what, make, prover)


def tighter(share):
    """Of a rule that returns both sides: d as much narrower."""

    def less(both):
        d = replace(both.d, g=share * both.d.g, own=share * both.d.own)
        return replace(both, d=d, noise=share * both.noise, fresh=share * both.fresh)

    return lambda true: lambda *a: less(true(*a))


CHECKER = {
    "no rounding": ("moved", lambda true: lambda *a: true(*a) / 2),
    "no bend": ("_chord", lambda true: lambda *a: (*true(*a)[:2], 0.1 * true(*a)[2])),
    "x in the middle of its cell": ("_entered", tighter(0.2)),
    "steps that are no steps": ("_rounded", tighter(0.7)),
    "half of the sums": ("_summed", tighter(0.5)),
}


@pytest.mark.parametrize("name", CHECKER)
def test_a_wrong_checker_is_noticed(name, monkeypatch):
    what, make = CHECKER[name]
    noticed(monkeypatch, checker_between, what, make, checker)


def without_last(true):
    """Of every part that is counted, its last cells are left out."""
    return lambda cells, first, last, *more: true(cells, first, np.maximum(last - 1, first), *more)


HALVES = {
    "flatter forms": ("forms_from", lambda true: lambda *a: replace(true(*a), slope=0.5 * true(*a).slope)),
    "cells that are left out": ("forms_from", without_last),
    "parts that are no bound": ("bounds_of", lambda true: lambda *a: 0.3 * true(*a)),
}


@pytest.mark.parametrize("name", HALVES)
def test_wrong_halves_are_noticed(name, small, monkeypatch):
    what, make = HALVES[name]
    noticed(monkeypatch, halves_module, what, make, by_forms)
