# SPDX-License-Identifier: Apache-2.0
"""Weights, biases and activations of every integer type: whose integers are kept, what is rounded, what is
refused. The real numbers that a file stands for are onnx's and, as far as it runs, ONNX Runtime's."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_nets import Net
from pipeline import same_network
from replay import integer_graph
from test_quantised_forms import differences

from tinybound.build import compile as compile_model
from tinybound.frontends import load_onnx
from tinybound.frontends.qdq import integer_weights, weight_of
from tinybound.inspect_model import inspect_model
from tinybound.ops import Add, AveragePool, Dense, Requantise
from tinybound.ops.base import Scaled
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.terminal import show_report

VECTOR, MAP = (1, 24), (1, 4, 6, 6)


class Typed(Net):
    """A Net whose constants may be of 4 bits; everything after `x` is quantised."""

    def typed(self, array, kind):
        name = f"t{len(self.constants)}"
        values = np.asarray(array)
        self.constants.append(helper.make_tensor(name, kind, values.shape, values.ravel().tolist()))
        return name

    def gemm(self, w, b=None):
        x = self.quantised("x", 0.0625, 0, np.int8)
        y = self.put("Gemm", x, w, *([b] if b else []), transB=1, name="gemm")
        return self.quantised(y, 0.25, 0, np.int8)


def four_bits(net, zero=0, kind=TensorProto.INT4, shape=(5, 24), scales=None, **attributes):
    low = 0 if kind == TensorProto.UINT4 else -8
    scales = 2.0 ** net.rng.integers(-5, -1, 5) if scales is None else scales
    q = net.typed(net.rng.integers(low, low + 16, shape), kind)
    pair = net.constant(scales), net.typed(np.full(np.shape(scales), zero), kind)
    return net.put("DequantizeLinear", q, *pair, **({"axis": 0} | attributes))


def from_float(net, clip=()):
    """Float weights through QuantizeLinear, perhaps Clip, and DequantizeLinear: all at import."""
    pair = net.constant(2.0 ** net.rng.integers(-6, -3, 5)), net.constant(np.zeros(5), np.int8)
    q = net.put("QuantizeLinear", net.normal(5, 24), *pair, axis=0)
    q = net.put("Clip", q, *(net.constant(end, np.int8) for end in clip)) if clip else q
    return net.put("DequantizeLinear", q, *pair, axis=0)


def integers(net, dtype=np.int8, zero=0, low=-127, high=127):
    pair = net.constant(0.0625), net.constant(zero, dtype)
    return net.put("DequantizeLinear", net.constant(net.rng.integers(low, high + 1, (5, 24)), dtype), *pair)


KEPT = {
    "int4": lambda n: n.gemm(four_bits(n)),
    "uint4 around 8": lambda n: n.gemm(four_bits(n, 8, TensorProto.UINT4)),
    "int4, one scale": lambda n: n.gemm(four_bits(n, scales=0.125)),
    "uint8 around 128": lambda n: n.gemm(integers(n, np.uint8, 128, 1, 255)),
    "int8 with a zero point": lambda n: n.gemm(integers(n, np.int8, 20, -100, 100)),
    "floats quantised in the graph": lambda n: n.gemm(from_float(n)),
    "floats clipped to 4 bits in the graph": lambda n: n.gemm(from_float(n, (-8, 7))),
    "int16 that fits int8": lambda n: n.gemm(integers(n, np.int16)),
}
ROUNDED = {
    "int4 in blocks": lambda n: n.gemm(four_bits(
        n, scales=2.0 ** n.rng.integers(-5, -1, (5, 3)), axis=1, block_size=8)),
    "int4 in blocks, the last one short": lambda n: n.gemm(four_bits(
        n, scales=2.0 ** n.rng.integers(-5, -1, (5, 3)), axis=1, block_size=10)),
    "uint8 around 0": lambda n: n.gemm(integers(n, np.uint8, 0, 0, 255)),
    "int16": lambda n: n.gemm(integers(n, np.int16, 0, -3000, 3000)),
    "scales along the inputs": lambda n: n.gemm(four_bits(n, scales=np.arange(1, 25), axis=1)),
}  # fmt: skip


def saved(write, tmp_path):
    net = Typed(*VECTOR, opset=21)
    y = write(net)
    model = net.model(y, infer=False)
    model.ir_version = 10
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, 1, [1, 5]))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    return path


def weights_by_onnx(path):
    """What the Gemm's weights are, by onnx's reference evaluator."""
    model = onnx.load(str(path))
    name = next(n.input[1] for n in model.graph.node if n.op_type == "Gemm")
    model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return ReferenceEvaluator(model).run([name], {"x": np.zeros(VECTOR, np.float32)})[0]


@pytest.mark.parametrize("form", KEPT | ROUNDED)
def test_the_real_weights_are_onnxs(form, tmp_path):
    path = saved((KEPT | ROUNDED)[form], tmp_path)
    (op,) = (n.op for n in load_onnx(path).graph.nodes if n.name == "gemm")
    np.testing.assert_array_equal(op.weights, weights_by_onnx(path).astype(np.float64))
    assert same_network(path) == 2


@pytest.mark.parametrize("form", KEPT)
def test_integers_that_are_kept(form, tmp_path):
    path = saved(KEPT[form], tmp_path)
    assert set(load_onnx(path).weights) == {"gemm"}
    differing, compared, _, _ = differences(path, VECTOR)
    assert (differing, compared) == (0, 100)  # powers of two
    assert load_onnx(path).weights_of(load_onnx(path).graph.node("gemm")) == "the file's integers"
    assert load_onnx(path).power_of_two
    assert build_networks(path, Options()).rounded == ()


@pytest.mark.parametrize("form", ROUNDED)
def test_integers_that_are_rounded_to_int8(form, tmp_path):
    path = saved(ROUNDED[form], tmp_path)
    imported, graph = integer_graph(path)
    assert not imported.weights
    op, real = graph.nodes[0].op, imported.graph.nodes[0].op.weights
    assert np.abs(op.weights).max(axis=1).tolist() == [127] * 5
    scales = np.abs(real).max(axis=1, keepdims=True) / 127
    assert (np.abs(op.weights * scales - real) <= 0.51 * scales).all()
    assert imported.weights_of(imported.graph.node("gemm")) == "rounded to int8"
    assert not imported.power_of_two
    assert build_networks(path, Options()).rounded == ("gemm",)


@pytest.mark.parametrize(("form", "told"), [(min(KEPT), []), (min(ROUNDED), ["gemm"])])
def test_the_report_says_which_weights_were_rounded(form, told, tmp_path, capsys):
    path = saved((KEPT | ROUNDED)[form], tmp_path)
    build = compile_model(path, tmp_path / "build", Options(target="c"))
    assert build.report["rounded_weights"] == told
    show_report(build.report, build.folder, as_json=False)
    assert ("weights rounded, not the file's integers: gemm\n" in capsys.readouterr().out) == bool(told)
    build.certify()
    assert build.report["rounded_weights"] == told


def test_dequantised_weights_through_a_transpose(tmp_path):
    """What a MatMul of PyTorch's linear layer looks like: the integers go where the weights go."""

    def write(net):
        w = net.put("Transpose", integers(net), perm=[1, 0])
        x = net.quantised("x", 0.0625, 0, np.int8)
        return net.quantised(net.put("MatMul", x, w, name="gemm"), 0.25, 0, np.int8)

    path = saved(write, tmp_path)
    assert load_onnx(path).weights["gemm"].integers.shape == (5, 24)
    assert differences(path, VECTOR)[:2] == (0, 100)
    assert same_network(path) == 2


@pytest.mark.parametrize(
    ("scale", "kept"), [(2.0**-8, True), (2.0**-8 * (1 + 2.0**-20), True), (0.01, False)]
)
def test_a_bias_in_another_unit_is_rounded_from_its_real_value(scale, kept, tmp_path):
    held = np.array([1000, -2000, 3, 0, 31])

    def write(net):
        b = net.put("DequantizeLinear", net.constant(held, np.int32), net.constant(scale))
        return net.gemm(integers(net), b)

    path = saved(write, tmp_path)
    bias = load_onnx(path).weights["gemm"].bias
    _, graph = integer_graph(path)
    unit = Fraction(1, 256)
    assert (bias is not None) == kept
    want = held if kept else [round(Fraction(float(np.float32(scale))) * int(q) / unit) for q in held]
    np.testing.assert_array_equal(graph.nodes[0].op.bias, want)


def test_a_folded_factor_goes_into_the_scales(tmp_path):
    """Conv and BatchNormalization as quantisation-aware training leaves them; a gamma is 0, one negative."""
    gamma = np.array([1.5, -0.7, 0.0, 0.3])
    net = Net(*MAP)
    x = net.quantised("x", 0.0625, 0, np.int8)
    held = net.rng.integers(-7, 8, (4, 4, 3, 3))
    y = net.put("Conv", x, net.weights(held, 0.125), pads=[1] * 4, name="conv")
    more = (net.rng.normal(0, 1, 4), net.rng.normal(0, 1, 4), net.rng.uniform(0.5, 2, 4))
    y = net.put("BatchNormalization", y, *(net.constant(p) for p in (gamma, *more)))
    path = net.save(tmp_path, net.quantised(y, 0.25, 0, np.int8))

    imported = load_onnx(path)

    assert same_network(path) == 2
    weights, real = imported.weights["conv"], imported.graph.node("conv").op.weights
    np.testing.assert_array_equal(weights.integers, held * np.sign(gamma).astype(int).reshape(-1, 1, 1, 1))
    each = np.array([float(s) for s in weights.scales]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(each * weights.integers, real, rtol=1e-14, atol=0)
    differing, compared, worst, _ = differences(path, MAP)
    print(f"{differing} of {compared}")
    assert (compared, worst <= 1.01) == (2880, True)  # the bias is rounded to the sum's unit
    assert differing <= 0.01 * compared


def test_weights_changed_otherwise_are_rounded(tmp_path):
    weight = weight_of(helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
                       {"q": np.array([[3, -4], [5, 6]], np.int8), "s": np.float32(0.5)})  # fmt: skip
    op, source = Dense(weight.real * [[1.0], [1.25]], np.zeros(2)), Scaled(Fraction(1, 8), 0, -128, 127)
    assert integer_weights(op, weight, None, source).scales == (Fraction(1, 2), Fraction(5, 8))
    op = Dense(np.add(weight.real, [[0, 0], [0, 0.5]]), np.zeros(2))
    assert integer_weights(op, weight, None, source) is None
    op = Dense(np.add(weight.real, [[0, 0], [0, 2.0**-40]]), np.zeros(2))
    assert integer_weights(op, weight, None, source) is None


# -- activations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "zero", "ends"), [
    (TensorProto.INT4, 1, (-8, 7)), (TensorProto.UINT4, 3, (-128, -113)),
])  # fmt: skip
@pytest.mark.parametrize("at_input", [False, True])
def test_activations_of_4_bits(kind, zero, ends, at_input, tmp_path):
    def write(net):
        pair = net.constant(0.5), net.typed(zero, kind)
        x = "x" if at_input else net.gemm(integers(net))
        return net.put("DequantizeLinear", net.put("QuantizeLinear", x, *pair), *pair)

    path = saved(write, tmp_path)
    if at_input:
        model = onnx.load(str(path))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(model.graph.output[0].name, 1, [1, 24]))
        onnx.save(model, str(path))
    imported, graph = integer_graph(path)
    assert [(s.lo, s.hi) for s in imported.activations.values()][-1] == ends
    assert (graph.values["x"].range.lo, graph.values["x"].range.hi) == (-128, 127)
    assert same_network(path) > 0
    differing, compared, _, _ = differences(path, VECTOR)
    assert (differing, compared) == (0, 480 if at_input else 100)


# -- powers of two ----------------------------------------------------------------------------------


def test_powers_of_two_are_recognised_and_are_shifts(tmp_path):
    """No multiplier is left but powers of two: an Add brings its own, an average of 6 has none."""
    for scale, two in ((0.25, True), (0.3, False)):
        net = Net(*MAP)
        x = net.quantised("x", 2.0**-5, 3, np.int8)
        w = net.weights(net.rng.integers(-127, 128, (4, 4, 3, 3)), 2.0 ** net.rng.integers(-8, -3, 4))
        y = net.quantised(net.put("Conv", x, w, pads=[1] * 4, name="conv"), scale, 7, np.int8)
        y = net.quantised(net.put("Add", y, x), 0.5, -1, np.int8)
        y = net.quantised(net.put("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]), 0.5, -1, np.int8)
        path = net.save(tmp_path, y)
        assert load_onnx(path).power_of_two == two
        _, graph = integer_graph(path)
        ops = [n.op for n in graph.nodes]
        shifts = [m for op in ops if isinstance(op, Requantise) for m in op.multiplier.tolist()]
        added = [m for op in ops if isinstance(op, Add) for m in (op.ma, op.mb)]
        assert all(m & (m - 1) == 0 for m in (*shifts, *added)) == two
        assert any(isinstance(op, AveragePool) for op in ops)


def test_inspect_shows_both(tmp_path):
    path = saved(KEPT["int4"], tmp_path)
    found = inspect_model(path)
    assert [n["weights"] for n in found["nodes"]] == ["the file's integers", ""]
    assert (found["quantised"], found["power_of_two_scales"]) == (True, True)
    net = Net(*VECTOR)
    found = inspect_model(net.save(tmp_path, net.put("Gemm", "x", net.normal(24, 3))))
    assert [n["weights"] for n in found["nodes"]] == ["rounded to int8", ""]
    assert (found["quantised"], found["power_of_two_scales"]) == (False, False)


def two_bits(net, array, kind):
    """An initializer of a type that the installed onnx may not know: four to a byte, the first one lowest."""
    flat = np.append(np.asarray(array).ravel() & 3, [0, 0, 0])
    held = [int(flat[i : i + 4] @ (1, 4, 16, 64)) for i in range(0, np.size(array), 4)]
    name = f"t{len(net.constants)}"
    net.constants.append(
        onnx.TensorProto(name=name, data_type=kind, dims=np.shape(array), raw_data=bytes(held))
    )
    return name


@pytest.mark.parametrize(("kind", "low", "zero"), [(26, -2, 0), (26, -2, -1), (25, 0, 2)])
def test_weights_of_two_bits_are_read(kind, low, zero, tmp_path):
    found = []
    for packed in (True, False):
        net = Typed(*VECTOR, opset=21)
        q = net.rng.integers(low, low + 4, (5, 24))
        q.ravel()[:4] = range(low, low + 4)
        scale = net.constant(0.125)
        if packed:
            inputs = two_bits(net, q, kind), scale, two_bits(net, zero, kind)
        else:
            inputs = net.constant(q, np.int8), scale, net.constant(zero, np.int8)
        model = net.model(net.gemm(net.put("DequantizeLinear", *inputs)), infer=False)
        model.ir_version = 13 if packed else 10  # files with these types say 13
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(model.graph.output[0].name, 1, [1, 5]))
        path = tmp_path / f"net{packed}.onnx"
        onnx.save(model, str(path))
        (weights,) = load_onnx(path).weights.values()
        np.testing.assert_array_equal(weights.integers, q - zero)
        assert same_network(path)
        found.append(weights.scales)
    assert found[0] == found[1]
    build = compile_model(tmp_path / "netTrue.onnx", tmp_path / "build", Options(target="c"))
    assert build.verify(["host"]).ok
