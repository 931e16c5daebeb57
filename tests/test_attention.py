# SPDX-License-Identifier: Apache-2.0
"""Networks with products of two computed tensors: attention blocks, their certificates, every integer."""

from fractions import Fraction
from itertools import product

import numpy as np
import onnx
import pytest
from int16_nets import quantised
from onnx_nets import Net, session
from pipeline import same_network
from replay import replay
from test_onnxruntime import layer

from tinybound.build import compile as compile_model
from tinybound.certify.export import merged_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.simulate.golden import dequantise, quantise

pytestmark = pytest.mark.usefixtures("quick_attack")


def attention(net, *, heads=1, function="HardSigmoid", size=(4, 6)):
    """function(Q K^T c) V of heads, and one more matrix behind: an attention block."""
    tokens, width = size
    split = net.constant((1, tokens, heads, width // heads), np.int64)

    def head(*perm):
        y = net.put("MatMul", "x", net.normal(width, width))
        return net.put("Transpose", net.put("Reshape", y, split), perm=perm)

    q, k, v = head(0, 2, 1, 3), head(0, 2, 3, 1), head(0, 2, 1, 3)
    s = net.put("Mul", net.put("MatMul", q, k), net.constant((width // heads) ** -0.5))
    s = net.put(function, s, axis=-1) if function == "Softmax" else net.put(function, s)
    y = net.put("Transpose", net.put("MatMul", s, v), perm=[0, 2, 1, 3])
    y = net.put("Reshape", y, net.constant((1, tokens, width), np.int64))
    return net.put("MatMul", y, net.normal(width, width))


BLOCKS = [
    ("Softmax", 1, 8, (3, 4)),
    *(
        pytest.param(function, *each, marks=pytest.mark.slow)
        for function in ("Softmax", "HardSigmoid")
        for each in ((1, 8, (4, 6)), (2, 8, (4, 6)), (1, 16, (4, 6)), (3, 16, (4, 6)))
    ),
]


@pytest.mark.parametrize(("function", "heads", "activations", "size"), BLOCKS)
def test_an_attention_block(function, heads, activations, size, tmp_path):
    net = Net(1, *size, seed=heads)
    path = net.save(tmp_path, attention(net, heads=heads, function=function, size=size))
    target, executors = ("all", ["host", "rtl"]) if heads == 2 else ("c", ["host"])
    build = compile_model(
        path, tmp_path / "build", Options(domain="-0.5,0.5", target=target, activations=activations)
    )

    assert same_network(path)
    assert build.verify([*executors, "cortex-m4"] if heads > 1 else executors).ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


WIDE = [(kind, heads) for kind in ("QInt8", "QUInt8", "QInt16", "QUInt16") for heads in (1, 4)]
KINDS = [("QInt8", 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in WIDE)]


@pytest.mark.parametrize(("kind", "heads"), KINDS)
def test_a_quantised_attention_block_layer_by_layer(kind, heads, tmp_path):
    """As quantize_static writes it; ONNX Runtime computes each layer from the golden model's own integers."""
    net = Net(1, 5, 8, seed=heads, opset=21)
    block = attention(net, heads=heads, function="Softmax", size=(5, 8))
    path = quantised(tmp_path, kind, net.save(tmp_path, block, file="float.onnx"), (5, 8))
    x = np.random.default_rng(0).normal(0, 1, (4, 5, 8)).astype(np.float32)

    seen, whole = replay(path, x, optimise=False)

    assert [type(node.op).__name__ for node in whole.nodes].count("MatMul") == 2
    for value, found in seen.items():
        final = layer(whole, value) == "Softmax"
        assert found.worst <= (2 if final else 1), value
        assert final or (found.from_tie < 0.01 and found.inexact == 0), (value, found)
        assert "16" in kind or final or found.differing <= 1, (value, found)
    print(sum(f.differing for f in seen.values()), "of", sum(f.compared for f in seen.values()), "differ")


def test_the_merged_network_is_the_difference(tmp_path):
    """--export-merged writes a MatMul for a MatMul, and every integer comes out of it."""
    net = Net(1, 3, 4, seed=2)
    path = net.save(tmp_path, attention(net, heads=2, size=(3, 4)))
    nets = build_networks(path, Options(domain="-0.5,0.5"), 20)
    real, whole = nets.float_graph, nets.integer_graph
    (name,), (out,) = whole.inputs, whole.outputs
    merged = onnx.load_model_from_string(merged_model(real, whole, {out: out}))
    assert [node.op_type for node in merged.graph.node].count("MatMul") == 4
    reference = session(merged)
    for x in np.random.default_rng(3).uniform(-0.5, 0.5, (4, 3, 4)).astype(np.float32):
        (gap,) = reference.run(None, {name: x[None]})
        q = run(whole, {name: quantise(whole.values[name], x[None].astype(float))[0]})[out]
        expected = run(real, {name: x.astype(float)})[out] - dequantise(whole.values[out], q[None])[0]
        np.testing.assert_allclose(gap.ravel(), expected.ravel(), atol=1e-5)


def square(folder):
    """(1, 2, 1) times itself turned, scaled, through a Relu: four sums of one product of two inputs each."""
    net = Net(1, 2, 2)
    y = net.put("Mul", net.put("MatMul", "x", net.put("Transpose", "x", perm=[0, 2, 1])), net.constant(0.7))
    return net.save(folder, net.put("Relu", y))


def test_the_bound_holds_on_every_integer(tmp_path):
    path = square(tmp_path)
    lower = np.array([[-1, 0.3], [0.25, -0.5]])
    upper = lower + 0.03
    np.savez(tmp_path / "box.npz", lower=lower, upper=upper)
    compiled = compile_model(
        path, tmp_path / "build", Options(domain=str(tmp_path / "box.npz"), target="c", activations=8)
    )
    real, whole = compiled.float_graph, compiled.graph
    (bound,) = (np.array(entry["bound"]) for entry in compiled.certificate["outputs"].values())
    (name,), (out,) = whole.inputs, whole.outputs
    quant, end = whole.values[name].quant, whole.values[out].quant
    scale = quant.scale[0]
    grids = [range(round(Fraction(a) / scale), round(Fraction(b) / scale) + 1)
             for a, b in zip(lower.ravel(), upper.ravel(), strict=True)]  # fmt: skip
    worst = np.zeros(4)
    for point in product(*grids):
        q = np.array(point).reshape(2, 2) + quant.zero
        x = np.clip(np.array(point).reshape(2, 2) * float(scale), lower, upper)
        y = (run(whole, {name: q})[out] - end.zero) * float(end.scale[0])
        worst = np.maximum(worst, np.abs(y - run(real, {name: x})[out]).ravel())
    assert (worst <= bound.ravel() + 1e-9).all()
    assert (bound.ravel() < 40 * worst + 0.1).all()
