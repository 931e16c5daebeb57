# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime's quantize_static writes, in all its forms: read by both readers, and run beside it.

Every layer is fed with the golden model's integers. Weights that int8 holds: nothing differs at 8 bits, at 16
float32 sums beside a tie. Others are rounded anew (docs/quantised-models.md): uint8 around another zero point
than 128 two steps, and every element is where its own weights put it.
"""

import itertools
import logging
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from onnx_nets import Net
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from pipeline import same_network
from replay import replay

from tinybound.domains.exact import Exact
from tinybound.frontends import load_onnx
from tinybound.ops import Conv, Dense, Requantise

Q = QuantType
TYPES = {  # of activations and of weights, steps that a layer may be apart (none: nothing may differ)
    "s8": (Q.QInt8, Q.QInt8, 0),
    "u8s8": (Q.QUInt8, Q.QInt8, 0),
    "u8": (Q.QUInt8, Q.QUInt8, 2),
    "s16s8": (Q.QInt16, Q.QInt8, 1),
    "u16s8": (Q.QUInt16, Q.QInt8, 1),
    "s8s4": (Q.QInt8, Q.QInt4, 0),
    "s8u4": (Q.QInt8, Q.QUInt4, 0),
    "s16": (Q.QInt16, Q.QInt16, 1),
}
MORE = {
    "": {},
    "symmetric": {"ActivationSymmetric": True, "WeightSymmetric": True},
    "own pairs": {"QDQKeepRemovableActivations": True, "DedicatedQDQPair": True},
}


def cnn():
    """A residual block, depthwise, joined, with ops between its layers."""
    n = Net(1, 3, 10, 8, opset=21)
    y = n.put("Relu", n.put("Conv", "x", n.normal(8, 3, 3, 3), n.normal(8), pads=[1, 1, 1, 1]))
    d = n.put("Conv", y, n.normal(8, 1, 3, 3), n.normal(8), group=8, pads=[1, 1, 1, 1], strides=[2, 2])
    d = n.put("Clip", d, n.constant(0.0), n.constant(6.0))
    s = n.put("Add", n.put("Conv", d, n.normal(8, 8, 1, 1), n.normal(8)), d)
    m = n.put("MaxPool", s, kernel_shape=[2, 2], strides=[2, 2])
    g = n.put("Flatten", n.put("GlobalAveragePool", n.put("Concat", m, m, axis=1)))
    return n, n.put("Sigmoid", n.put("Gemm", g, n.normal(16, 5), n.normal(5)))


def mlp():
    """Gemm and MatMul with an Add behind it, a LeakyRelu and a constant factor."""
    n = Net(1, 12, opset=21)
    y = n.put("Relu", n.put("Add", n.put("MatMul", "x", n.normal(12, 16)), n.normal(16)))
    y = n.put("LeakyRelu", n.put("Gemm", y, n.normal(16, 10), n.normal(10)), alpha=0.1)
    y = n.put("Mul", y, n.normal(10))
    return n, n.put("Tanh", n.put("Gemm", y, n.normal(10, 4), n.normal(4)))


def line():
    """Convolutions and a pool on a line."""
    n = Net(1, 4, 20, opset=21)
    y = n.put("Relu", n.put("Conv", "x", n.normal(6, 4, 3), n.normal(6), pads=[1, 1]))
    y = n.put("Conv", y, n.normal(6, 1, 3), n.normal(6), group=6, strides=[2])
    y = n.put("AveragePool", y, kernel_shape=[3], strides=[2])
    return n, n.put("MatMul", n.put("Flatten", y), n.normal(24, 3))


NETS = {"cnn": cnn, "mlp": mlp, "line": line}
FORMS = [
    (net, "QDQ", kind, channels, more)
    for net, kind, channels, more in itertools.product(NETS, TYPES, (False, True), MORE)
    if channels or not more
] + [
    (net, "QOperator", kind, channels, "")  # the tool has neither 16 nor 4 bits in this form
    for net, kind, channels in itertools.product(NETS, ("s8", "u8s8", "u8"), (False, True))
]
OFTEN = {
    ("mlp", "QDQ", "s8", True, "symmetric"),
    ("mlp", "QDQ", "s16s8", True, ""),
    ("mlp", "QDQ", "s16", True, "own pairs"),
    ("mlp", "QOperator", "u8s8", True, ""),
    ("line", "QDQ", "u8s8", True, "own pairs"),
    ("line", "QDQ", "s16", True, ""),
    ("line", "QDQ", "s8s4", True, ""),
    ("line", "QOperator", "s8", False, ""),
}


class Samples(CalibrationDataReader):
    def __init__(self, x):
        self.rest = iter([{"x": sample[None]} for sample in x])

    def get_next(self):
        return next(self.rest, None)


def explained(real, whole, values, name, theirs):
    """ONNX Runtime's integers are those of the file's real weights, and ours are off by no more than what the
    rounding of weights can do, element by element. Whether it is a layer with weights."""
    node = whole.producer(name)
    layer = None if node is None else whole.producer(node.inputs[0])
    if layer is None or not isinstance(layer.op, Conv | Dense) or not isinstance(node.op, Requantise):
        return False
    twin, out, read = (
        real.node(layer.origin).op,
        whole.values[name].quant,
        whole.values[layer.inputs[0]].quant,
    )
    x = (values[layer.inputs[0]] - read.zero) * float(read.scale[0])
    step = float(out.scale[0])
    unit = np.array([float(s) for s in whole.values[layer.output].quant.scale]) / float(read.scale[0])
    each = unit.reshape(-1, *(1,) * (twin.weights.ndim - 1))
    ends = node.op.lo, node.op.hi
    steps = np.clip(twin.meaning(Exact(), x) / step + out.zero, *ends)
    lost = replace(twin, weights=np.abs(layer.op.weights * each - twin.weights), bias=0 * twin.bias)
    far = lost.meaning(Exact(), np.abs(x)) / step
    bias = np.abs(layer.op.bias * unit * float(read.scale[0]) - twin.bias) / step
    far += bias.reshape(-1, *(1,) * (far.ndim - 1))
    assert np.abs(theirs - steps).max() <= 0.51
    assert (np.abs(values[name] - steps) <= 0.501 + far * (1 + 1e-6)).all()
    return True


@pytest.mark.parametrize(
    "form", [form if form in OFTEN else pytest.param(form, marks=pytest.mark.slow) for form in FORMS], ids=str
)
def test_a_form_of_quantize_static(form, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.root, "disabled", True)  # the tool has advice
    name, style, kind, channels, more = form
    activations, weights, most = TYPES[kind]
    net, y = NETS[name]()
    source, path = net.save(tmp_path, y), tmp_path / "quantised.onnx"
    shape = [d.dim_value for d in net.inputs[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(0, 1, (24, *shape[1:])).astype(np.float32)
    quantize_static(
        str(source), str(path), Samples(x), quant_format=QuantFormat[style], activation_type=activations,
        weight_type=weights, per_channel=channels, extra_options=MORE[more],
        reduce_range=kind == "u8s8" and style == "QOperator",  # else ONNX Runtime's sums saturate
    )  # fmt: skip

    looked = []
    seen, _ = replay(
        path,
        x[:6],
        optimise=style == "QOperator" and kind != "s8",
        look=lambda *args: looked.append(explained(*args)),
    )

    assert any(looked)
    assert same_network(path) >= len(seen)
    assert len(seen) > 3
    worst, differing = max(f.worst for f in seen.values()), sum(f.differing for f in seen.values())
    print(f"{form}: worst {worst:g}, {differing} of {sum(f.compared for f in seen.values())} differ")
    assert worst <= most
    inexact = sum(f.inexact for name, f in seen.items() if not name.startswith("leakyrelu"))
    assert inexact == 0  # ours is the exact integer wherever the two differ, but for a Curve
    if most <= 1:
        assert all(f.from_tie < 0.01 for f in seen.values())


@pytest.mark.parametrize("bits", [28, 31])
def test_a_bias_that_no_double_holds_exactly(bits, tmp_path):
    """Of 16-bit weights: both readers take the nearest double of scale * q."""
    net = Net(1, 8)
    bias = net.rng.integers(-(1 << bits) + 1, 1 << bits, 5)
    scales = np.float32(net.rng.uniform(1e-9, 2e-9, 5))
    w = net.weights(net.rng.integers(-127, 128, (5, 8)), 1e-2)
    y = net.put(
        "Gemm", net.quantised("x", 0.05, 3, np.int8), w, net.weights(bias, scales, dtype=np.int32), transB=1
    )
    path = net.save(tmp_path, net.quantised(y, 0.1, -4, np.int8))
    assert same_network(path) == 2
    (dense, _) = load_onnx(path).graph.nodes
    exact = [float(Fraction(float(s)) * int(q)) for s, q in zip(scales, bias, strict=True)]
    assert dense.op.bias.tolist() == exact
