# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime's quantize_dynamic writes: float activations and integer weights, scales of each run."""

import itertools
import logging

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_nets import Net, session
from onnxruntime.quantization import QuantType, quantize_dynamic
from pipeline import refused_by_both, same_network
from test_tools_forms import NETS

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")
FORMS = list(itertools.product(NETS, ("QInt8", "QUInt8"), (False, True)))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(logging.root, "disabled", True)  # the tool has advice


def dynamic(folder, net, y, kind="QInt8", channels=False):
    path = folder / "dynamic.onnx"
    source = net.save(folder, y)
    reduced = kind == "QInt8"  # else ONNX Runtime's sums saturate
    how = {"weight_type": QuantType[kind], "per_channel": channels, "reduce_range": reduced}
    quantize_dynamic(str(source), str(path), **how)
    return path


def centred(path):
    """Integer weights of the file, their zero points taken off, by the sorted list of each."""
    model = onnx.load(str(path))
    held = {t.name: numpy_helper.to_array(t).astype(int) for t in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type in ("ConvInteger", "MatMulInteger")]
    return [np.sort((held[n.input[1]] - held[n.input[3]]).ravel()) for n in products]


@pytest.mark.parametrize(("name", "kind", "channels"), FORMS)
def test_weights_are_the_files_integers(name, kind, channels, tmp_path):
    path = dynamic(tmp_path, *NETS[name](), kind, channels)
    imported = load_onnx(path)
    assert not imported.quantised  # activations are calibrated
    assert same_network(path) > 5
    found = [np.sort(np.abs(w.integers).ravel()) for w in imported.weights.values()]
    expected = [np.sort(np.abs(w)) for w in centred(path)]
    assert len(expected) >= 3
    for w in expected:
        assert any(w.size == f.size and (w == f).all() for f in found)


def layer(net, x, kind):
    if kind == "Conv":
        return net.put("Conv", x, net.normal(5, 3, 3, 3), net.normal(5), pads=[1] * 4)
    return net.put("Gemm", net.put("Flatten", x), net.normal(48, 5), net.normal(5))


@pytest.mark.parametrize("weights", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_the_reference_is_what_the_file_means(kind, weights, tmp_path):
    """At inputs that the quantiser of a run holds exactly, ONNX Runtime's result is the real one."""
    net = Net(1, 3, 4, 4)
    path = dynamic(tmp_path, net, layer(net, "x", kind), weights)
    graph, ort = load_onnx(path).graph, session(path)
    rng, worst = np.random.default_rng(0), 0.0
    for step in (1 / 16, 1.0, 3.0):
        q = rng.integers(0, 256, (1, 3, 4, 4))
        q.ravel()[:2] = 0, 255
        x = ((q - 100) * step).astype(np.float32)
        want = ort.run(None, {"x": x})[0][0]
        (got,) = (run(graph, {"x": x[0].astype(np.float64)})[name] for name in graph.outputs)
        worst = max(worst, float(np.abs(got.reshape(want.shape) - want).max() / np.abs(want).max()))
    assert worst < 1e-6


@pytest.mark.parametrize("name", ["mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("cnn", "line"))])
def test_a_model_is_compiled_certified_and_checked(name, tmp_path):
    net, y = NETS[name]()
    path = dynamic(tmp_path, net, y)
    build = compile_model(path, tmp_path / "build", Options(target="c", domain="-1,1"))
    assert build.verify(["host"]).ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


def parts(net, x, w):
    """A dynamic layer by hand: its quantiser's three outputs and the sum."""
    q, s, z = (f"{x}.{n}" for n in "qsz")
    net.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [q, s, z], name="dynamic"))
    acc = net.put("MatMulInteger", q, net.constant(w, np.int8), z)
    return (q, s, z), net.put("Cast", acc, to=1)


def whole(net):
    w = net.rng.integers(-127, 128, (6, 6))
    (_, s, _), y = parts(net, "x", w)
    return net.put("Mul", y, net.put("Mul", s, net.constant(0.01)))


def other(net):
    """The scale of another tensor."""
    a, y = parts(net, "x", net.rng.integers(-127, 128, (6, 6)))
    h = net.put("Relu", "x")
    b, u = parts(net, h, net.rng.integers(-127, 128, (6, 6)))
    return net.put("Add", net.put("Mul", y, b[1]), net.put("Mul", u, a[1]))


def shown(net):
    whole(net)
    return "x.s"


def added(net):
    return net.put("Add", whole(net), "x.s")


def bare(net):
    (_, s, _), y = parts(net, "x", net.rng.integers(-127, 128, (6, 6)))
    return net.put("Add", y, s)


@pytest.mark.parametrize("write", [other, shown, added, bare])
def test_scales_of_a_run_that_go_elsewhere_are_refused(write, tmp_path):
    refused_by_both(tmp_path, (1, 6), write, r"dynamic: op DynamicQuantizeLinear \(try static")


@pytest.mark.parametrize("factor", ["none", "behind", "a scale per column"])
def test_layers_by_hand(factor, tmp_path):
    net = Net(1, 6)
    w = net.rng.integers(-127, 128, (6, 6))
    scale = {"a scale per column": net.rng.uniform(0.01, 0.02, 6)}.get(factor, 1.0)
    (_, s, _), y = parts(net, "x", w)
    if factor == "a scale per column":
        s = net.put("Mul", net.constant(scale), s)
    y = net.put("Mul", s, y)
    if factor == "behind":
        y, scale = net.put("Mul", y, net.constant(0.5)), 0.5
    path = net.save(tmp_path, net.put("Add", y, net.constant(np.arange(6.0))))
    (dense, *_) = load_onnx(path).graph.nodes
    np.testing.assert_array_equal(dense.op.weights, (w * np.float32(scale).astype(np.float64)).T)
    assert same_network(path) == 2
