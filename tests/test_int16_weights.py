# SPDX-License-Identifier: Apache-2.0
"""A file's own weights of 16 bits, in layers that read 16: exact integers on every machine."""

from fractions import Fraction

import numpy as np
import pytest
from onnx_nets import Net
from pipeline import refused, same_network
from replay import integer_graph, replay

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.encodings import ENCODINGS
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")
LOW, HIGH = -(1 << 15), (1 << 15) - 1


def spread(net, *shape):
    """Weights up to both ends, with rows of zeros, and one of small ones."""
    w = net.rng.integers(LOW, HIGH + 1, shape)
    w[0], w[-1].flat[:2] = LOW, (HIGH, LOW)
    w[1] = 0
    w[2] = net.rng.integers(-3, 4, shape[1:])
    return w


def network(zero=0):
    """A convolution, a depthwise one with padding, and a dense layer."""
    net = Net(1, 3, 6, 5, opset=21)
    x = net.quantised("x", 2.0**-12, zero, np.int16)
    w = net.weights(spread(net, 4, 3, 3, 3), 2.0**-15, dtype=np.int16)
    bias = net.weights(net.rng.integers(-(1 << 26), 1 << 26, 4), 2.0**-27, dtype=np.int32)
    y = net.quantised(net.put("Conv", x, w, bias, pads=[1] * 4), 2.0**-11, -7, np.int16)
    w = net.weights(spread(net, 4, 1, 3, 3), 2.0**-14, dtype=np.int16)
    y = net.quantised(net.put("Conv", y, w, group=4, pads=[1] * 4, strides=[2, 2]), 2.0**-11, 5, np.int16)
    w = net.weights(spread(net, 5, 36), 2.0**-16, dtype=np.int16)
    return net, net.quantised(net.put("Gemm", net.put("Flatten", y), w, transB=1), 2.0**-12, 0, np.int16)


def by_fractions(node, x, unit, out):
    """A dense layer and its requantisation in whole numbers."""
    sums = node.op.weights.astype(object) @ (x - node.op.zero).astype(object) + node.op.bias
    found = [round(Fraction(int(n)) * unit / out.scale[0]) + out.zero for n in sums]
    return np.clip(np.array(found), LOW, HIGH)


def test_the_encoding_keeps_every_integer():
    rows = np.arange(LOW, HIGH + 1).reshape(256, 256)
    stored = ENCODINGS["int16"].encode(rows)
    assert stored.shape == (256, 512)
    np.testing.assert_array_equal(ENCODINGS["int16"].decode(stored, 256), rows)
    for value in (LOW - 1, HIGH + 1):
        with pytest.raises(CompileError, match="int16: weights in"):
            ENCODINGS["int16"].encode(np.array([[value]]))


@pytest.mark.parametrize("zero", [0, -301, LOW])
def test_the_files_integers_and_the_exact_results(zero, tmp_path):
    net, y = network(zero)
    path = net.save(tmp_path, y)
    imported, whole = integer_graph(path)
    assert [n.code for n in whole.nodes if n.op.weighted] == ["int16"] * 3
    assert imported.power_of_two
    assert same_network(path) == 7
    rng = np.random.default_rng(abs(zero))
    rows = [rng.integers(LOW, HIGH + 1, (3, 6, 5)) for _ in range(6)]
    rows += [np.full((3, 6, 5), end) for end in (LOW, HIGH, zero)]
    (dense,) = (n for n in whole.nodes if type(n.op).__name__ == "Dense")
    (name,) = whole.outputs
    for q in rows:
        values = run(whole, {"x": q})
        unit = whole.values[dense.output].quant.scale[0]
        want = by_fractions(dense, values[dense.inputs[0]], unit, whole.values[name].quant)
        np.testing.assert_array_equal(values[name], want)
    x = np.stack([(q - zero) * 2.0**-12 for q in rows]).astype(np.float32)
    seen, _ = replay(path, x, optimise=False)
    assert max(found.worst for found in seen.values()) <= 1
    assert sum(found.inexact for found in seen.values()) == 0  # float32 sums beside a tie


CORES = [pytest.param(core, marks=pytest.mark.slow) for core in ("cortex-m0plus", "rv32imc", "avr")]


@pytest.mark.parametrize("machine", ["host", "cortex-m4", *CORES])
def test_every_machine_gives_the_golden_integers(machine, tmp_path):
    net, y = network(-301)
    build = compile_model(net.save(tmp_path, y), tmp_path / "build", Options(target="c", domain="-1,1"))
    verdict = build.verify([machine])
    assert verdict.ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


def test_between_values_of_few_bits(tmp_path):
    """What is stored with 16 bits may need 8."""
    net = Net(1, 4, opset=21)
    x = net.put("Clip", net.quantised("x", 2.0**-8, 0, np.int16), net.constant(-0.25), net.constant(0.25))
    x = net.quantised(x, 2.0**-8, 0, np.int16)
    w = net.weights(spread(net, 4, 4), 2.0**-22, dtype=np.int16)
    path = net.save(tmp_path, net.quantised(net.put("Gemm", x, w, transB=1), 2.0**-8, 0, np.int16))
    build = compile_model(path, tmp_path / "build", Options(target="c", domain="-1,1"))
    kinds = {build.graph.values[n].word for node in build.graph.nodes for n in (node.inputs[0], node.output)}
    assert "int8" in kinds
    assert build.verify(["host"]).ok


def test_sums_that_are_too_long_are_refused(tmp_path):
    net = Net(1, 40000, opset=21)
    w = net.weights(np.full((1, 40000), HIGH), 2.0**-15, dtype=np.int16)
    y = net.put("Gemm", net.quantised("x", 1.0, LOW, np.int16), w, transB=1)
    refused(net.save(tmp_path, net.quantised(y, 1.0, 0, np.int16)), "46-bit accumulator")


@pytest.mark.parametrize("wide", [True, False])
def test_weights_alone_of_a_float_model(wide, tmp_path):
    """The file does not say what the layer reads; --activations does."""
    net = Net(1, 6, opset=21)
    w = spread(net, 4, 6)
    path = net.save(tmp_path, net.put("Gemm", "x", net.weights(w, 1e-4, dtype=np.int16), transB=1, name="fc"))
    options = Options(target="c", domain="-1,1", activations=16 if wide else 8)
    build = compile_model(path, tmp_path / "build", options)
    (node,) = (node for node in build.graph.nodes if node.op.weighted)
    assert (node.code, np.array_equal(node.op.weights, w)) == (("int16", True) if wide else ("int8", False))
    assert build.report["rounded_weights"] == ([] if wide else ["fc"])
    assert load_onnx(path).weights_of(node) == "rounded to int8"  # as compiled with default options
    assert build.verify(["host"]).ok
