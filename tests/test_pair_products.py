# SPDX-License-Identifier: Apache-2.0
"""Ranges of products, differences, joined and taken tensors hold the exact values; mistakes are seen."""

import numpy as np
import pytest
from pair_nets import NONE, RELU, Sketch, broken

from tinybound.domains import pair_forms, pair_multiply
from tinybound.ops import Add, Concat, MatMul, Mul, Reshape, Take


def network(seed):
    """Products, a square, a difference, joined parts and zeros put in, around small convolutions."""
    rng = np.random.default_rng(seed)
    wide, middle = float(rng.choice([0.01, 0.2, 1.0])), rng.uniform(-1, 1, (2, 3, 3))
    s = Sketch(seed, (2, 3, 3), lower=middle - wide, upper=middle + wide, two=bool(rng.integers(2)))
    a, b = s.conv("x", 2, RELU if seed % 2 else NONE), s.conv("x", 2, NONE)
    h = s.put(NONE, s.put(Mul(), a, b))
    if seed % 3 == 0:
        h = s.put(NONE, s.put(Mul(), h, h))
    elif seed % 3 == 1:
        h = s.put(RELU, s.put(Add(mb=-1), h, a))
    positions = np.pad(np.arange(18).reshape(2, 3, 3)[:, ::-1], ((0, 0), (1, 0), (0, 2)), constant_values=-1)
    h = s.put(Take(positions, (2, 3, 3)), h)
    joined = s.put(Concat(1), s.put(NONE, h), s.put(RELU, h))
    squeeze = float(rng.choice([0.5, 0.9, 1.3]))
    return s.build(s.dense(s.flat(joined), 2, NONE), squeeze=squeeze, top=int(rng.choice([7, 127])))


@pytest.mark.parametrize(
    "seed", [*range(9), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(9, 24))]
)
def test_ranges_hold_the_truth(seed):
    assert broken(network(seed), seed, 14) == set()


def dots(seed):
    """Dot products of rows: of two layers, of what comes of them, of a tensor with itself; factors behind."""
    rng = np.random.default_rng(seed)
    wide, middle = float(rng.choice([0.01, 0.2, 1.0])), rng.uniform(-1, 1, (2, 3, 3))
    s = Sketch(seed, (2, 3, 3), lower=middle - wide, upper=middle + wide, two=bool(rng.integers(2)))
    a, b = (s.put(Reshape((6, 3)), s.conv("x", 2, clip)) for clip in (RELU, NONE))
    if seed % 3 == 0:
        b = a
    groups = 1 + seed % 2
    h = s.put(
        NONE, s.put(MatMul((groups, 6 // groups, 6 // groups, 3), factor=float(rng.uniform(0.2, 2))), a, b)
    )
    turned = np.arange(18).reshape(6, 3)
    if groups == 1:
        h = s.put(RELU, s.put(MatMul((1, 6, 3, 6)), h, s.put(Take(turned.T, (6, 3)), b)))
    squeeze = float(rng.choice([0.5, 0.9, 1.3]))
    return s.build(s.dense(s.flat(h), 2, NONE), squeeze=squeeze, top=int(rng.choice([7, 127])))


SEEDS = [seed if seed < 2 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(24)]


@pytest.mark.parametrize("seed", SEEDS)
def test_ranges_of_dot_products_hold_the_truth(seed):
    assert broken(dots(seed), seed, 6) == set()


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["radii forgotten", "two corners only"])
def test_a_planted_mistake_is_seen_in_dot_products(plant, monkeypatch):
    name, wrong = PLANTED[plant]
    monkeypatch.setattr(pair_multiply, name, wrong)

    assert any(broken(dots(seed), seed, 12) for seed in range(6))


@pytest.mark.parametrize("seed", [3, 4])
def test_few_symbols(seed, monkeypatch):
    monkeypatch.setattr(pair_forms, "LIMIT", 600)
    monkeypatch.setattr(pair_multiply, "LIMIT", 600)
    assert broken(network(seed), seed, 8) == set()


def flat(low, high):
    """A radius of nothing."""
    middle = 0.5 * low + 0.5 * high
    return middle, np.zeros_like(middle)


PLANTED = {
    "radii forgotten": ("centre", flat),
    "two corners only": ("_times", lambda a, b: (np.minimum(a[0] * b[0], a[1] * b[1]),
                                                 np.maximum(a[0] * b[0], a[1] * b[1]))),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_mistake_is_seen(plant, monkeypatch):
    name, wrong = PLANTED[plant]
    monkeypatch.setattr(pair_multiply, name, wrong)

    assert any(broken(network(seed), seed, 20) for seed in range(6))


def test_a_joined_form_that_forgets_symbols_is_seen(monkeypatch):
    from tinybound.domains import pair_zonotope

    def wrong(parts, axis):
        new = pair_forms.joined(parts, axis)
        new.gx[:] = new.gd[:] = 0.0
        return new

    monkeypatch.setattr(pair_zonotope, "joined", wrong)

    assert any(broken(network(seed), seed, 20) for seed in range(6))
