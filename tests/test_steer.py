# SPDX-License-Identifier: Apache-2.0
"""Roundings that are drawn to where they add up: inside the box, as reported, and larger than by chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pair_nets import NONE, RELU, Sketch, points

from tinybound.certify import steer
from tinybound.certify.backward import gradients
from tinybound.certify.batch import evaluate
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.search import Search
from tinybound.certify.steer import Steering


def wide(seed=0):
    """Many inputs, fewer neurons, in a ball of three steps of the input."""
    s = Sketch(seed, (200,))
    pair = s.build(s.dense(s.dense(s.dense("x", 30, RELU), 20, RELU), 2, NONE))
    middle = np.random.default_rng(seed).uniform(-0.9, 0.9, 200)
    return replace(pair, lower={"x": middle - 3 / 128}, upper={"x": middle + 3 / 128})


def search_of(pair):
    """On the grid: hidden roundings are all that inputs can turn."""
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper, grid=True)
    return Search(pair.whole, both, at, {name: name for name in pair.whole.outputs}, pair.real)


def found(search, seed=0, count=16):
    """Starts, and what they are drawn to for output 0."""
    x = search.low + np.random.default_rng(seed).random((count, search.low.size)) * (search.high - search.low)
    return x, *Steering(search).drawn(x.copy(), 0, 60)


def test_differences_are_those_at_the_inputs_and_larger_than_by_chance():
    gains = []
    for seed in range(3):
        search = search_of(wide(seed))
        start, best, score = found(search)
        assert ((search.low <= best) & (best <= search.high)).all()
        assert np.array_equal(score, search.gaps(best)[:, 0])
        assert (score >= search.gaps(start)[:, 0]).all()
        rng = np.random.default_rng(1)
        chance = search.low + rng.random((960, search.low.size)) * (search.high - search.low)
        gains.append(score.mean() / search.gaps(search.clip(chance))[:, 0].mean())
    assert min(gains) > 1.5, gains


def test_not_drawn_roundings_do_not_add_up(monkeypatch):
    search = search_of(wide())
    _, _, right = found(search)
    monkeypatch.setattr(steer, "FIRST", 0.0)
    _, _, wrong = found(search)
    assert right.mean() > 1.4 * wrong.mean()


def test_gradients_of_values_inside():
    """Of a sum of several values, with respect to an input and to a value that one of them reads."""
    pair, rng = wide(), np.random.default_rng(2)
    x = np.stack([p["x"] for p in points(pair, rng, 5)])
    inside, out = pair.real.nodes[1].output, pair.real.outputs[0]
    seeds = {name: rng.normal(size=(5, *pair.real.values[name].shape)) for name in (inside, out)}
    slope = gradients(pair.real, {"x": x}, seeds, ["x", inside])

    def total(at):
        values = evaluate(pair.real, {"x": at}, [inside, out])
        return sum((values[name] * seeds[name]).reshape(5, -1).sum(axis=1) for name in seeds)

    towards = 1e-6 * rng.normal(size=x.shape)
    change = total(x + towards) - total(x - towards)
    assert np.allclose(2 * (slope["x"] * towards).sum(axis=1), change, rtol=1e-5, atol=1e-10)
    moved = evaluate(pair.real, {"x": x + towards}, [inside])[inside]
    least = evaluate(pair.real, {"x": x - towards}, [inside])[inside]
    assert np.allclose((slope[inside] * (moved - least)).sum(axis=1), change, rtol=1e-5, atol=1e-10)
