# SPDX-License-Identifier: Apache-2.0
"""Enumerated pieces: their bounds hold exact differences, on borders and where the input saturates; a wrong
rule, in the prover or in the checker, is noticed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from cell_nets import case, cells, checker, checker_form, cut, points_of, prover, wrong, wrong_at_points

from tinybound.certify import cells as cells_module
from tinybound.certify import compiled as compiled_module
from tinybound.certify import grow
from tinybound.certify import linear as linear_module
from tinybound.certify import pieces as pieces_module
from tinybound.certify import points as points_module
from tinybound.certify.cells import Numpy
from tinybound.certify.certificate import certify
from tinybound.certify.compiled import Compiled, kernel_of
from tinybound.certify.effort import Effort
from tinybound.certify.linear import Form
from tinybound.checker import cells as checker_cells
from tinybound.checker import chain as checker_chain
from tinybound.checker import lines as checker_lines
from tinybound.checker.lines import _State
from tinybound.domains.exact import run

SIDES = {"prover": prover, "checker": checker}


BOTH = [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seed", BOTH)
def test_bounds_hold(seed, side):
    each = case(seed)
    assert wrong(each, SIDES[side](each), seed) == []
    points = points_of(each)
    assert wrong_at_points(points, SIDES[side](points)) == 0


def integers_of(each):
    """Integers from the golden model, the prover and the checker, for inputs of all kinds."""
    rng, inputs = np.random.default_rng(0), each.pair.whole.values["x"].size
    q = np.concatenate([rng.integers(-128, 128, (300, inputs)), [[-128] * inputs, [127] * inputs]])
    name = each.pair.whole.outputs[0]
    golden = np.array([run(each.pair.whole, {"x": row})[name] for row in q])
    return golden, Numpy(each.chain).points(q.astype(float), q)[1], checker_form(each).whole(q)


@pytest.mark.parametrize("seed", range(6))
def test_integers_are_those_of_the_golden_model(seed):
    golden, mine, other = integers_of(case(seed))
    assert (golden == mine).all()
    assert (golden == other).all()


@pytest.mark.parametrize("module", [points_module, checker_chain])
def test_another_tie_is_noticed(module, monkeypatch):
    monkeypatch.setattr(module, "rounded", _ties_up)
    golden, mine, other = integers_of(case(0))
    assert not (golden == (mine if module is points_module else other)).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_checker_finds_no_more_than_the_prover(seed):
    """Else a certificate that was just made would be refused."""
    each = case(seed)
    mine, other = prover(each), checker(each)
    assert (other <= mine).all()
    assert (mine <= other + 1e-9).all()


def test_bounds_are_close():
    """On single cells, what is left is the float network's own curvature there: very little."""
    each = case(1)
    leaf = cells(each)
    low = np.random.default_rng(0)
    pieces = cut(each.whole, low, 400)
    found = leaf.bounds(pieces)
    assert (found.bound.max(axis=1) >= found.gap).all()
    assert np.median(found.bound.max(axis=1) / found.gap) < 1.05


def _half_up(self, piece, element, place):
    """A cut that gives the cell whose border it is to no piece."""
    entry = self.entries[0]
    n = min(max(floor(place / entry.units.scale + Fraction(1, 2)) + entry.units.zero, entry.lo), entry.hi)
    low, high = (list(end) for end in (piece.lower, piece.upper))
    low[element] = high[element] = place
    first, last = list(piece.first), list(piece.last)
    last[element], first[element] = n - 1, n
    return (
        replace(piece, upper=tuple(high), last=tuple(last)),
        replace(piece, lower=tuple(low), first=tuple(first)),
    )


def _forgets(name, **fields):
    """linear._clip with some of its results replaced."""
    right = getattr(linear_module, name)

    def changed(x, *more):
        form = right(x, *more)
        return replace(form, **{key: value(form, x) for key, value in fields.items()})

    return changed


def _without(g, before):
    """No symbols but those that there were."""
    old = before.shape[1]
    return np.concatenate([g[:, :old], 0 * g[:, old:]], axis=1)


def _unclipped(x, *_ends):
    return x


def _missing(pieces):
    owner, q, starts = cells_module_cells_of(pieces)
    q = q.copy()
    ends = np.append(starts[1:], len(q)) - 1
    q[ends] = q[starts]  # the last cell of every piece is never looked at
    return owner, q, starts


cells_module_cells_of = cells_module.cells_of
half_even = points_module.rounded


def _ties_up(n, m, s, mode, zero=0):
    return half_even(n, m, s, "tflite-single", zero)


PLANTED = {
    "a cut drops a cell": (pieces_module.Whole, "cut", _half_up),
    "a cell is missing": (cells_module, "cells_of", _missing),
    "the float network is not clipped": (linear_module, "_clip", _unclipped),
    "bands without width": (linear_module, "_clip", _forgets("_clip", g=lambda f, x: _without(f.g, x.g))),
    "a Jacobian without what is open": (linear_module, "_clip", _forgets("_clip", jr=lambda f, x: 0 * f.jr)),
    "the middle's value for the whole cell": (
        cells_module, "up", lambda v: v if np.ndim(v) != 2 or v.shape[1] != 2 else 0.999 * v,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_noticed(name, monkeypatch):
    monkeypatch.setattr(*PLANTED[name])
    assert any(wrong(each, prover(each), seed, 100) for seed, each in enumerate(map(case, range(14))))


CHECKER = {
    "a cell is missing": (checker_cells, "_integers", None),
    "the float network is not clipped": (checker_lines, "_activated", _unclipped),
    "no width": (checker_lines, "_symbols", lambda half, bent: np.zeros((len(half), 1, half.shape[1]))),
    "half of the cell": (checker_cells, "_borders", None),
}
all_integers, all_borders = checker_cells._integers, checker_cells._borders


def _fewer(leaf):
    q = all_integers(leaf).copy()
    q[-1] = q[0]
    return q


def _narrow(root):
    first, low, high = all_borders(root)
    quarter = float(root.scale) / 4
    return first, low + quarter, high - quarter


CHECKER["a cell is missing"] = (checker_cells, "_integers", _fewer)
CHECKER["half of the cell"] = (checker_cells, "_borders", _narrow)


@pytest.mark.parametrize("name", CHECKER)
def test_a_planted_bug_in_the_checker_is_noticed(name, monkeypatch):
    monkeypatch.setattr(*CHECKER[name])
    assert any(wrong(each, checker(each), seed, 100) for seed, each in enumerate(map(case, range(14))))


def _bare(monkeypatch, modules):
    for module in modules:
        for name, value in (("RHO", 0.0), ("TINY", 0.0), ("U", 0.0)):
            monkeypatch.setattr(module, name, value, raising=False)
        for name in ("up", "down"):
            monkeypatch.setattr(module, name, lambda v: v, raising=False)


def test_bounds_without_slack_are_noticed(monkeypatch):
    """At single points, rounding errors are all there is: without their slack, bounds fall short."""
    _bare(monkeypatch, (linear_module, cells_module, points_module))
    monkeypatch.setattr(cells_module, "scaled", lambda q, scale: (q * float(scale),) * 2)
    short = [wrong_at_points(each, prover(each)) for each in map(points_of, map(case, range(6)))]
    assert sum(short) > 10


def test_the_checkers_bounds_without_slack_are_noticed(monkeypatch):
    _bare(monkeypatch, (checker_lines, checker_cells, checker_chain))
    monkeypatch.setattr(checker_cells, "times", lambda q, scale: (q * float(scale),) * 2)
    monkeypatch.setattr(checker_chain, "slack", lambda terms, size: 0 * size)
    short = [wrong_at_points(each, checker(each)) for each in map(points_of, map(case, range(6)))]
    assert sum(short) > 10


def test_forms_keep_their_fields():
    """The planted forms above name fields that exist."""
    assert {"g", "jr"} <= set(Form.__dataclass_fields__)
    assert {"g", "k"} <= set(_State.__dataclass_fields__)


@pytest.fixture
def compiled():
    """The C kernel, or a skip."""
    if not isinstance(kernel_of(case(0).chain), Compiled):
        pytest.skip("no gcc")
    return kernel_of


@pytest.mark.parametrize("seed", range(6))
def test_both_kernels_give_the_same_numbers(seed, compiled):
    """Equal, not close: the operations are the same ones in the same order."""
    each = case(seed)
    lower, upper = cells_module.ends_of(each.pieces)
    mine, other = Numpy(each.chain).linear(lower, upper), compiled(each.chain).linear(lower, upper)
    for name in ("c", "g", "r", "lip", "score"):
        assert (getattr(mine, name) == getattr(other, name)).all(), name
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (200, lower.shape[1]))
    q = rng.integers(-128, 128, x.shape)
    for a, b in zip(Numpy(each.chain).points(x, q), compiled(each.chain).points(x, q), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("mode", ["half-even", "tflite-single", "tflite-double"])
def test_both_kernels_round_alike(mode, compiled):
    """Ties, sums of more than 32 bits, shifts of 0 and beyond 31."""
    m, s = np.array([1, 3, 2**30, 2**31 - 1, 1, 2**30 + 1]), np.array([0, 1, 30, 45, 2, 62])
    layer = replace(case(0).chain.layers[0], w=np.ones((6, 1)), b=np.zeros(6), counts=np.full((6, 1), 1.0))
    bias = np.array([0.0, 5.0, -3.0, 2.0**40, 2.0, -(2.0**44)])
    layer = replace(layer, bias=bias, m=m, s=s, mode=mode, lo=-(2**15), hi=2**15 - 1, zero=3)
    chain = replace(case(0).chain, layers=(layer,))
    q = np.arange(-300, 300)[:, None]
    mine, other = (kernel(chain).points(q.astype(float), q)[1] for kernel in (Numpy, compiled))
    assert (mine == other).all()
    assert len(np.unique(mine)) > 300


def test_without_a_compiler_the_certificate_is_the_same(monkeypatch, compiled):
    each = case(1)
    pair = each.pair
    texts = []
    for kernel in (compiled, Numpy):
        monkeypatch.setattr(grow, "kernel_of", kernel)
        made = certify(
            pair.real,
            pair.whole,
            pair.lower,
            pair.upper,
            hashes={},
            effort=Effort(60, cells=4096),
            budget=300,
        )
        texts.append(replace(made, seconds=0.0).dump())
    assert texts[0] == texts[1]
    assert b'"cells"' in texts[0]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    """Then numpy does the work."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    compiled_module._library.cache_clear()
    try:
        assert isinstance(kernel_of(case(0).chain), Numpy)
    finally:
        compiled_module._library.cache_clear()


def test_a_cache_that_others_can_write(tmp_path, monkeypatch):
    """Code that somebody else may have put there is not run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "tinybound"
    folder.mkdir()
    try:
        for mode, kernel in ((0o755, Compiled), (0o775, Numpy), (0o757, Numpy)):
            folder.chmod(mode)
            compiled_module._library.cache_clear()
            assert isinstance(kernel_of(case(0).chain), kernel)
    finally:
        compiled_module._library.cache_clear()
