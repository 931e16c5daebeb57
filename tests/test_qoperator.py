# SPDX-License-Identifier: Apache-2.0
"""QOperator files (QLinearConv, QGemm ...): every layer against ONNX Runtime, fed with golden's own integers.

The rule is that of test_onnxruntime.py: never more than one step, and only where the exact result lies at a
rounding tie or within float32 error of one; with power-of-two scales no difference at all. uint8 runs with
optimisations on: without them ONNX Runtime saturates sums of uint8 times int8 on CPUs without VNNI.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from onnx_nets import Net
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from pipeline import refused, same_network
from replay import Seen, integer_graph, replay
from test_onnxruntime import NEAR, layer

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")

MS = "com.microsoft"
MAP, VECTOR = (1, 4, 8, 8), (1, 24)
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class Integers:
    """A Net whose tensors are integers: `q` is (tensor, scale, zero)."""

    def __init__(self, shape, dtype, two, seed):
        self.net, self.dtype, self.two, self.rank = Net(*shape, seed=seed), dtype, two, len(shape)
        self.q = self.quantiser()
        self.q = (self.net.put("QuantizeLinear", "x", *self.q), *self.q)

    def scale(self, low, high):
        value = self.net.rng.uniform(low, high)
        return float(2.0 ** np.round(np.log2(value))) if self.two else float(np.float32(value))

    def quantiser(self, low=0.01, high=0.05):
        """Scale and an even zero point: ONNX Runtime's fused additions and averages round behind it."""
        self.x_scale = np.float32(self.scale(low, high))
        info = np.iinfo(self.dtype)
        zero = 2 * int(self.net.rng.integers(info.min // 2 + 40, info.max // 2 - 40))
        return self.net.constant(self.x_scale), self.net.constant(zero, self.dtype)

    def weights(self, shape, axis, dtype=np.int8):
        """Integers, scales along `axis` (one where it is None) and zero points (128 for uint8)."""
        count = () if axis is None else shape[axis]
        scales = np.vectorize(lambda _: self.scale(0.001, 0.01))(np.zeros(count)).astype(np.float32)
        self.unit = np.float64(self.net_scale()) * scales
        zero = 128 if dtype == np.uint8 else 0
        q = self.net.rng.integers(-127, 128, shape) + zero
        net = self.net
        return net.constant(q, dtype), net.constant(scales), net.constant(np.full(count, zero), dtype)

    def net_scale(self):
        return next(float(onnx.numpy_helper.to_array(c)) for c in self.net.constants if c.name == self.q[1])

    def bias(self, count):
        return self.net.constant(self.net.rng.integers(-3000, 3000, count), np.int32)

    def put(self, kind, *inputs, domain=MS, **attributes):
        y = self.net.put(kind, *inputs, **attributes)
        self.net.nodes[-1].domain = domain
        return y

    def save(self, folder, y, file):
        """`y` is an integer tensor: the file ends with integers."""
        model = self.net.model(y, infer=False)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, kind, [None] * self.rank))
        model.opset_import.append(helper.make_opsetid(MS, 1))
        path = folder / file
        onnx.save(model, str(path))
        return path


def conv(t, groups=1, dtype=np.int8, axis=0, bias=True, **more):
    w = t.weights((8, 4 // groups, 3, 3), axis, dtype)
    extra = [t.bias(8)] if bias else []
    return t.put("QLinearConv", *t.q, *w, *t.quantiser(0.05, 0.2), *extra, domain="", group=groups, **more)


def gemm(t, dtype=np.int8, axis=0, **more):
    w = t.weights((10, 24), axis, dtype)
    return t.put("QGemm", *t.q, *w, t.bias(10), *t.quantiser(0.05, 0.2), transB=1, **more)


def add(t):
    other = t.put("QLinearAdd", *t.q, *t.q, *(s := t.quantiser()))
    return t.put("QLinearAdd", *t.q, other, *s, *t.quantiser(0.02, 0.1))


def multiply(t):
    other = conv_of_four(t)
    return t.put("QLinearMul", *t.q, *other, *t.quantiser(0.05, 0.2))


def conv_of_four(t):
    """A second tensor of the input's shape, with its quantiser."""
    w = t.weights((4, 4, 1, 1), 0)
    s = t.quantiser(0.05, 0.2)
    return t.put("QLinearConv", *t.q, *w, *s, domain=""), *s


def concat(t):
    return t.put("QLinearConcat", *t.quantiser(0.05, 0.2), *t.q, *conv_of_four(t), axis=1)


def one(kind, **more):
    return lambda t: t.put(kind, *t.q, *t.quantiser(0.003, 0.008), **more)


def same_scale(kind, **more):
    return lambda t: t.put(kind, *t.q, *t.q[1:], **more)


KINDS = {
    "QLinearConv": (MAP, lambda t: conv(t, pads=[1, 1, 1, 1])),
    "QLinearConv, one weight scale": (MAP, lambda t: conv(t, axis=None, strides=[2, 1])),
    "QLinearConv, groups": (MAP, lambda t: conv(t, groups=2, bias=False)),
    "QLinearConv, depthwise": (MAP, lambda t: conv(t, groups=4)),
    "QLinearConv, uint8 weights": (MAP, lambda t: conv(t, dtype=np.uint8, axis=None)),
    "QLinearMatMul": (VECTOR, lambda t: t.put("QLinearMatMul", *t.q, *t.weights((24, 10), 1),
                                              *t.quantiser(0.05, 0.2), domain="")),
    "QLinearMatMul, one weight scale": (VECTOR, lambda t: t.put(
        "QLinearMatMul", *t.q, *t.weights((24, 10), None), *t.quantiser(0.05, 0.2), domain="")),
    "QGemm": (VECTOR, gemm),
    "QGemm, uint8 weights": (VECTOR, lambda t: gemm(t, np.uint8, None)),
    "QGemm, not transposed": (VECTOR, lambda t: t.put("QGemm", *t.q, *t.weights((24, 10), 1), t.bias(10),
                                                      *t.quantiser(0.05, 0.2))),
    "QLinearAdd": (MAP, add),
    "QLinearMul": (MAP, multiply),
    "QLinearConcat": (MAP, concat),
    "QLinearAveragePool": (MAP, same_scale("QLinearAveragePool", kernel_shape=[2, 2], strides=[2, 2])),
    "QLinearGlobalAveragePool": (MAP, same_scale("QLinearGlobalAveragePool")),
    "QLinearLeakyRelu": (MAP, one("QLinearLeakyRelu", alpha=0.125)),
    "QLinearSigmoid": (MAP, one("QLinearSigmoid")),
    "MaxPool of integers": (MAP, lambda t: t.net.put("MaxPool", conv(t), kernel_shape=[2, 2])),
}  # fmt: skip
TABLES = ("QLinearLeakyRelu", "QLinearSigmoid")  # ONNX Runtime tabulates them in float32


def allowed(kind, dtype):
    """ONNX Runtime multiplies uint8 weights with int8 activations nowhere."""
    return not ("uint8" in kind and dtype == np.int8)


@pytest.mark.parametrize("two", [True, False], ids=["power-of-two", "random"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8], ids=["s8", "u8"])
def test_single_ops(dtype, two, tmp_path):
    total = Seen()
    for kind, (shape, write) in KINDS.items():
        if not allowed(kind, dtype):
            continue
        seen = Seen()
        for seed in range(6):
            t = Integers(shape, dtype, two, seed)
            path = t.save(tmp_path, write(t), f"{seed}.onnx")
            assert same_network(path) > 0
            x = np.random.default_rng(seed).normal(0, 2, (6, *shape[1:])).astype(np.float32)
            x[0] = 9  # all of it saturates
            result, _ = replay(path, x, optimise=dtype == np.uint8)
            for found in result.values():
                assert found.worst <= 1, (kind, seed)
                assert kind in TABLES or found.from_tie < NEAR, (kind, seed)
                assert kind in TABLES or found.inexact == 0, (kind, seed, found)
                seen.differing, seen.compared = (
                    seen.differing + found.differing,
                    seen.compared + found.compared,
                )
        print(f"{kind}: {seen.differing} of {seen.compared} elements differ, by 1 step")
        assert seen.compared >= 1000
        average = "Average" in kind and not two  # the ratio is 1/taps: ties are common
        assert seen.differing <= (0.2 if average else 0 if two else 1e-3) * seen.compared, kind
        total.differing, total.compared = total.differing + seen.differing, total.compared + seen.compared
    print(f"all: {total.differing} of {total.compared}")


class Samples(CalibrationDataReader):
    def __init__(self, name, x):
        self.rest = iter([{name: sample[None].astype(np.float32)} for sample in x])

    def get_next(self):
        return next(self.rest, None)


def quantised(name, kind, folder, *, per_channel, weights=QuantType.QInt8):
    """A bundled float model in QOperator form, by ONNX Runtime's own quantiser; and its test inputs."""
    source = EXAMPLES / f"{name}.onnx"
    entry = onnx.load(str(source)).graph.input[0].name
    data = np.load(EXAMPLES / f"{name.removesuffix('_softmax')}_calibration.npz")[entry]
    path, folded = folder / f"{name}.onnx", folder / "folded.onnx"
    options = ort.SessionOptions()  # a BatchNormalization between quantisers would be float arithmetic
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    quantize_static(str(folded), str(path), Samples(entry, data[:40]), quant_format=QuantFormat.QOperator,
                    activation_type=kind, weight_type=weights, per_channel=per_channel)  # fmt: skip
    return path, data


@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8], ids=["s8", "u8"])
@pytest.mark.parametrize("name", ["digits_cnn_softmax", "digits_mlp", "residual_cnn", "controller2"])
def test_examples_quantised_by_onnx_runtime(name, kind, tmp_path):
    path, data = quantised(name, kind, tmp_path, per_channel=True)
    assert same_network(path) > 3

    result, whole = replay(path, data[:20], optimise=kind == QuantType.QUInt8)

    assert len(result) >= 3
    for value, found in result.items():
        assert found.worst <= 1, value
    kept = [f for value, f in result.items() if layer(whole, value) != "Softmax"]
    differing, compared = sum(f.differing for f in kept), sum(f.compared for f in kept)
    print(f"{name}: {differing} of {compared} elements differ, by 1 step")
    assert differing <= 0.02 * compared  # averages and additions: ties are common


def test_the_files_own_integers_are_kept(tmp_path):
    path, _ = quantised("digits_mlp", QuantType.QInt8, tmp_path, per_channel=True)
    imported, _ = integer_graph(path)
    assert set(imported.weights) == {"dense1_quant", "dense2_quant"}
    held = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    for name, weights in imported.weights.items():
        node = next(n for n in onnx.load(str(path)).graph.node if n.name == name)
        np.testing.assert_array_equal(weights.integers, held[node.input[3]])
        np.testing.assert_array_equal(weights.bias, held[node.input[6]])


def test_weights_that_int8_does_not_hold_are_quantised_again(tmp_path):
    """uint8 weights whose zero point is not 128: q - zero has nine bits."""
    path, _ = quantised("digits_mlp", QuantType.QUInt8, tmp_path, per_channel=False,
                        weights=QuantType.QUInt8)  # fmt: skip
    imported, graph = integer_graph(path)
    assert not imported.weights
    assert same_network(path) == 4
    dense = graph.nodes[0].op
    assert np.abs(dense.weights).max() == 127


def test_a_certificate_of_a_qoperator_file_is_accepted(tmp_path):
    path, _ = quantised("controller2", QuantType.QInt8, tmp_path, per_channel=True)
    compile_model(path, tmp_path / "build", Options(domain="-0.2,0.2", target="c"))
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


def test_a_real_result(tmp_path):
    """QGemm without y_scale."""
    t = Integers(VECTOR, np.int8, True, 0)
    y = t.put("QGemm", *t.q, *t.weights((10, 24), 0), t.bias(10), transB=1)
    path = t.net.save(tmp_path, t.net.quantised(y, 0.25, 3, np.int8), infer=False)
    model = onnx.load(str(path))
    model.opset_import.append(helper.make_opsetid(MS, 1))
    onnx.save(model, str(path))
    assert same_network(path) == 2
    result, _ = replay(path, np.random.default_rng(0).normal(0, 1, (20, 24)), optimise=False)
    assert [f.differing for f in result.values()] == [0, 0]
    assert sum(f.compared for f in result.values()) == 680


def test_quantisers_of_the_other_domain(tmp_path):
    """What ONNX Runtime's quantiser writes with UseQDQContribOps; weights as well."""
    net = Net(*VECTOR)
    x = net.quantised("x", 0.03125, 3, np.int8)
    w = net.weights(net.rng.integers(-127, 128, (5, 24)), 2.0 ** net.rng.integers(-8, -3, 5))
    path = net.save(tmp_path, net.quantised(net.put("Gemm", x, w, transB=1), 0.125, -7, np.int8))
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.domain = MS if "quantizelinear" in node.op_type.lower() else ""
    model.opset_import.append(helper.make_opsetid(MS, 1))
    onnx.save(model, str(path))
    assert same_network(path) == 2
    assert len(integer_graph(path)[0].weights) == 1
    result, _ = replay(path, np.random.default_rng(0).normal(0, 1, (20, 24)), optimise=False)
    assert [(f.differing, f.compared) for f in result.values()] == [(0, 480), (0, 100)]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda t: t.put("QLinearAveragePool", *t.q, *t.q[1:], kernel_shape=[2, 2], channels_last=1),
         "odd: channels_last = 1"),
        (lambda t: t.put("QLinearAdd", *t.q, *t.q, t.q[1]), "odd: no zero point of the output"),
        (lambda t: conv(t, bias=False, dilations=[9, 9]), "odd: .*"),
        (lambda t: t.put("QLinearConv", *t.q, *t.weights((8, 4, 3, 3), 0), *t.quantiser(),
                         t.net.normal(8), domain=""), "odd: a bias that is not an int32 vector"),
        (lambda t: t.put("QLinearGlobalAveragePool", t.q[0], "x", t.q[2], *t.q[1:]), "odd: .*not constant"),
        (lambda t: t.put("DynamicQuantizeLinear", "x", domain="", outputs=3),
         r"odd: op DynamicQuantizeLinear \(try static quantisation"),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(write, message, tmp_path):
    t = Integers(MAP, np.int8, True, 0)
    y = write(t)
    t.net.nodes[-1].name = "odd"
    refused(t.save(tmp_path, y, "odd.onnx"), message)
