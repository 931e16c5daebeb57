# SPDX-License-Identifier: Apache-2.0
"""Tiny networks of one input, solved exactly: bound >= true supremum >= attack, and how close they are."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from pair_nets import NONE, RELU, Sketch, reals

from tinybound.certify.certificate import certify
from tinybound.certify.effort import Effort
from tinybound.domains.exact import run


def pieces_of(pair, low, high):
    """The float network on [low, high] as exact points between which it is linear."""
    points = [Fraction(low), Fraction(high)]
    values = {"x": [[p] for p in points]}
    for node in pair.real.nodes:
        before = values[node.inputs[0]]
        if node.op.weighted:
            rows = [[Fraction(float(w)) for w in row] for row in node.op.weights]
            bias = [Fraction(float(b)) for b in node.op.bias]
            after = [
                [
                    sum(w * v for w, v in zip(row, vs, strict=True)) + b
                    for row, b in zip(rows, bias, strict=True)
                ]
                for vs in before
            ]
        else:
            limits = [Fraction(v) for v in (node.op.lo, node.op.hi) if np.isfinite(v)]
            points, values, before = refine(points, values, before, limits)
            after = [[clip(v, node.op.lo, node.op.hi) for v in vs] for vs in before]
        values = {node.output: after}
    return points, values[pair.real.outputs[0]]


def clip(value, lo, hi):
    value = value if np.isinf(lo) else max(value, Fraction(lo))
    return value if np.isinf(hi) else min(value, Fraction(hi))


def refine(points, values, before, limits):
    """Add a point wherever a neuron crosses a limit."""
    del values
    out_p, out_v = [points[0]], [before[0]]
    for i in range(len(points) - 1):
        a, b, va, vb = points[i], points[i + 1], before[i], before[i + 1]
        cuts = {
            (limit - u) / (w - u)
            for u, w in zip(va, vb, strict=True)
            for limit in limits
            if (u - limit) * (w - limit) < 0
        }
        for t in [*sorted(cuts), Fraction(1)]:
            out_p.append(a + t * (b - a))
            out_v.append([u + t * (w - u) for u, w in zip(va, vb, strict=True)])
    return out_p, {}, out_v


def supremum(pair):
    """The largest |integer - float| over the box: on each cell of the input the integers are constant."""
    value, out = pair.whole.values["x"], pair.whole.outputs[0]
    scale, zero, span = value.quant.scale[0], value.quant.zero, value.range
    low, high = Fraction(float(pair.lower["x"][0])), Fraction(float(pair.upper["x"][0]))
    worst = Fraction(0)
    for q in range(span.lo, span.hi + 1):
        a = low if q == span.lo else max(low, (q - zero - Fraction(1, 2)) * scale)
        b = high if q == span.hi else min(high, (q - zero + Fraction(1, 2)) * scale)
        if a > b:
            continue
        y = reals(pair.whole.values[out], run(pair.whole, {"x": np.array([q])})[out])[0]
        worst = max([worst, *(abs(y - v[0]) for v in pieces_of(pair, a, b)[1])])
    return worst


@pytest.mark.parametrize(
    "seed", [0, 2, 5, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 3, 4))]
)
def test_bound_and_attack_enclose_the_supremum(seed):
    s = Sketch(seed, (1,), lower=-1.0, upper=1.5, two=seed % 3 == 2)
    h = s.dense("x", 4, RELU)
    h = s.dense(h, 3, RELU) if seed % 2 else h
    pair = s.build(
        s.dense(h, 1, NONE),
        squeeze=[1.2, 0.6][seed // 3],
        top=[127, 7][seed % 2],
        reach=[1.0, 0.7][seed // 4],
    )
    true = supremum(pair)
    for effort in (Effort(), Effort(64), Effort(64, cells=256), Effort(2000, ratio=1.001, cells=256)):
        made = certify(pair.real, pair.whole, pair.lower, pair.upper, hashes={}, effort=effort)
        (name,) = made.bound
        bound, found = made.bound[name][0], made.attack.found[name][0]
        assert Fraction(found) <= true <= Fraction(bound)
        print(
            f"seed {seed}, {effort.pieces} pieces, {effort.cells} cells: bound / true"
            f" {bound / float(true):.3f},"
            f" attack / true {found / float(true):.4f}"
        )
    assert found >= 0.999 * float(true)
    assert bound <= 1.003 * float(true)  # the last one: nearly exact
