# SPDX-License-Identifier: Apache-2.0
"""Where a bound comes from: what the sources add is the bound, and nothing is left when all are off."""

from functools import partial
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from onnx_nets import Net
from pair_nets import NONE, Sketch, zoo

from tinybound.build import compile as compile_model
from tinybound.certify.branch import bounds
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.shares import shares
from tinybound.domains.pair_product import PairProduct
from tinybound.domains.pair_sources import PairSources, sources
from tinybound.options import Options
from tinybound.report.picture import picture


def ready(pair):
    both = lockstep(pair.real, pair.whole)
    return both, entries(both, pair.whole, pair.lower, pair.upper), list(pair.whole.outputs)


@pytest.mark.parametrize("seed", range(16))
def test_all_sources_make_the_bound_and_none_makes_nothing(seed):
    pair = zoo(seed)
    both, at, outs = ready(pair)
    every = set(sources(both.steps, {step.node for step in both.steps}))
    whole = bounds(both, partial(PairSources, both.steps, every), at, outs)
    true = bounds(both, PairProduct, at, outs)
    none = bounds(both, partial(PairSources, both.steps, set()), at, outs)
    tables = any(step.word == "table" for step in both.steps)
    for name in outs:
        # Without the lattice of accumulators an end may round to the next step, and no more.
        step = float(pair.whole.values[name].quant.scale[0])
        assert np.allclose(whole[name], true[name], rtol=0.05, atol=step)
        if not tables:
            assert none[name].max() < 1e-9 * (1 + true[name].max())


def test_the_shares_add_up_and_name_what_is_wrong():
    """Weights of one bit: nearly all of the difference is theirs."""
    s = Sketch(0, (3,))
    y = s.dense(s.dense("x", 6), 2, NONE)
    coarse, fine = s.build(y, top=1, squeeze=1.3), s.build(y, top=127, squeeze=0.3)
    found = shares(coarse.real, coarse.whole, (coarse.lower, coarse.upper))
    assert sum(row["adds"] for row in found["rows"]) == pytest.approx(found["bound"], rel=0.05)
    of = {kind: sum(r["share"] for r in found["rows"] if r["source"] == kind) for kind in kinds(found)}
    assert of["weights"] > 0.5
    found = shares(fine.real, fine.whole, (fine.lower, fine.upper))
    of = {kind: sum(r["share"] for r in found["rows"] if r["source"] == kind) for kind in kinds(found)}
    assert of["saturation"] > 0.5
    assert abs(sum(of.values()) - 1) < 1e-9


def test_no_source_takes_more_than_there_is(tmp_path):
    """A table beside inputs that are not rounded: they may lie between two of its entries."""
    net = Net(1, 3, seed=5)
    h = net.put("Tanh", net.put("Gemm", "x", net.normal(3, 4), net.normal(4)))
    model = net.save(tmp_path, net.put("Gemm", h, net.normal(4, 2)))
    build = compile_model(model, tmp_path / "B", Options(domain="-1,1", target="c"))
    for wide in (1e-3, 0.02, 0.1):
        ends = ({"x": np.array([0.3, -0.2, 0.11]) + side * wide} for side in (-1, 1))
        found = shares(build.float_graph, build.graph, tuple(ends))
        assert sum(row["adds"] for row in found["rows"]) == pytest.approx(found["bound"], rel=0.05)
        assert all(abs(row["share"]) < 1.5 for row in found["rows"])


def test_what_would_be_cut_before_a_table(tmp_path):
    """Calibrated on a hundredth of the box: without saturation, sums lie far beyond the table."""
    net = Net(1, 3, seed=0)
    h = net.put("LeakyRelu", net.put("Gemm", "x", net.normal(3, 4), net.normal(4, scale=0.01)), alpha=-0.3)
    model = net.save(tmp_path, net.put("Gemm", h, net.normal(4, 2)))
    build = compile_model(model, tmp_path / "B", Options(domain="-0.01,0.01", target="c"))
    found = shares(build.float_graph, build.graph, tuple({"x": np.full(3, end)} for end in (0.4, 0.6)))
    assert sum(row["adds"] for row in found["rows"]) == pytest.approx(found["bound"], rel=0.05)
    assert all(abs(row["share"]) < 3 for row in found["rows"])


def kinds(found):
    return {row["source"] for row in found["rows"]}


def test_the_picture_has_every_layer_and_no_markup_of_others():
    rows = [
        {"layer": "x", "source": "input rounding", "adds": 0.5, "share": 0.6},
        {"layer": "<b>&", "source": "weights", "adds": -0.1, "share": -0.1},
        {"layer": "<b>&", "source": "saturation", "adds": 0.5, "share": 0.5},
    ]
    drawn = ET.fromstring(picture(rows))
    texts = [node.text for node in drawn.iter("text")]
    assert {"x", "<b>&", "60.0 %", "40.0 %", "weights"} <= set(texts)
    assert len([*drawn.iter("title")]) == 3
    assert picture([]).startswith("<svg")
