# SPDX-License-Identifier: Apache-2.0
"""Backward passes of single elements, through what they read alone: the ranges of passes through all."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from checker_nets import random_build
from pair_nets import NONE, RELU, RELU6, Sketch, ranges, violations

from tinybound.certify.certificate import ONCE
from tinybound.certify.effort import Effort
from tinybound.checker import check_certificate
from tinybound.domains import pair_window
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_product import PairProduct
from tinybound.domains.pair_window import BUDGET, Passes

ENDS = ("lx", "ux", "ly", "uy", "ld", "ud")


def separable(seed):
    """As in DS-CNN: a convolution, one of each channel, one of each place, an average, a layer of all."""
    s = Sketch(seed, (1, 6, 4), lower=-0.3, upper=0.3)
    h = s.conv("x", 4, RELU)
    h = s.conv(h, 4, RELU, groups=4)
    h = s.conv(h, 5, RELU6, kernel=(1, 1), pads=(0, 0, 0, 0))
    return s.build(s.dense(s.flat(s.average(h, (2, 2))), 3, NONE), squeeze=1.1)


def residual(seed):
    """Two readers of one tensor, groups of two channels, a maximum, strides."""
    s = Sketch(seed, (2, 5, 5), lower=-0.3, upper=0.3)
    h = s.conv("x", 4, RELU, strides=(2, 2))
    h = s.add(h, s.conv(h, 4, NONE, groups=2))
    return s.build(s.dense(s.flat(s.maximum(h, (2, 2))), 3, NONE), squeeze=0.9)


NETS = {"separable": separable, "residual": residual}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NETS)
def test_windows_change_no_range(name, seed, monkeypatch):
    pair = NETS[name](seed)
    whole = ranges(pair, PairCrown())
    monkeypatch.setattr(pair_window, "ROWS", 1)
    parts = ranges(pair, PairCrown())
    for value, box in whole.items():
        for end in ENDS:
            a, b = getattr(box, end), getattr(parts[value], end)
            assert np.allclose(a, b, rtol=1e-9, atol=1e-12), (value, end)
    assert violations(pair, {"windows": parts}, seed, 12) == set()


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize("sums", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 2))])
def test_passes_that_are_stopped(sums, tmp_path, monkeypatch):
    """A clock that runs out after some sums: the checker narrows the same ones and confirms the claims."""
    asked = iter(range(10**6))
    build = random_build(3, tmp_path)
    monkeypatch.setattr(Effort, "over", lambda _: next(asked) >= sums)
    effort = replace(ONCE, passes=1 << 24)  # those that are always made cost 2^18 at most
    certificate = build.certify(build.domain, effort=effort)
    assert certificate.document()["passes"] == {"work": 1 << 24, "sums": sums}
    verdict = check_certificate(build.folder / "certificate.json", build.folder)
    assert verdict["accepted"], verdict["reason"]


def test_stopped_passes_bound_nothing_together():
    """The clock runs out at the outputs: their pass costs little and is made; what is bounded together behind
    it does not, and the checker, who knows how many sums were narrowed before, does without."""
    s, most = Sketch(1, (24,)), 1 << 28
    pair = s.build(s.dense(s.dense(s.dense("x", 48), 48), 20, NONE), squeeze=4.0)
    asked = iter(range(10**6))
    stopped = Passes(most, stop=lambda: next(asked) >= 2)
    whole, at_clock, told = (
        ranges(pair, PairCrown(passes=passes)) for passes in (Passes(most), stopped, Passes(most, 2))
    )
    assert stopped.described() == {"work": most, "sums": 2}
    out = pair.whole.outputs[0]
    assert (whole[out].ud < told[out].ud).any()
    assert all((getattr(at_clock[out], end) == getattr(told[out], end)).all() for end in ENDS)


@pytest.mark.usefixtures("quick_attack")
def test_passes_that_nobody_may_ask_for(tmp_path):
    """More work than a checker does, none, or no such field."""
    build = random_build(1, tmp_path)
    path = build.folder / "certificate.json"
    document = json.loads(path.read_text())
    for passes in ({"work": 1 << 39, "sums": None}, {"work": 0, "sums": None}, {"work": BUDGET}, 5):
        path.write_text(json.dumps({**document, "passes": passes}))
        verdict = check_certificate(path, build.folder)
        assert not verdict["accepted"]
        assert "passes" in verdict["reason"]


def test_passes_of_x_where_others_cost_too_much():
    """A sum whose passes of all kinds are too dear: x is as narrow as its own passes make it, and no more
    than that is known of d."""
    pair, most = separable(0), 5_000_000  # a quarter lies between what both kinds of pass cost at the second
    usual, product = ranges(pair, PairCrown()), ranges(pair, PairProduct())
    alone = ranges(pair, PairCrown(only_x=True))
    real = ranges(pair, PairCrown(passes=Passes(most)))
    second = pair.whole.nodes[2].output
    assert (real[second].ux <= alone[second].ux + 1e-9).all()
    assert (real[second].lx >= alone[second].lx - 1e-9).all()
    assert (real[second].ux < product[second].ux - 1e-6).any()
    assert (real[second].ud > usual[second].ud + 1e-6).any()
    assert violations(pair, {"x alone": real}, 0, 12) == set()


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize("work", [1 << 14, 1 << 15])
def test_checker_makes_the_same_passes_of_x(work, tmp_path, monkeypatch):
    """And no others: its bound is the claim, but for the claim's margin."""
    made, stopped = list[bool](), Passes.stopped
    build = random_build(1, tmp_path)

    def noted(passes, cost, done, *, of_x):
        made.append(of_x)
        return stopped(passes, cost, done, of_x=of_x)

    monkeypatch.setattr(Passes, "stopped", noted)
    certificate = build.certify(build.domain, effort=replace(ONCE, passes=work))
    assert any(made)
    verdict = check_certificate(build.folder / "certificate.json", build.folder)
    assert verdict["accepted"], verdict["reason"]
    for name, claimed in certificate.document()["outputs"].items():
        assert max(claimed["bound"]) == max(claimed["domains"]["crown"]) < max(claimed["domains"]["product"])
        assert verdict["bound"][name] == pytest.approx(max(claimed["bound"]), rel=1e-8)
