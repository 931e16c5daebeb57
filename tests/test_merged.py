# SPDX-License-Identifier: Apache-2.0
"""The merged network that `certify --export-merged` writes, run by ONNX Runtime, against both networks."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import InProcess
from onnx_nets import Net
from pair_nets import points, zoo

import tinybound
from tinybound.boxes import parse_box
from tinybound.certify.export import Writer, decimal, merged_model, query
from tinybound.certify.merge import emit, entered
from tinybound.certify.merge_words import FLOAT, Ref
from tinybound.certify.round_double import double_form
from tinybound.domains.exact import Exact
from tinybound.domains.exact import run as evaluate
from tinybound.errors import CompileError
from tinybound.ops import Requantise
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.quantise.requantise import multiplier
from tinybound.rounding import AVERAGE, MEAN
from tinybound.simulate.golden import dequantise, golden, quantise

ort = pytest.importorskip("onnxruntime")
EXAMPLES = Path(__file__).parents[1] / "examples"
U = 2.0**-24  # of float32
MODES = ("half-even", "tflite-single", "tflite-double")


def session(data):
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


class Rounded(Exact):
    """Pairs (value, how far any float32 execution may be from it), whatever its order of summation."""

    def gather(self, x, index, pad):
        return super().gather(x[0], index, pad), super().gather(x[1], index, 0.0)

    def reshape(self, x, shape):
        return x[0].reshape(shape), x[1].reshape(shape)

    def affine(self, x, weights, bias, zero):
        size = np.abs(weights) @ (np.abs(x[0]) + x[1]) + np.abs(bias)[..., None]
        fold = (
            (weights.shape[-1] + 20) * U * 1.01
        )  # 16u: a BatchNormalization by itself or folded, either way
        return super().affine(x[0], weights, bias, zero), np.abs(weights) @ x[1] + fold * size

    def add(self, a, b, *factors):
        value = super().add(a[0], b[0], *factors)
        return value, a[1] + b[1] + 2 * U * (np.abs(value) + a[1] + b[1])

    def clip(self, x, lo, hi):
        return np.clip(x[0], lo, hi), x[1]

    def max(self, x, axis):
        return x[0].max(axis=axis), x[1].max(axis=axis)


@pytest.mark.parametrize("name", ["controller2", "controller4", "digits_mlp", "digits_cnn", "residual_cnn"])
def test_it_is_the_float_model_minus_the_integer_network(name):
    path, rng = EXAMPLES / f"{name}.onnx", np.random.default_rng(1)
    nets = build_networks(path, Options(calibration=EXAMPLES / f"{name}_calibration.npz"))
    real, whole = nets.float_graph, nets.integer_graph
    (entry,), (out,) = whole.inputs, whole.outputs
    both, alone = session(merged_model(real, whole, {out: out})), session(str(path))
    low, high = nets.domain.lower[entry], nets.domain.upper[entry]
    for _ in range(6):
        x = (low + rng.random(low.shape) * (high - low)).astype(np.float32)
        (gap,) = both.run(None, {entry: x[None]})
        (y_float,) = alone.run(None, {alone.get_inputs()[0].name: x[None]})
        q = golden(whole, {entry: quantise(whole.values[entry], x[None].astype(float))})[out]
        expected = (y_float.astype(float) - dequantise(whole.values[out], q)).ravel()
        start = {entry: (x.astype(float), np.zeros(x.shape))}
        error = evaluate(real, start, Rounded())[out][1].ravel()
        assert (np.abs(gap.ravel() - expected) <= 2 * error).all()
        if name.startswith("controller"):  # the same operators in the same order
            assert (gap.ravel() == expected).all()
        assert np.abs(gap.ravel() - expected).max() < 1e-5  # far less than such a worst case


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("ReduceSum", {}), ("AveragePool", {"kernel_shape": [2, 3], "dilations": [3, 1], "strides": [1, 2]})],
)
def test_sums_and_windows_with_holes(kind, attributes, tmp_path):
    """Opset 13 has no such pools: they are convolutions there."""
    net = Net(1, 2, 5, 6, opset=19)
    more = [net.constant([2, 3], np.int64)] if kind == "ReduceSum" else []
    path = net.save(tmp_path, net.put(kind, "x", *more, **attributes))
    x = np.random.default_rng(2).uniform(-1, 1, (1, 2, 5, 6)).astype(np.float32)
    nets = build_networks(path, Options(domain="-1,1"))
    (out,) = nets.integer_graph.outputs

    (gap,) = session(merged_model(nets.float_graph, nets.integer_graph, {out: out})).run(None, {"x": x})

    q = golden(nets.integer_graph, {"x": quantise(nets.integer_graph.values["x"], x.astype(float))})[out]
    (y,) = session(str(path)).run(None, {"x": x})
    assert np.abs(gap.ravel() - (y - dequantise(nets.integer_graph.values[out], q)).ravel()).max() < 1e-5


def integer_side(whole):
    """A file with every value of the integer network as an output."""
    out = Writer()
    inputs = {name: Ref(name, whole.values[name].shape, FLOAT) for name in whole.inputs}
    start = {name: entered(out, whole.values[name], x) for name, x in inputs.items()}
    values = emit(out, whole, start)
    return session(out.model("q", list(inputs.values()), list(values.values()))), list(values)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(16))
def test_every_integer_of_random_networks_is_the_golden_models(seed, mode):
    pair = zoo(seed, mode)
    whole, rng = pair.whole, np.random.default_rng(seed)
    run_q, names = integer_side(whole)
    for x in points(pair, rng, 6):
        single = {name: array.astype(np.float32) for name, array in x.items()}
        found = run_q.run(None, {name: array[None] for name, array in single.items()})
        wanted = evaluate(whole, pair.quantise({name: a.astype(float) for name, a in single.items()}))
        for name, array in zip(names, found, strict=True):
            assert (array[0] == wanted[name]).all(), name


def test_ties_of_the_input_quantiser_go_to_even():
    pair = zoo(3)
    run_q, names = integer_side(pair.whole)
    (name,) = pair.whole.inputs
    value = pair.whole.values[name]
    scale = np.float32(float(value.quant.scale[0]))
    for k in range(-140, 140, 3):
        for x in (np.nextafter(scale * np.float32(k + 0.5), np.float32(w)) for w in (-9e9, 9e9)):
            x = np.full(value.shape, x, np.float32)
            q = run_q.run([run_q.get_outputs()[names.index(name)].name], {name: x[None]})[0]
            assert (q == quantise(value, x[None].astype(float))).all()
        x = np.full(value.shape, scale * np.float32(k + 0.5), np.float32)
        q = run_q.run([run_q.get_outputs()[names.index(name)].name], {name: x[None]})[0]
        assert (q == quantise(value, x[None].astype(float))).all()


def requantises(seed):
    """Random and awkward multipliers: odd, even, powers of two, long and short shifts."""
    rng = np.random.default_rng(seed)
    for mode in (*MODES, AVERAGE, MEAN):
        for _ in range(12):
            s = int(rng.integers(33, 59))
            m = int(rng.choice([1 << 30, (1 << 31) - 1, int(rng.integers(1 << 30, 1 << 31)), 3, 1]))
            if mode == AVERAGE:
                taps = int(rng.integers(2, 80))
                s = 29 + taps.bit_length()
                m = -(-(1 << s) // taps)
            if mode == MEAN:
                m, s = multiplier(Fraction(1, int(rng.integers(3, 4000)) * 2), 1 << 20)
            zero, lo = int(rng.integers(-128, 128)), int(rng.choice([-128, -20]))
            yield Requantise(np.array([m]), np.array([s]), 0, zero, lo, 127, mode)


@pytest.mark.parametrize("seed", range(4))
def test_roundings_in_float64_equal_the_law_at_and_beside_every_tie(seed):
    for op in requantises(seed):
        m, s = int(op.multiplier[0]), int(op.shift[0])

        def law(acc, op=op):
            return Exact().requantise(acc, op.multiplier, op.shift, 0, op.zero, op.lo, op.hi, op.mode)

        span = (-(1 << 31) + 1, (1 << 31) - 1)
        form = double_form("here", op, law, span)
        near = [((2 * k + 1) << (s - 1)) // m for k in range(-400, 400)]
        beside = (min(max(a + d, span[0]), span[1]) for a in near for d in range(-2, 3))
        acc = np.unique(np.array([*beside, *span, 0, 1, -1], np.int64))
        zero = 0 if op.mode == AVERAGE else op.zero
        assert (np.clip(form.rounded(acc[None]) + zero, op.lo, op.hi) == law(acc[None])).all()


def test_a_rounding_that_float64_cannot_do_is_refused():
    op = Requantise(np.array([1 << 30]), np.array([40]), 0, 3, -128, 127, "half-even")

    def another_law(acc):  # half a step off: no candidate is
        return Exact().requantise(acc * 2 + 1, op.multiplier, op.shift + 1, 0, 3, -128, 127, "half-even")

    with pytest.raises(CompileError, match="float64 does not reach"):
        double_form("here", op, another_law, (-(1 << 24), 1 << 24))


def test_a_function_without_operators_is_refused_by_name():
    pairs = [zoo(seed) for seed in range(2, 80, 8)]
    pair = next(p for p in pairs if any(type(n.op).__name__ == "Swish" for n in p.real.nodes))
    with pytest.raises(CompileError, match="Swish"):
        merged_model(pair.real, pair.whole, {name: name for name in pair.whole.outputs})


def test_the_query_holds_the_box_and_the_bounds(tmp_path):
    ends = {"x": [Fraction(-1, 4), Fraction(0)]}
    tops = {"x": [Fraction(float(np.float32(0.1))), Fraction(7)]}
    text = query(ends, tops, [0.1, 2.0], "a note")
    (tmp_path / "q.vnnlib").write_text(text)
    nets = build_networks(EXAMPLES / "controller2.onnx", Options(domain="-1,1"))
    box = parse_box(str(tmp_path / "q.vnnlib"), nets.float_graph)
    assert box.lower[nets.float_graph.inputs[0]].tolist() == [-0.25, 0.0]
    assert box.upper[nets.float_graph.inputs[0]].tolist() == [float(np.float32(0.1)), 7.0]
    assert f"(and (>= Y_0 {decimal(Fraction(0.1))}))" in text
    assert "(and (<= Y_1 -2.0))" in text


@pytest.mark.parametrize("value", [0.1, -3.0, 0.0, 2.0**-30, 1e9, -0.5])
def test_decimals_are_exact(value):
    assert Fraction(decimal(Fraction(value))) == Fraction(value)


@pytest.mark.parametrize(
    "model", ["digits_mlp_qdq", pytest.param("digits_cnn_softmax", marks=pytest.mark.slow)]
)
def test_the_command_writes_both_files(tmp_path, model, monkeypatch, capsys):
    build = tinybound.compile(
        EXAMPLES / f"{model}.onnx", tmp_path / "B",
        Options(target="c", domain="0,1"),
    )  # fmt: skip
    x = build.domain.lower[build.graph.inputs[0]] + 0.25
    np.savez(tmp_path / "box.npz", lower=x, upper=x + 1 / 64)
    to = tmp_path / "M.onnx"
    box = ("--domain", tmp_path / "box.npz")
    made = InProcess(monkeypatch, capsys)("certify", tmp_path / "B", *box, "--export-merged", to, "--json")
    assert made.code == 0, made.err
    bounds = [b for entry in made.json["outputs"].values() for b in entry["bound"]]
    (gap,) = session(str(to)).run(None, {build.graph.inputs[0]: x[None].astype(np.float32)})
    assert (np.abs(gap.ravel()) <= bounds).all()
    assert f"(>= Y_9 {decimal(Fraction(bounds[9]))})" in (tmp_path / "M.vnnlib").read_text()
    assert onnx.load(to).graph.output[0].name == "difference"
