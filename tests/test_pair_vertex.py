# SPDX-License-Identifier: Apache-2.0
"""The vertex rule, chords and lattice rounding on single neurons, against exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybound.domains import pair_vertex
from tinybound.domains.pair_box import Box
from tinybound.domains.pair_float import above, lattice, rounded, scaled
from tinybound.domains.pair_vertex import Envelope, Slopes, Vertices, activation

ENDS = st.floats(-4, 4, allow_nan=False).map(lambda v: float(np.float32(v)))
LIMITS = st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (0.0, 1.5), (-0.7, 0.3)])


def clip(value, lo, hi):
    return min(max(value, lo if np.isinf(lo) else Fraction(lo)), hi if np.isinf(hi) else Fraction(hi))


def one(*values):
    return [np.array([float(v)]) for v in values]


@st.composite
def neurons(draw):
    """Ranges of xhat and D, a scale, integer limits, float limits, and slopes."""
    x = sorted(draw(st.tuples(ENDS, ENDS)))
    gap = sorted(v / 8 for v in draw(st.tuples(ENDS, ENDS)))
    step = draw(st.sampled_from([Fraction(1, 8), Fraction(1, 4), Fraction(float(np.float32(0.13)))]))
    ends = sorted(draw(st.tuples(st.integers(-20, 20), st.integers(-20, 20))))
    return (
        x,
        gap,
        step,
        ends,
        draw(LIMITS),
        draw(st.tuples(*[st.floats(-1.5, 1.5)] * 2)),
        draw(st.sampled_from([0, -1])),
    )


def escapes(neuron, shares):
    """Exact points of the neuron that leave its spread or its chord."""
    (lx, ux), (ld, ud), step, (lo, hi), limits, (p, q), s = neuron
    ly, uy = above(Fraction(lx) + Fraction(ld)) - 1e-15, above(Fraction(ux) + Fraction(ud))
    box = Box(*one(lx, ux, ly, uy, ld, ud))
    first, last = (min(max(round(Fraction(v) / step), lo), hi) for v in (ly, uy))
    kl, ku = scaled(np.array([first]), step)[0], scaled(np.array([last]), step)[1]
    envelope = Envelope(above(step / 2), above(step / 2), kl, ku)
    lam, mid, half = activation(box, limits)
    low, high = Vertices(box, envelope, limits).spread(Slopes(*one(p, q, s)), lam, mid)
    corners = [(Fraction(a), Fraction(b)) for a in (0, 1) for b in (0, 1)]
    found = []
    for a, b in [*corners, *shares]:
        x = Fraction(lx) + a * (Fraction(ux) - Fraction(lx))
        gap = Fraction(ld) + b * (Fraction(ud) - Fraction(ld))
        y = step * min(max(round((x + gap) / step), lo), hi)
        active = clip(x, *limits)
        rest = active - Fraction(lam[0]) * x - Fraction(mid[0])
        value = y - active - Fraction(p) * gap - Fraction(q) * x - s * rest
        if abs(rest) > Fraction(half[0]) or not Fraction(low[0]) <= value <= Fraction(high[0]):
            found.append((x, gap))
    return found


@settings(max_examples=100, deadline=None)
@given(neurons(), st.lists(st.tuples(st.fractions(0, 1), st.fractions(0, 1)), min_size=4, max_size=4))
def test_the_spread_holds_every_point(neuron, shares):
    assert not escapes(neuron, shares)


@pytest.mark.parametrize(
    "missing", [range(8, 12), range(12, 16), [2, 3, 6, 7, 10, 11], [*range(18, 20), *range(22, 24)]]
)
def test_every_kind_of_vertex_is_needed(missing, monkeypatch):
    """Without the kinks of the clip, or those of the step function, some neuron escapes."""
    true = pair_vertex._points
    keep = [i for i in range(24) if i not in missing]
    rng = np.random.default_rng(0)
    shares = [(Fraction(i, 40), Fraction(j, 2)) for i in range(41) for j in range(3)]
    neurons = [
        (sorted(rng.uniform(-2, 2, 2)), sorted(rng.uniform(-0.5, 0.5, 2)), Fraction(1, 4),
         sorted(rng.integers(-8, 9, 2).tolist()), [(0.0, np.inf), (-0.7, 0.3)][i % 2],
         rng.uniform(-1.5, 1.5, 2), -(i % 3 // 2))
        for i in range(150)
    ]  # fmt: skip
    assert not any(escapes(neuron, shares) for neuron in neurons[:50])
    monkeypatch.setattr(pair_vertex, "_points", lambda *args: tuple(part[keep] for part in true(*args)))
    assert any(escapes(neuron, shares) for neuron in neurons)


def test_a_rounded_chord_cuts_no_corner():
    """The naive intercept -lam * l fails in most of these (notes section 8); ours never."""
    rng = np.random.default_rng(0)
    low, high = -rng.random(2000), rng.random(2000)
    lam, mid, half = activation(Box(low, high, low, high, low, high), (0.0, np.inf))
    naive = 0
    for a, b, slope, m, h in zip(low, high, lam, mid, half, strict=True):
        for x in (a, 0.0, b):
            rest = max(Fraction(x), 0) - Fraction(slope) * Fraction(x)
            assert Fraction(m) - Fraction(h) <= rest <= Fraction(m) + Fraction(h)
        intercept = Fraction(-slope * a)
        naive += any(Fraction(slope) * Fraction(x) + intercept < max(Fraction(x), 0) for x in (a, b))
    assert naive > 500


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31), 2**31), st.integers(1, 2**31 - 1), st.integers(0, 62))
def test_half_even_on_wide_products(n, m, s):
    got = rounded(*(np.array([v], np.int64) for v in (n, m, s)), "half-even")
    assert got[0] == round(Fraction(n * m, 1 << s))


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31), 2**31), st.integers(0, 100), st.fractions(Fraction(1, 10**6), 10))
def test_the_lattice_loses_no_integer(n, more, step):
    """Exact ends scale * n rounded outwards hold n .. n + more, and no more than one float's doubt beyond."""
    low, high = scaled(np.array([n, n + more]), step)
    first, last = lattice(low[:1], high[1:], np.array([float(step)]), (-(2**40), 2**40))
    assert first[0] <= n
    assert last[0] >= n + more
    if abs(n) < 2**40:
        assert (first[0], last[0]) == (n, n + more)
