# SPDX-License-Identifier: Apache-2.0
"""The certificate: every op, its JSON, its margins, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import samples
from onnx_nets import Net
from pair_nets import DOMAINS, NONE, RELU, Pair, Sketch, points, ranges, reals, zoo

from tinybound.build import compile as compile_model
from tinybound.build_files import hashes_of
from tinybound.certify.certificate import bound_e9, certify, claim
from tinybound.certify.effort import Effort
from tinybound.certify.lockstep import lockstep
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.graph import Graph
from tinybound.ops.softmax import Softmax
from tinybound.options import Options
from tinybound.passes.run_time_bits import with_bits
from tinybound.ranges import Range

CASES = [case for relu in (False, True) for case in samples.cases(relu=relu)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("bits", [8, 4])
def test_every_op(case, bits):
    """A new op in the list is checked by itself: its ranges hold what the networks compute."""
    whole = with_bits(case.whole, bits)
    ends = {}
    for name in whole.inputs:
        value = whole.values[name]
        step = float(value.quant.scale[0])
        ends[name] = [np.full(value.shape, step * (q - value.quant.zero)) for q in (-140, 135)]
    pair = Pair(case.real, whole, {n: e[0] for n, e in ends.items()}, {n: e[1] for n, e in ends.items()})
    names = {node.output: case.real.node(node.origin).output for node in whole.nodes}
    for make in DOMAINS.values():
        boxes = ranges(pair, make())
        for x in points(pair, np.random.default_rng(1), 20):
            real, q = run(case.real, x), run(whole, pair.quantise(x))
            for name in set(boxes) & set(names):
                y, box, twin = (
                    reals(whole.values[name], q[name]).astype(float),
                    boxes[name],
                    real[names[name]],
                )
                for low, value, high in (
                    (box.lx, twin, box.ux),
                    (box.ly, y, box.uy),
                    (box.ld, y - twin, box.ud),
                ):
                    assert (low - 1e-9 <= value).all()
                    assert (value <= high + 1e-9).all()


def controller():
    s = Sketch(7, (2,))
    return s.build(s.dense(s.dense("x", 6, RELU), 2, NONE), squeeze=1.2)


def made(pair, **more):
    return certify(
        pair.real, pair.whole, pair.lower, pair.upper, **{"hashes": {"float": "00"}, "budget": 2000, **more}
    )


def test_the_document():
    pair = controller()
    made_one = made(pair, effort=Effort(5))
    document = json.loads(made_one.dump())
    assert document["format"] == "tinybound-certificate-1"
    assert document["mode"] == "box"
    assert document["semantics"] == {"requantise": "onnx", "bits": None, "reference": "real"}
    domain = document["domain"]["x"]
    assert [Fraction(v) for v in domain["lower"]] == [Fraction(-1)] * 2
    out = document["outputs"][pair.whole.outputs[0]]
    assert all(b >= a > 0 for b, a in zip(out["bound"], out["attack"], strict=True))
    assert out["bound_e9"] == made_one.error_e9 == -int(-Fraction(max(out["bound"])) * 10**9 // 1)
    assert made_one.largest == max(out["bound"])
    assert set(out["domains"]) == {"interval", "zonotope", "product", "crown"}
    assert all(np.isfinite(out["witness"]["x"]))
    assert [cut is None for cut in document["tree"]].count(True) == 5
    assert {"node", "origin", "op", "range", "range_in_domain", "bits"} <= set(document["layers"][0])
    assert made_one.with_hashes({"b": "2", "a": "1"}).document()["hashes"] == {"a": "1", "b": "2"}


def test_same_input_same_bytes():
    texts = [replace(made(controller(), effort=Effort(3)), seconds=0.0).dump() for _ in range(2)]
    assert texts[0] == texts[1]


def test_the_witness_shows_its_difference():
    pair = controller()
    document = made(pair).document()
    out, name = document["outputs"][pair.whole.outputs[0]], pair.whole.outputs[0]
    x = {"x": np.array(out["witness"]["x"])}
    gap = np.abs(
        reals(pair.whole.values[name], run(pair.whole, pair.quantise(x))[name]).astype(float)
        - run(pair.real, x)[name]
    )
    assert gap.max() == pytest.approx(max(out["attack"]), rel=1e-9)


def test_pieces_tile_the_box_and_tighten():
    pair = zoo(8)
    one, many = made(pair), made(pair, effort=Effort(12))
    (name,) = one.bound
    assert (many.bound[name] <= one.bound[name]).all()
    assert (many.bound[name] < one.bound[name]).any()
    volume, tree = Fraction(0), iter(many.fields["tree"])

    def leaves(low, high):
        nonlocal volume
        cut = next(tree)
        if cut is None:
            volume += np.prod([b - a for a, b in zip(low, high, strict=True)])
            return
        _, i, place = cut[0], cut[1], Fraction(cut[2])
        assert low[i] < place < high[i]
        leaves(low, [*high[:i], place, *high[i + 1 :]])
        leaves([*low[:i], place, *low[i + 1 :]], high)

    low, high = ([Fraction(v) for v in side["x"].tolist()] for side in (pair.lower, pair.upper))
    leaves(low, high)
    assert volume == np.prod([b - a for a, b in zip(low, high, strict=True)])


def test_a_softmax_is_bounded_at_its_logits():
    s = Sketch(5, (3,))
    logits = s.dense("x", 4, NONE)
    s.put(Softmax(), logits)
    pair = s.build("n2", squeeze=1.2)
    document = made(pair).document()
    assert document["outputs"]["n2"]["value"] == logits
    assert "logits" in document["outputs"]["n2"]["softmax"]


def test_rational_ends():
    pair = controller()
    thirds = np.array([Fraction(1, 3)] * 2, object)
    document = certify(pair.real, pair.whole, {"x": -thirds}, {"x": thirds}, hashes={}, budget=500).document()
    assert document["domain"]["x"]["upper"] == ["1/3", "1/3"]


def test_a_saturating_neuron_is_listed():
    s = Sketch(1, (2,), lower=-2.0, upper=2.0)
    pair = s.build(s.dense("x", 3, NONE), squeeze=0.4)
    assert made(pair).fields["layers"][-1]["saturates"] == [0, 1, 2]
    s = Sketch(1, (2,), lower=-2.0, upper=2.0)
    pair = s.build(s.dense("x", 3, RELU), squeeze=2.0)
    assert made(pair).fields["layers"][-1]["saturates"] == []


def test_claims_round_up():
    for value in (0.1, 1 / 3, 1e-300, 12345.678901234567, 2.0**-1000):
        up = claim(np.array([value]))[0]
        assert value < up < value * (1 + 3e-9)
        assert -value < claim(np.array([-value]))[0] < -value * (1 - 3e-9)  # an end of a range, no size
    assert bound_e9(np.array([1e-9, 3.0000000001e-9])) == 4


def test_where_both_networks_are_equal(tmp_path):
    """At one input of integers the bound is rounding alone: another order of summation may find more."""
    rng = np.random.default_rng(28)
    net, h, width = Net(1, 27, seed=28), "x", 27
    for units in (9, 5, 3):
        weights, bias = rng.integers(-1, 2, (width, units)), rng.integers(-2, 3, units)
        h, width = net.put("Add", net.put("MatMul", h, net.constant(weights)), net.constant(bias)), units
    build = compile_model(
        net.save(tmp_path, h), tmp_path / "build", Options(domain="-2,2", target="verilog", scales="pow2")
    )
    x = rng.integers(-1, 2, 27) * 1.0
    made = certify(build.float_graph, build.graph, x, x, hashes=hashes_of(build.files), grid=True, budget=200)
    assert made.largest < 1e-11
    least = min(float(each[h].min()) for each in made.alone.values())
    assert least >= 2.0**-44 * max(np.abs(v).max() for v in run(build.float_graph, {"x": x}).values())
    path = tmp_path / "certificate.json"
    path.write_bytes(made.dump())
    assert check_certificate(path, build.folder)["accepted"]


def test_what_it_refuses():
    pair = controller()
    with pytest.raises(CompileError, match="shape"):
        certify(pair.real, pair.whole, {"x": np.zeros(3)}, {"x": np.zeros(3)}, hashes={})
    with pytest.raises(CompileError, match="lower > upper"):
        certify(pair.real, pair.whole, pair.upper, pair.lower, hashes={})
    with pytest.raises(CompileError, match="not finite"):
        certify(pair.real, pair.whole, pair.lower, {"x": np.array([1.0, np.inf])}, hashes={})
    nodes = list(pair.whole.nodes)
    nodes[0] = replace(nodes[0], origin="n2")
    with pytest.raises(CompileError, match="inputs that stand for"):
        lockstep(pair.real, regraph(pair.whole, nodes))
    narrow = {**pair.whole.values, "n0": replace(pair.whole.values["n0"], range=Range(-5, 5))}
    with pytest.raises(CompileError, match=r"n0: range \[-5, 5\]"):
        lockstep(pair.real, Graph("net", pair.whole.inputs, pair.whole.outputs, pair.whole.nodes, narrow))
    nodes[0] = replace(nodes[0], origin="nowhere")
    with pytest.raises(CompileError, match="origin"):
        lockstep(pair.real, regraph(pair.whole, nodes))


def regraph(graph, nodes):
    return Graph(graph.name, graph.inputs, graph.outputs, tuple(nodes), graph.values)
