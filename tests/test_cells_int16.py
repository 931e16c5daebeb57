# SPDX-License-Identifier: Apache-2.0
"""Leaves by cells where the input has 16 bits: 256 times as many cells, each 256 times as small."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from onnx_nets import Net
from pair_nets import Rational, fractions, reals

from tinybound.boxes import Box
from tinybound.build import compile as compile_model
from tinybound.certify.effort import thorough
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.domains.pair_float import multiples
from tinybound.options import Options


def network(seed, folder):
    """Of two inputs, calibrated on [-1, 1]."""
    net = Net(1, 2, seed=seed)
    h = net.put("Relu", net.put("Gemm", "x", net.normal(2, 6, scale=1.0), net.normal(6)))
    h = net.put("Relu", net.put("Gemm", h, net.normal(6, 4, scale=1.0), net.normal(4)))
    path = net.save(folder, net.put("Gemm", h, net.normal(4, 2, scale=1.0), net.normal(2)))
    return compile_model(path, folder / "build", Options(domain="-1,1", target="c", activations=16))


def cells_of(build, box):
    """Every cell of the box: its integers, and exact inputs at its ends and in its middle."""
    value = build.graph.values["x"]
    scale, zero = value.quant.scale[0], value.quant.zero
    ends = [fractions({"x": side["x"]})["x"] for side in (box.lower, box.upper)]
    first, last = ([round(v / scale) + zero for v in side] for side in ends)
    for q in np.ndindex(*(b - a + 1 for a, b in zip(first, last, strict=True))):
        q = [n + a for n, a in zip(q, first, strict=True)]
        low = [max((n - zero) * scale - scale / 2, v) for n, v in zip(q, ends[0], strict=True)]
        high = [min((n - zero) * scale + scale / 2, v) for n, v in zip(q, ends[1], strict=True)]
        yield np.array(q), [low, high, [(a + b) / 2 for a, b in zip(low, high, strict=True)]]


@pytest.mark.parametrize(
    ("seed", "at"),
    [
        (1, (-0.99993, 0.5)),
        pytest.param(0, (0.2, -0.3), marks=pytest.mark.slow),
        pytest.param(2, (0.0, 0.99995), marks=pytest.mark.slow),
    ],
)
def test_bounds_hold_on_every_cell(seed, at, tmp_path):
    """Against exact rationals at every cell's ends and middle, beyond what the input can hold as well."""
    build = network(seed, tmp_path)
    out, far = build.graph.outputs[0], 0.00012
    box = Box({"x": np.array(at) - far}, {"x": np.array(at) + far})
    made = build.certify(box, effort=thorough(5.0))
    assert set(made.fields["leaves"]) == {"cells"}
    path, seen, count = build.folder / "certificate.json", np.zeros(2), 0
    assert check_certificate(path, build.folder)["accepted"]
    bound = np.array(made.outputs_json()[out]["bound"])
    for q, points in cells_of(build, box):
        low, high = build.graph.values["x"].ends
        y = reals(build.graph.values[out], run(build.graph, {"x": np.clip(q, low, high)})[out])
        for x in points:
            real = run(build.float_graph, {"x": np.array([*x, None], object)[:-1]}, Rational())[out]
            seen = np.maximum(seen, [abs(float(a - b)) for a, b in zip(y, real, strict=True)])
            count += 1
    assert count > 100
    assert (seen <= bound).all()
    assert (bound <= 1.2 * seen).all()


def test_a_short_time_is_kept(tmp_path):
    """The whole domain has 65,536 cells along each input: their ends are known at once, and exact."""
    build = network(1, tmp_path)
    start = time.process_time()
    build.certify(effort=thorough(1.0))
    assert time.process_time() - start < 2.5
    scale = build.graph.values["x"].quant.scale[0]
    n = np.arange(-(1 << 16) - 1, 1 << 16, 2)
    ends = multiples(n, scale / 2)
    assert all(Fraction(a) == Fraction(b) == k * scale / 2 for a, b, k in zip(*ends, n.tolist(), strict=True))
    ends = multiples(n[:99], Fraction(1, 3))
    assert all(
        Fraction(a) <= Fraction(k, 3) <= Fraction(b) for a, b, k in zip(*ends, n.tolist(), strict=False)
    )


@pytest.mark.slow
def test_grids(tmp_path):
    """Integers of a sensor: each cell is one number."""
    build = network(3, tmp_path)
    box = replace(Box({"x": np.array([0.1, 0.2])}, {"x": np.array([0.1004, 0.2004])}), grid=True)
    made = build.certify(box, effort=thorough(5.0))
    assert check_certificate(build.folder / "certificate.json", build.folder)["accepted"]
    assert set(made.fields["leaves"]) == {"cells"}
    assert made.largest < 1.001 * made.attack.largest
