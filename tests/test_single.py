# SPDX-License-Identifier: Apache-2.0
"""Float32 arithmetic of the float network: whatever the order of its sums, it lies in what is certified."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
from cell_nets import case, checker_form
from cell_nets import checker as checker_cells
from cell_nets import prover as prover_cells
from checker_nets import random_build
from command import InProcess
from onnx_nets import Net
from single_nets import ORDERS, SIDES, Single

from tinybound.build import compile as compile_model
from tinybound.certify.single import deviations
from tinybound.checker import check_certificate
from tinybound.checker import single as checker_single
from tinybound.checker.files import Rejected
from tinybound.checker.lines import drift, lines
from tinybound.domains import pair_single
from tinybound.domains.exact import Exact, run
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx
from tinybound.frontends.single import refuse_other
from tinybound.options import Options

U32 = 2.0**-24
SUMS = {"prover": (pair_single, pair_single.of_sums), "checker": (checker_single, checker_single.inner)}


def runtime(path, x):
    """ONNX Runtime, node by node and with all that it fuses."""
    found = []
    for level in (0, 99):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(level)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        found.append(session.run(None, {name: x[None].astype(np.float32)})[0][0])
    return found


def points(build, count, seed=0):
    """float32 inputs of the box."""
    (name,), rng = build.graph.inputs, np.random.default_rng(seed)
    low, high = build.domain.lower[name], build.domain.upper[name]
    shares = [np.zeros(low.shape), np.ones(low.shape), *rng.random((count, *low.shape))]
    return [
        np.clip((low + s * (high - low)).astype(np.float32), low, high).astype(np.float32) for s in shares
    ]


def evaluations(build, x):
    """The output in float32, many times."""
    (name,), (out,), graph = build.graph.inputs, build.graph.outputs, build.float_graph
    ways = [*(Single(order) for order in ORDERS), Single("forward", flush=True)]
    return [*(run(graph, {name: x}, way)[out] for way in ways), *runtime(build.folder / "float.onnx", x)]


SEEDS = [5, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 1, 9, 17, 2, 3, 4, 6, 7))]
CELLS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]


@pytest.fixture(scope="module", params=SEEDS)
def build(request, tmp_path_factory):
    return random_build(request.param, tmp_path_factory.mktemp(f"net{request.param}"))


def test_every_order_lies_in_the_ranges(build):
    """At single inputs nothing but float32 widens the ranges of x: those of the real network are left."""
    sides = [make(build) for make in SIDES.values()]
    real, left, close = SIDES["prover"](build, single=False), 0, 0.0
    for x in points(build, 2):
        y = build.predict({build.graph.inputs[0]: x[None]})[build.graph.outputs[0]][0]
        values = [np.asarray(v, np.float64) for v in evaluations(build, x)]
        left += any(((v < box[0]) | (v > box[1])).any() for v in values for box in real(x).values())
        for boxes in (side(x) for side in sides):
            for box in boxes.values():
                for v in values:
                    assert ((box[0] <= v) & (v <= box[1])).all()
                    assert ((box[4] <= y - v) & (y - v <= box[5])).all()
                middle, radius = 0.5 * box[0] + 0.5 * box[1], 0.5 * box[1] - 0.5 * box[0]
                close = max(close, *(float((np.abs(v - middle) / radius).max()) for v in values))
    assert left
    assert close > 0.004


def worst_sum(n, *, bias):
    """(weights, terms, bias, error): a sum of which every rounding takes off half a unit, or nearly so."""
    w, x = np.full(n, np.float32(1)), np.full(n, np.float32(U32 * (1 - 2.0**-12)))
    w[0] = x[0] = np.float32(1 + 2.0**-12)  # its square is a tie, rounded down
    b = np.float32(U32 * (1 - 2.0**-12) if bias else 0)
    acc = w[0] * x[0]
    for k in range(1, n):
        acc = acc + w[k] * x[k]
    terms = [Fraction(float(c)) * Fraction(float(d)) for c, d in zip(w, x, strict=True)]
    return w, x, b, abs(Fraction(float(acc + b)) - sum(terms) - Fraction(float(b)))


def bound_of(side, w, x, b, extra=0):
    function = SUMS[side][1]
    gain, offset = np.ones((1, 1)), np.abs(np.array([[b]], float))
    sizes = np.abs(x.astype(float))[:, None]
    return Fraction(float(function(np.abs(w.astype(float))[None], sizes, extra, offset, gain)[0, 0]))


@pytest.mark.parametrize("side", SUMS)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 40, 300])
def test_a_sum_that_loses_all_it_can(n, side, monkeypatch):
    """The bound holds, and one with a term fewer, no rounding of the bias, or no unit at all does not."""
    for bias in (False, True):
        w, x, b, error = worst_sum(n, bias=bias)
        assert error <= bound_of(side, w, x, b)
        assert error > bound_of(side, w, x, b, extra=-1)
        if bias:
            assert error > bound_of(side, w, x, 0.0)
    w, x = np.full(n, np.float32(2.0**-63)), np.full(n, np.float32(2.0**-64))
    error = n * Fraction(1, 1 << 127)  # every product is flushed
    assert error <= bound_of(side, w, x, 0.0)
    monkeypatch.setattr(SUMS[side][0], "FLUSHED" if side == "prover" else "SMALL", 0.0)
    assert error > bound_of(side, w, x, 0.0)


@pytest.mark.parametrize("side", SUMS)
def test_zeros_cost_nothing(side):
    """Terms that are 0 are not rounded: 1000 of them beside one product."""
    w, x = np.ones(1001, np.float32), np.zeros(1001, np.float32)
    x[0] = 1
    assert bound_of(side, w, x, 0.0) < 1.001 * U32


@pytest.mark.parametrize("side", SUMS)
def test_sums_that_may_overflow_are_refused(side):
    """Also behind a factor of 0, which hides them."""
    w, x = np.full(4, np.float32(2.0**100)), np.full(4, np.float32(2.0**30))
    with pytest.raises((OverflowError, Rejected)):
        bound_of(side, w, x, 0.0)
    none, gain = np.zeros((1, 4)), np.full((1, 1), 2.0**500)
    with pytest.raises((OverflowError, Rejected)):
        SUMS[side][1](none, np.ones((4, 1)), 1, np.zeros((1, 1)), gain)


def single_case(seed):
    """A chain whose parameters are float32 numbers."""
    each = case(seed)

    def kept(v):
        return np.asarray(v, np.float32).astype(float)

    layers = []
    for x in each.chain.layers:
        w, b, a, c = (kept(v) for v in (x.w, x.b, x.a, x.c))
        layers.append(replace(x, w=w, b=b, a=float(a), c=float(c), rounded=pair_single.plain(b)))
    return replace(each, chain=replace(each.chain, layers=tuple(layers), single=True))


def through(layers, x, domain):
    """The float network of a chain."""
    h = x[None, :, None]
    for layer in layers:
        h = domain.clip(domain.affine(h, layer.w[None], layer.b[None], 0), layer.a, layer.c)
    return h.ravel()


@pytest.mark.parametrize("seed", CELLS)
def test_cells_hold_every_order(seed):
    """Over a piece the float network in float32 stays as close to its real value as both sides say."""
    each, rng, close = single_case(seed), np.random.default_rng(seed), 0.0
    ends = [
        np.array([[float(v) for v in getattr(p, side)] for p in each.pieces]) for side in ("lower", "upper")
    ]
    mine, form = deviations(each.chain.layers, *ends), checker_form(each)
    other = drift(form, lines(form, *ends), *ends)
    assert (other <= mine).all()
    assert (mine <= 1.001 * other).all()
    for low, high, most in zip(*ends, other, strict=True):
        for x in low + rng.random((3, low.size)) * (high - low):
            real = through(each.chain.layers, x, Exact())
            for order in ORDERS:
                gap = np.abs(through(each.chain.layers, x.astype(np.float32), Single(order)) - real)
                assert (gap <= most + 1e-14).all()
                close = max(close, float((gap / most).max()))
    assert close > 0.05


@pytest.mark.parametrize("seed", CELLS)
def test_cells_are_wider_by_it(seed):
    """Enumerated in float32: the real bound and the deviation, in both; the checker's is no larger."""
    each = single_case(seed)
    real = replace(each, chain=replace(each.chain, single=False))
    assert (checker_cells(each) <= prover_cells(each)).all()
    more = prover_cells(each) - prover_cells(real)
    assert ((more > 0) & (more < 1e-5)).all()


def test_certificates(build, tmp_path):
    """Accepted; a certificate of real arithmetic that is renamed is not; the C header says which it is."""
    path, (header,) = build.folder / "certificate.json", list((build.folder / "c").glob("*net.h"))
    real, said = json.loads(path.read_text()), "as float32 arithmetic computes it"
    real["semantics"]["reference"] = "float32"
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(real))
    verdict = check_certificate(forged, build.folder)
    assert not verdict["accepted"]
    assert "not confirmed" in verdict["reason"] or "claimed" in verdict["reason"]
    assert said not in header.read_text()
    made = build.certify(single=True)
    worst = max(max(output["bound"]) for output in real["outputs"].values())
    assert worst < made.largest < 1.01 * worst + 1e-5
    assert check_certificate(path, build.folder)["accepted"]
    assert said in header.read_text()
    assert build.report["certificate"]["arithmetic"] == "float32"


def test_what_was_folded_cancels(tmp_path):
    """1e6 added and taken off again leaves no trace in the bias, and all of it in float32."""
    net = Net(1, 3, 2, 2, seed=1)
    h = net.put("Conv", "x", net.normal(2, 3, 1, 1))
    for op, number in (("Add", 1e6), ("Mul", 0.7), ("Sub", 7e5)):
        h = net.put(op, h, net.constant(np.full((1, 2, 1, 1), number)))
    build = compile_model(net.save(tmp_path, h), tmp_path / "build", Options(domain="-1,1", target="c"))
    real = build.report["certificate"]["largest"]
    assert build.certify(single=True).largest > real + 0.1
    assert check_certificate(build.folder / "certificate.json", build.folder)["accepted"]
    far = 0.0
    for side in SIDES.values():
        inside = side(build)
        for x in points(build, 4):
            real = run(build.float_graph, {"x": x.astype(float)})[build.graph.outputs[0]]
            for v in runtime(build.folder / "float.onnx", x):
                far = max(far, float(np.abs(v - real).max()))
                assert all(((box[0] <= v) & (v <= box[1])).all() for box in inside(x).values())
    assert far > 0.01


def test_a_factor_of_zero_is_refused(tmp_path):
    """What it takes away may have overflowed before, and then nothing is known of the product."""
    net = Net(1, 3, seed=4)
    h = net.put("Mul", net.put("MatMul", "x", net.normal(3, 2)), net.constant([0.0, 1.0]))
    build = compile_model(net.save(tmp_path, h), tmp_path / "build", Options(domain="-1,1", target="verilog"))
    with pytest.raises(CompileError, match="sums that float32 may not hold"):
        build.certify(single=True)


FUNCTIONS = [
    ("Sigmoid", {}), ("Tanh", {}), ("HardSwish", {}), ("HardSigmoid", {"alpha": 0.3, "beta": -2.5}),
    ("LeakyRelu", {"alpha": 0.3}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "attributes"), FUNCTIONS)
def test_functions_of_onnx_runtime(name, attributes, tmp_path):
    net = Net(1, 4096, opset=20)
    path = net.save(tmp_path, net.put(name, "x", **attributes))
    fn = next(n.op for n in load_onnx(path).graph.nodes if hasattr(n.op, "lipschitz"))
    for wide in (0.01, 1.0, 4.0, 30.0, 200.0):
        x = np.linspace(-wide, wide, 4096).astype(np.float32)
        real = fn(x.astype(float))
        for found in runtime(path, x):
            share = np.abs(found - real) / (pair_single.FUNCTION * (1 + np.abs(x) + np.abs(real)))
            assert share.max() < 0.75


def test_files_whose_rounding_is_not_known(tmp_path, examples, monkeypatch, capsys):
    command = InProcess(monkeypatch, capsys)
    for name in ("digits_cnn_qdq", "controller2"):
        options = {} if "qdq" in name else {"calibration": examples / "controller2_calibration.npz"}
        compile_model(examples / f"{name}.onnx", tmp_path / name, Options(target="c", **options))
    refused = command("certify", tmp_path / "digits_cnn_qdq", "--arithmetic", "float32", "--timeout", "0")
    assert refused.code == 2
    assert "QuantizeLinear, whose rounding is not modelled" in refused.err
    made = command("certify", tmp_path / "controller2", "--arithmetic", "float32", "--timeout", "1", "--json")
    assert made.json["semantics"]["reference"] == "float32"
    objective = "certify", tmp_path / "controller2", "--objective", "2*y[0]", "--timeout", "0"
    made = [command(*objective, "--json", "--arithmetic", how).json for how in ("real", "float32")]
    real, wide = (each["objective"] for each in made)
    assert real["bound"] < wide["bound"] < 1.01 * real["bound"]
    for more in (["--arithmetic", "float16"], ["--arithmetic", "float32", "--shares"]):
        assert command("certify", tmp_path / "controller2", *more).code == 2


def test_the_checker_refuses_the_same_files(tmp_path):
    """Each of these is read as a float network, and has no float32 evaluation that is known."""
    rng = np.random.default_rng(0)
    for kind in ("alpha", "double", "beta", "computed"):
        net = Net(1, 3, seed=2)
        if kind == "alpha":
            h = net.put("Gemm", "x", net.normal(3, 2), alpha=0.5)
        elif kind == "beta":
            h = net.put("HardSigmoid", "x", beta=20.0)
        elif kind == "computed":
            h = net.put("MatMul", "x", net.put("Mul", net.normal(3, 2), net.normal(3, 2)))
        else:
            h = net.put("MatMul", "x", net.constant(rng.normal(size=(3, 2)), np.float64))
        path = net.save(tmp_path, h)
        with pytest.raises(CompileError):
            refuse_other(path)
        with pytest.raises(Rejected):
            checker_single.only_known(path.read_bytes())
