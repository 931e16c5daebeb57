# SPDX-License-Identifier: Apache-2.0
"""Ends of a few sums behind sums over maxima: no value lies beyond them; the checker confirms."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from corner_nets import BEHIND, DOMAIN, network
from test_corners import certified, climbed, inputs_of, scrambled, verdict

from tinybound.certify import corner_rows
from tinybound.certify.branch import ranges_within
from tinybound.certify.certificate import twin_of
from tinybound.certify.corner_rows import Behind
from tinybound.certify.lockstep import entries, lockstep
from tinybound.checker import backward, crown
from tinybound.checker import corners as checked
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_window import BUDGET, Passes
from tinybound.options import Options
from tinybound.pipeline import build_networks


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Kind, seed -> both networks."""
    folder, found = tmp_path_factory.mktemp("behind"), {}
    for kind, seed in itertools.product(BEHIND, range(3)):
        net, out = network(kind, seed)
        found[kind, seed] = build_networks(net.save(folder, out), Options(domain=DOMAIN))
    return found


def beyond(both_nets, *, narrow=False, seed=0):
    """(how far some value lies beyond its ends, values, how many ends are nearer than crown's)."""
    real, whole = both_nets.float_graph, both_nets.integer_graph
    low, high, xs = inputs_of(whole.values["x"].shape, np.random.default_rng(seed), narrow)
    both = lockstep(real, whole)
    at = entries(both, whole, {"x": low}, {"x": high})
    alone = ranges_within(both, at, {}, Passes(BUDGET))
    behind = Behind(both, at, {}, lambda: False)
    boxes = ranges_within(both, at, {}, Passes(BUDGET), more=behind.narrowed)
    far, nearer = -np.inf, 0
    for value, sides in behind.sides.items():
        top, bottom = climbed(real, twin_of(real, whole, value), xs, low, high)
        box, before = (each[both.values[value]] for each in (boxes, alone))
        far = max(far, (top - box.ux.ravel()).max(), (box.lx.ravel() - bottom).max())
        for side in sides:
            end = (before.ux if side.upper else before.lx).ravel()[side.element]
            most = (top if side.upper else bottom)[side.element]
            far = max(far, most - side.end if side.upper else side.end - most)
            nearer += abs(side.end - most) < 0.9 * abs(end - most)
    return far, [*behind.sides], nearer


@pytest.mark.parametrize("kind", BEHIND[:3])
def test_no_value_lies_beyond_its_ends(kind, nets):
    found = [beyond(nets[kind, seed], narrow=seed == 1, seed=seed) for seed in range(3)]
    assert max(far for far, _, _ in found) <= 1e-12
    assert sum(nearer for _, _, nearer in found) > 2


def test_rows_that_read_more_than_maxima(nets):
    values = beyond(nets["branch", 0])[1]
    assert values
    assert nets["branch", 0].integer_graph.outputs[0] + ".sum" not in values


def test_no_more_than_a_checker_looks_at(nets, monkeypatch):
    monkeypatch.setattr(corner_rows, "WORK", 0)
    assert beyond(nets["dense", 0])[1] == []


def less(true, share=0.9, added=0.02):
    """Rows that are a little too small."""

    def on(self, place, earlier, x):
        found = true(self, place, earlier, x)
        return None if found is None else (share * found[0], found[1] - added)

    return on


def less_added(m):
    m.setattr(PairCrown, "on", less(PairCrown.on, 1.0, 0.1))


def one_way(m):
    """Lower ends from rows of upper ones."""
    true = PairCrown.on
    m.setattr(PairCrown, "on", lambda self, place, earlier, x: true(self, place, earlier, np.abs(x)))


def smaller(m):
    m.setattr(PairCrown, "on", less(PairCrown.on, added=0.0))


@pytest.mark.parametrize("plant", [smaller, one_way, less_added])
def test_a_wrong_prover_is_seen(plant, nets, monkeypatch):
    plant(monkeypatch)
    assert max(beyond(nets[kind, seed])[0] for kind in BEHIND[:2] for seed in range(3)) > 1e-6


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return certified("averaged", 0, tmp_path_factory.mktemp("built"))


def last(document):
    """The sum behind."""
    return [*document["corners"]][-1]


def test_the_checker_finds_the_same(built):
    document = built[0]
    answer = verdict(document, built)
    assert answer["accepted"], answer["reason"]
    assert len(document["corners"]) == 3
    without = json.loads(json.dumps(document))
    del without["corners"][last(document)]
    assert not verdict(without, built)["accepted"]


def test_maxima_that_are_moved(tmp_path):
    """By a layer of its own, between pool and convolution."""
    document, *where = certified("moved", 0, tmp_path)
    assert len(document["corners"]) > 1
    answer = verdict(document, (0, *where))
    assert answer["accepted"], answer["reason"]


@pytest.mark.parametrize("name", ["x", "nothing"])
def test_ends_of_what_is_not_behind(name, built):
    rows = built[0]["corners"][last(built[0])]
    answer = verdict({**built[0], "corners": {name: rows}}, built)
    assert not answer["accepted"]
    assert "corners" in answer["reason"]


def test_ends_of_rows_that_read_more(tmp_path, built):
    document, *where = certified("branch", 0, tmp_path)
    (value,) = (out["value"] for out in document["outputs"].values())
    rows = built[0]["corners"][last(built[0])]
    answer = verdict({**document, "corners": {**document["corners"], value + ".sum": rows[:1]}}, (0, *where))
    assert not answer["accepted"]
    assert "more than maxima" in answer["reason"]


def over(built, monkeypatch, rng=None):
    """How far some value lies beyond what the checker makes of the multipliers, or (rng) of others."""
    found, document = {}, built[0]
    if rng is not None:
        rows = {value: [scrambled(row, rng) for row in each] for value, each in document["corners"].items()}
        document = {**document, "corners": rows}
    true = checked.Ends.behind

    def behind(self, name, *rest):
        box = true(self, name, *rest)
        found.update({} if box is None else {name: box})
        return box

    with monkeypatch.context() as m:
        m.setattr(checked.Ends, "behind", behind)
        verdict(document, built)
    net, far = build_networks(built[2] / "float.onnx", Options(domain=DOMAIN)), -np.inf
    low, high, xs = inputs_of((1, 4, 4), np.random.default_rng(0), narrow=False)
    for value, box in found.items():
        twin = twin_of(net.float_graph, net.integer_graph, value)
        top, bottom = climbed(net.float_graph, twin, xs, low, high)
        far = max(far, (top - box[1].ravel()).max(), (box[0].ravel() - bottom).max())
    return far


def test_any_multipliers_prove_what_is_true(built, monkeypatch):
    for rng in (None, np.random.default_rng(0)):
        assert over(built, monkeypatch, rng) <= 1e-12


@pytest.mark.parametrize("plant", ["rows", "held"])
def test_a_wrong_checker_is_noticed(plant, built, monkeypatch):
    if plant == "rows":
        monkeypatch.setattr(backward.Tape, "on", less(backward.Tape.on))
        assert over(built, monkeypatch) > 1e-6
        return
    true = crown.Crown._held
    monkeypatch.setattr(crown.Crown, "_held", lambda *args: super(crown.Crown, args[0])._held(*args[1:]))
    assert not verdict(built[0], built)["accepted"]
    monkeypatch.setattr(crown.Crown, "_held", true)
    assert verdict(built[0], built)["accepted"]
