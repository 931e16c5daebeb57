# SPDX-License-Identifier: Apache-2.0
"""The search for large differences sees inputs whose elements move together."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx_nets import Net
from pair_nets import Pair, Rational, fractions, points, reals, zoo

import tinybound
from tinybound.certify import attack as attacks
from tinybound.certify import certificate
from tinybound.certify.attack import COMBINED, attack
from tinybound.certify.backward import gradients
from tinybound.certify.batch import evaluate
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.search import Search
from tinybound.domains.exact import run
from tinybound.errors import PromiseError
from tinybound.options import Options
from tinybound.pipeline import build_networks

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_what_averages_is_attacked_by_inputs_that_move_as_one(tmp_path):
    """Samples of the domain hardly move a mean: its range is small, and a bright image leaves it."""
    net = Net(1, 2, 5, 3)
    sums = net.put("Relu", net.put("Conv", "x", net.normal(4, 2, 3, 3)))
    last = net.put("Gemm", net.put("Flatten", net.put("GlobalAveragePool", sums)), net.normal(4, 3))
    path = net.save(tmp_path, last)
    build = tinybound.compile(path, tmp_path / "B", tinybound.Options(target="c", domain="-3,2"))
    (entry,) = build.certificate["outputs"].values()

    (name,) = build.float_graph.outputs
    seen = 0.0
    for share in np.linspace(0, 1, 33):
        x = np.full((2, 5, 3), -3 + 5 * share)
        gap = build.predict({"x": x[None]})[name][0] - run(build.float_graph, {"x": x})[name]
        seen = max(seen, float(np.abs(gap).max()))

    assert seen > 0.3  # a step of the output is 0.04
    assert seen <= max(entry["attack"]) * (1 + 1e-9)
    assert max(entry["attack"]) <= max(entry["bound"])


def lived(pair):
    """What the search works on, for a pair of networks."""
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    twins = {name: name for name in pair.whole.outputs}
    return both, at, twins


@pytest.mark.parametrize("seed", range(8))
def test_gradients_are_those_of_the_float_network(seed):
    pair, rng = zoo(seed), np.random.default_rng(seed)
    (name,), out = pair.real.inputs, pair.real.outputs[0]
    x = np.stack([p[name] for p in points(pair, rng, 4)]) * 0.999
    seeds = {out: rng.normal(size=(4, *pair.real.values[out].shape))}
    slope = gradients(pair.real, {name: x}, seeds, [name])[name]
    towards, step = rng.normal(size=x.shape), 1e-7

    def total(at):
        return (evaluate(pair.real, {name: at}, [out])[out] * seeds[out]).reshape(4, -1).sum(axis=1)

    change = (total(x + step * towards) - total(x - step * towards)) / (2 * step)
    assert np.allclose((slope * towards).reshape(4, -1).sum(axis=1), change, rtol=1e-4, atol=1e-5)


def test_ends_of_cells_keep_the_integers_and_widen_the_difference():
    pair, rng = zoo(0), np.random.default_rng(0)
    both, at, twins = lived(pair)
    search = Search(pair.whole, both, at, twins, pair.real)
    flat = search.low + rng.random((200, search.low.size)) * (search.high - search.low)
    for k in range(2):
        moved = search.within(flat, k)
        inside = ((search.low <= moved) & (moved <= search.high)).all(axis=1)
        assert inside.all()
        before, after = (search.quantise(search.split(x))["x"] for x in (flat, moved))
        assert (before == after).all()
        gaps = search.gaps(flat)[:, k], search.gaps(moved)[:, k]
        assert (gaps[1] >= gaps[0]).mean() > 0.9  # a kink of the float side may spoil a few
        assert (gaps[1] > gaps[0]).mean() > 0.5  # elsewhere the output is constant


def test_the_gradient_finds_what_random_search_does_not(monkeypatch):
    pair = digits_ball()
    both, at, twins = lived(pair)
    (out,) = twins
    found = attack(pair.real, pair.whole, both, at, twins, seed=0, budget=4000).found[out].max()
    monkeypatch.setattr(Search, "within", lambda self, flat, k: flat)
    monkeypatch.setattr(Search, "corners", lambda self, flat, k: flat)
    blind = attack(pair.real, pair.whole, both, at, twins, seed=0, budget=4000).found[out].max()
    assert found > 1.2 * blind


@pytest.mark.slow
def test_of_many_inputs_few_are_moved_at_a_time(monkeypatch):
    """Roundings that were won are kept; moves of a third of the inputs and more turn them all."""
    pair = digits_ball("digits_cnn")
    both, at, twins = lived(pair)
    (out,) = twins

    def found():
        each = [attack(pair.real, pair.whole, both, at, twins, seed=seed, budget=6000) for seed in (0, 1)]
        return sum(one.found[out].max() for one in each)

    few = found()
    monkeypatch.setattr(attacks, "FEW", 64)
    assert few > 1.05 * found()


def test_where_evaluations_take_long_a_brief_search_keeps_to_its_budget(monkeypatch):
    """Else every output takes its share, up to 16 of them: `compile` waited for that of large networks."""
    pair = digits_ball()
    both, at, twins = lived(pair)
    (out,) = twins
    counts, inputs = [], []
    plain, proven = Search.values, attacks.enclosed
    monkeypatch.setattr(Search, "values", lambda self, x: counts.append(len(x)) or plain(self, x))
    monkeypatch.setattr(attacks, "enclosed", lambda *a: inputs.append(1) or proven(*a))

    def sought(budget, *, brief):
        counts.clear(), inputs.clear()
        found = attack(pair.real, pair.whole, both, at, twins, seed=0, budget=budget, brief=brief).found[out]
        return sum(counts), len(inputs), found.max()

    (few, two, brief), (all_, ten, long) = sought(700, brief=True), sought(700, brief=False)
    assert few < 2 * 700 < all_ / 2
    assert (two, ten) == (2, 10)
    assert brief > 0.7 * long
    assert sought(20_000, brief=True) == sought(20_000, brief=False)


def digits_ball(model="digits_mlp"):
    nets = build_networks(EXAMPLES / f"{model}.onnx", Options(domain="0,1"))
    (name,) = nets.integer_graph.inputs
    x = np.load(EXAMPLES / f"{model}_test.npz")["x"][0].astype(float)
    low, high = (np.clip(x + r, 0, 1) for r in (-1 / 16, 1 / 16))
    return Pair(nets.float_graph, nets.integer_graph, {name: low}, {name: high})


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_a_combination_is_shown_by_its_witness(seed):
    pair, rng = zoo(seed), np.random.default_rng(seed)
    both, at, twins = lived(pair)
    size = sum(pair.whole.values[name].size for name in twins)
    weights = rng.normal(size=(2, size))
    made = attack(pair.real, pair.whole, both, at, twins, seed=0, budget=2000, weights=weights)
    for k in range(2):
        x = made.witness[COMBINED][k]
        real, whole = run(pair.real, fractions(x), Rational()), run(pair.whole, pair.quantise(x))
        d = np.concatenate([(reals(pair.whole.values[n], whole[n]) - real[n]).ravel() for n in twins])
        exact = abs(sum(Fraction(float(w)) * v for w, v in zip(weights[k], d, strict=True)))
        assert Fraction(made.found[COMBINED][k]) <= exact
        assert made.found[COMBINED][k] == pytest.approx(float(exact), rel=1e-6)


def test_a_bound_below_an_attack_stops_everything(monkeypatch):
    pair = zoo(1)

    monkeypatch.setattr(certificate, "largest", lambda both, found, names: {
        name: 1e-6 + 0 * found[both.values[name]].ud for name in names
    })  # fmt: skip
    with pytest.raises(PromiseError, match="mistake of tinybound's"):
        certificate.certify(pair.real, pair.whole, pair.lower, pair.upper, hashes={})
