# SPDX-License-Identifier: Apache-2.0
"""Boxes of many inputs cut by neurons: exact values stay inside the pieces, the checker finds the same."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from checker_nets import by_neurons
from pair_nets import Rational, fractions, points, reals
from test_pair_crown import deep, upper_for_lower

from tinybound.certify import certificate, neurons
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.pieces import Limit, Neuron
from tinybound.checker import check, check_certificate, cover
from tinybound.checker.analysis import Analysis
from tinybound.checker.envelopes import Entry
from tinybound.checker.files import Rejected
from tinybound.domains.exact import run


def limits_of(pair, both, rng):
    """Some neurons on some side of a number, which points of the box can be on."""
    names = [node.inputs[0] for node in pair.whole.nodes if type(node.op).__name__ == "Requantise"]
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(names))
        neuron = Neuron(name, int(rng.integers(pair.whole.values[name].size)), str(rng.choice(["x", "y"])))
        yield Limit(neuron, Fraction(int(rng.integers(-20, 21)), 100), bool(rng.random() < 0.5))


def outside(seeds, **how):
    """(values of exact points outside the ranges of their pieces, points that lay in a piece)."""
    over = tried = 0
    for seed in seeds:
        pair, rng = deep(seed), np.random.default_rng(seed)
        both = lockstep(pair.real, pair.whole)
        at, outputs = entries(both, pair.whole, pair.lower, pair.upper), list(pair.whole.outputs)
        known = neurons.bounded(both, at, (), outputs, {}).boxes
        each = [
            (run(pair.real, fractions(x), Rational(i)), run(pair.whole, pair.quantise(x)))
            for i, x in enumerate(points(pair, rng, 12))
        ]
        for _ in range(6):
            limits = tuple(limits_of(pair, both, rng))
            found = neurons.bounded(both, at, limits, outputs, known, **how)
            for real, whole in each:
                sides = {
                    name: {"x": np.asarray(real[name]), "y": reals(pair.whole.values[name], whole[name])}
                    for name in both.values
                    if name not in both.inputs
                }
                if not all(_holds(limit, sides) for limit in limits):
                    continue
                tried += 1
                over += not found.boxes  # a piece that is said to be empty
                for position, box in found.boxes.items():
                    name = next(n for n, p in both.values.items() if p == position)
                    x, y = sides[name]["x"], sides[name]["y"]
                    inside = (box.lx <= x) & (x <= box.ux) & (box.ly <= y) & (y <= box.uy)
                    over += not (inside & (box.ld <= y - x) & (y - x <= box.ud)).all()
                for name in outputs:
                    gap = np.abs(sides[name]["y"] - sides[name]["x"])
                    over += not (gap <= found.bound[name]).all()
    return over, tried


def _holds(limit, sides):
    value = sides[limit.neuron.value][limit.neuron.side].ravel()[limit.neuron.element]
    return value >= limit.place if limit.over else value <= limit.place


@pytest.mark.parametrize("only_x", [False, True])
def test_exact_values_stay_in_their_pieces(only_x):
    over, tried = outside([0], only_x=only_x)
    assert (over, tried > 15) == (0, True)


def test_a_wrong_line_of_x_is_caught(monkeypatch):
    """Passes for x alone rest on it."""
    upper_for_lower(monkeypatch)
    assert outside([0], only_x=True)[0] > 0


def other_side(both, limits):
    return true_ranges(both, [replace(limit, over=not limit.over) for limit in limits])


def other_network(both, limits):
    turned = {"x": "y", "y": "x"}
    neuron = [replace(limit.neuron, side=turned[limit.neuron.side]) for limit in limits]
    return true_ranges(both, [replace(old, neuron=new) for old, new in zip(limits, neuron, strict=True)])


true_ranges = neurons._ranges


@pytest.mark.parametrize(("wrong", "seed"), [(other_side, 0), (other_network, 2)])
def test_a_wrong_limit_is_caught(wrong, seed, monkeypatch):
    monkeypatch.setattr(neurons, "_ranges", wrong)
    assert outside([seed])[0] > 0


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """(document, path, folder): a network of 12 inputs whose box is cut in 8 pieces."""
    build = by_neurons(tmp_path_factory.mktemp("cut"), 12, 8)
    path = build.folder / "certificate.json"
    return json.loads(path.read_text()), path, build.folder


@pytest.fixture(scope="module")
def saturating(tmp_path_factory):
    """The same of a network whose outputs can be twice what it was calibrated for."""
    build = by_neurons(tmp_path_factory.mktemp("saturating"), 16, 6, calibrated=True)
    path = build.folder / "certificate.json"
    return json.loads(path.read_text()), path, build.folder


def test_where_outputs_saturate_the_float_network_is_bounded(saturating):
    document = saturating[0]
    assert document["leaves"] == ["float"] * 6
    answer = verdict(document, saturating)
    assert answer["accepted"], answer["reason"]
    (output,) = document["outputs"].values()
    (found,) = answer["bound"].values()
    assert found <= max(output["bound"]) <= found * (1 + 1e-8)
    assert max(output["bound"]) < 0.95 * max(output["domains"]["crown"])


def test_pieces_that_gain_too_little_are_left_out(cut, tmp_path, monkeypatch):
    monkeypatch.setattr(certificate, "GAIN", 0.1)
    build = by_neurons(tmp_path, 12, 8)
    path = build.folder / "certificate.json"
    document = json.loads(path.read_text())
    assert document["tree"] == [None]
    assert "leaves" not in document
    assert len(cut[0]["tree"]) > 1
    (output,), (before,) = document["outputs"].values(), cut[0]["outputs"].values()
    assert max(output["bound"]) == max(output["domains"]["crown"]) > max(before["bound"])
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]


def test_a_piece_is_no_worse_than_what_it_was_cut_from(saturating, monkeypatch):
    """And without that the claims are not confirmed."""
    true = check._least
    monkeypatch.setattr(check, "_least", lambda method, *rest, **how: true("crown", *rest, **how))
    monkeypatch.setitem(check.LEAVES, "crown", check.LEAVES["float"])
    assert not verdict(saturating[0], saturating)["accepted"]


def test_limits_of_limits_are_not_compared(saturating, monkeypatch):
    """Of thousands, one in the other, that takes hours: 300 KB of certificate."""
    monkeypatch.setattr(cover.Limit, "__hash__", None)
    monkeypatch.setattr(cover.Limit, "__eq__", None)
    assert verdict(saturating[0], saturating)["accepted"]


def test_a_bound_below_a_saturating_piece(saturating):
    (name,) = saturating[0]["outputs"]
    output = saturating[0]["outputs"][name]
    lower = {**output, "bound": [0.999 * b for b in output["bound"]]}
    lower["bound_e9"] = int(max(lower["bound"]) * 1e9) + 1
    assert not verdict({**saturating[0], "outputs": {name: lower}}, saturating)["accepted"]


def verdict(document, cut):
    cut[1].write_text(json.dumps(document))
    return check_certificate(cut[1], cut[2])


def test_the_checker_finds_the_same(cut):
    document = cut[0]
    cuts = [node for node in document["tree"] if node is not None]
    assert len(cuts) == 7
    assert {len(node) for node in cuts} == {4}
    assert len(document["leaves"]) == 8
    assert set(document["leaves"]) == {"crown", "float"}
    answer = verdict(document, cut)
    assert answer["accepted"], answer["reason"]
    (output,) = document["outputs"].values()
    (found,) = answer["bound"].values()
    assert found <= max(output["bound"]) <= found * (1 + 1e-8)
    assert max(output["bound"]) < 0.99 * max(output["domains"]["crown"])


def changed(document, at, new):
    tree = [list(node) if node else None for node in document["tree"]]
    if at is None:
        tree = [*tree[:-1]] if new is None else [*tree, new]
    else:
        tree[0][at] = new
    return {**document, "tree": tree}


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, "x"), (0, "nothing"), (0, None), (1, 12), (1, -1), (1, True), (2, "z"), (2, None), (2, 0),
        (3, "-1000/1"), (3, "1/0"), (3, 0.0), (3, f"{1 << 300}/1"), (None, None),
    ],
)  # fmt: skip
def test_forged_cuts(at, new, cut):
    """A neuron that is none, a cut beside all inputs, a piece dropped."""
    answer = verdict(changed(cut[0], at, new), cut)
    assert not answer["accepted"]
    assert "damaged" not in answer["reason"]


def test_a_tree_that_is_a_line_is_refused_before_it_fills_the_memory():
    """Every piece holds its limits: of n cuts one in the other there are n^2 of them."""
    entry = Entry((Fraction(0),) * 9, (Fraction(1),) * 9, Fraction(1, 100), 0, (9,), (-128, 127), False)
    line = [["v", 0, "x", "0/1"], None] * 6000 + [None]
    with pytest.raises(Rejected, match="one in the other"):
        cover.leaves(line, {"x": entry}, {"v": 1})
    assert len(cover.leaves([*line[:400], None], {"x": entry}, {"v": 1})) == 201


def test_a_bound_below_a_piece(cut):
    (name,) = cut[0]["outputs"]
    output = cut[0]["outputs"][name]
    lower = {**output, "bound": [0.999 * b for b in output["bound"]]}
    lower["bound_e9"] = int(max(lower["bound"]) * 1e9) + 1
    assert not verdict({**cut[0], "outputs": {name: lower}}, cut)["accepted"]


def halves_that_are_one(m):
    true = cover._by_neuron
    m.setattr(cover, "_by_neuron", lambda *args: true(*args)[1:] * 2)


def at_least_as_at_most(m):
    true = Analysis._held

    def held(self, name, out):
        self.limits = tuple(replace(limit, over=False) for limit in self.limits)
        return true(self, name, out)

    m.setattr(Analysis, "_held", held)


@pytest.mark.parametrize("plant", [halves_that_are_one, at_least_as_at_most])
def test_a_wrong_checker_is_noticed(plant, cut, monkeypatch):
    """With it the forgery below all inputs would pass, as two pieces without any."""
    forged = changed(cut[0], 3, "-1000/1")
    assert not verdict(forged, cut)["accepted"]
    plant(monkeypatch)
    assert verdict(forged, cut)["accepted"]
