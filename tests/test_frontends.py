# SPDX-License-Identifier: Apache-2.0
"""ONNX forms: the float meaning equals ONNX Runtime's, quantisers become annotations."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_forms import FORMS, MAP, OLD, VECTOR, batch_norm, conv
from onnx_nets import FLOAT, INT8, UINT8, Net, session
from pipeline import same_network

from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.frontends.model_file import read_model
from tinybound.graph import check
from tinybound.ops import AveragePool, ChannelAffine, Clip, Conv, Dense, Softmax


def compare(path, shape, seed=0, count=5, reference=None):
    """Largest difference from ONNX Runtime relative to the largest output, over all outputs."""
    imported = load_onnx(path)
    check(imported.graph, integer=False)
    rng, reference, worst, compared = np.random.default_rng(seed), session(reference or path), 0.0, 0
    for _ in range(count):
        x = rng.normal(0, 1, shape).astype(np.float32)
        values = run(imported.graph, {"x": x.astype(np.float64)[0]})
        for name, want in zip(imported.graph.outputs, reference.run(None, {"x": x}), strict=True):
            if values[name].shape == want.shape:  # without a batch axis in the file
                want = want[None]
            assert values[name].shape == want.shape[1:], (values[name].shape, want.shape)
            assert imported.graph.values[name].shape == want.shape[1:]
            worst = max(worst, float(np.abs(values[name] - want[0]).max() / max(np.abs(want).max(), 1e-6)))
            compared += want.size
    print(f"{compared} outputs compared, worst {worst:.1e}")
    return imported.graph, worst


@pytest.mark.parametrize("form", FORMS)
def test_the_float_meaning_is_onnx_runtimes(form, tmp_path):
    shape, write = FORMS[form]
    net = Net(*shape)

    graph, worst = compare(net.save(tmp_path, write(net)), shape)

    assert worst <= 1e-5
    for node in graph.nodes:  # normalised: nothing to fold is left, one activation follows each sum
        assert not isinstance(node.op, ChannelAffine)
        if node.op.accumulates:
            (reader,) = graph.consumers(node.output)
            assert isinstance(reader.op, Clip)


def test_clip_attributes_of_opset_6(tmp_path):
    net = Net(*MAP, opset=OLD)
    path = net.save(tmp_path, net.put("Clip", "x", min=-0.25, max=0.5))
    graph = load_onnx(path).graph
    x = np.random.default_rng(0).normal(0, 1, MAP)
    np.testing.assert_array_equal(run(graph, {"x": x[0]})[graph.outputs[0]], np.clip(x[0], -0.25, 0.5))
    assert (graph.nodes[-1].op.lo, graph.nodes[-1].op.hi) == (-0.25, 0.5)


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_opsets(opset, tmp_path):
    net = Net(*MAP, opset=opset)
    x = net.put("Clip", conv(net, "x"), net.constant(0.0), net.constant(6.0))
    y = net.put("Softmax", net.put("Gemm", net.put("Flatten", x), net.normal(252, 4)), axis=1)
    assert compare(net.save(tmp_path, y), MAP)[1] <= 1e-5


def test_same_pads_with_dilation(tmp_path):
    """ONNX Runtime refuses them: (9, 8), kernel 3, dilations (2, 1), strides (1, 3) need pads of 4 and 1."""
    for mode, pads in (("SAME_UPPER", (2, 0, 2, 1)), ("SAME_LOWER", (2, 1, 2, 0))):
        net = Net(*MAP)
        y = conv(net, "x", auto_pad=mode, dilations=[2, 1], strides=[1, 3])
        op = load_onnx(net.save(tmp_path, y)).graph.nodes[0].op
        assert op.pads == pads
        assert op.shape((4, 9, 8)) == (6, 9, 3)


def test_a_folded_batch_norm_leaves_one_layer(tmp_path):
    net = Net(*MAP)
    graph = load_onnx(net.save(tmp_path, net.put("Relu", batch_norm(net, conv(net, "x"), 6)))).graph
    assert [type(n.op) for n in graph.nodes] == [Conv, Clip]


def test_batch_norm_folding_is_exact(tmp_path):
    """Each folded weight is the double nearest to the rational one: within 2^-52 relative."""
    net = Net(*MAP)
    w, gamma, beta, mean, var = (
        net.rng.normal(0, 1, s).astype(np.float32) for s in ((6, 4, 1, 1), 6, 6, 6, 6)
    )
    var = np.abs(var)
    y = net.put("Conv", "x", net.constant(w))
    y = net.put("BatchNormalization", y, *(net.constant(v) for v in (gamma, beta, mean, var)))
    op = load_onnx(net.save(tmp_path, y)).graph.nodes[0].op
    epsilon = Fraction(float(np.float32(1e-5)))
    for o in range(6):
        square = Fraction(float(gamma[o])) ** 2 / (Fraction(float(var[o])) + epsilon)
        for c in range(4):
            got, exact = (
                Fraction(float(op.weights[o, c, 0, 0])) ** 2,
                Fraction(float(w[o, c, 0, 0])) ** 2 * square,
            )
            assert abs(got - exact) <= exact * Fraction(3, 2**53)  # a square doubles a relative error


def test_a_whole_network(tmp_path):
    net = Net("batch", 1, 12, 12)
    x = net.put("Relu", batch_norm(net, conv(net, "x", 8, depth=1, pads=[1, 1, 1, 1]), 8))
    x = net.put("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.put("Relu", net.put("Add", conv(net, x, 8, depth=8, pads=[1, 1, 1, 1]), x))
    x = net.put("GlobalAveragePool", x)
    y = net.put("Gemm", net.put("Flatten", x), net.normal(8, 5), net.normal(5))
    graph, worst = compare(net.save(tmp_path, y, net.put("Softmax", y)), (1, 1, 12, 12))
    assert worst <= 1e-5
    assert isinstance(graph.nodes[-1].op, Softmax)
    assert graph.name == "net"


# -- outputs ----------------------------------------------------------------------------------------


def test_inner_and_repeated_outputs(tmp_path):
    net = Net(*VECTOR)
    a = net.put("Relu", net.put("Gemm", "x", net.normal(10, 6)))
    b = net.put("Gemm", a, net.normal(6, 3))
    c, d = net.put("Identity", a), net.put("Identity", a)
    graph, worst = compare(net.save(tmp_path, b, c, d), VECTOR)
    assert worst <= 1e-5
    assert graph.outputs == (b, c, d)


def test_an_output_beside_its_own_identity(tmp_path):
    net = Net(*VECTOR)
    a = net.put("Relu", net.put("Gemm", "x", net.normal(10, 6)))
    b = net.put("Identity", a)
    graph, worst = compare(net.save(tmp_path, a, b), VECTOR)
    assert (graph.outputs, worst <= 1e-5) == ((a, b), True)


def test_an_output_that_is_the_input(tmp_path):
    net = Net(*VECTOR)
    graph, worst = compare(net.save(tmp_path, net.put("Relu", "x"), net.put("Identity", "x")), VECTOR)
    assert len(graph.outputs) == 2
    assert worst <= 1e-5


def test_dead_nodes_are_dropped(tmp_path):
    net = Net(*VECTOR)
    y = net.put("Relu", "x")
    net.put("Gemm", y, net.normal(10, 3), name="dead")
    assert [n.name for n in load_onnx(net.save(tmp_path, y)).graph.nodes] == ["Relu_0"]


def test_equal_node_names_are_told_apart(tmp_path):
    """Weights, origins and codes go by node name."""
    net = Net(*VECTOR)
    first = net.put("Gemm", "x", net.normal(10, 6), name="a")
    net.nodes.append(helper.make_node("Gemm", [first, net.normal(6, 5)], ["a2"], "a_a3"))
    net.nodes.append(helper.make_node("Gemm", ["a2", net.normal(5, 4)], ["a3"], "a"))
    net.nodes.append(helper.make_node("Relu", ["a3"], ["a4"], ""))
    path = net.save(tmp_path, "a4")
    for node in net.nodes:  # ONNX Runtime refuses what onnx's checker accepts
        node.name = ""
    graph, worst = compare(path, VECTOR, reference=net.save(tmp_path, "a4", file="reference.onnx"))
    assert worst <= 1e-5
    assert len({n.name for n in graph.nodes}) == len(graph.nodes) == 6


def test_values_named_like_the_compilers_own(tmp_path):
    net = Net(*VECTOR)
    net.nodes.append(helper.make_node("Gemm", ["x", net.normal(10, 6)], ["y"], "g"))
    net.nodes.append(helper.make_node("Gemm", ["y", net.normal(6, 5)], ["y.sum"], "g.activation"))
    net.nodes.append(helper.make_node("Gemm", ["y.sum", net.normal(5, 4)], ["z"], "h"))
    graph, worst = compare(net.save(tmp_path, "z"), VECTOR)
    assert worst <= 1e-5
    assert len({n.name for n in graph.nodes}) == len(graph.nodes)


# -- quantised models -------------------------------------------------------------------------------


def quantised(dtype, opset=13, *, relu=True, per_channel=True):
    """Input Q DQ -> Conv (int8 weights, int32 bias) -> Relu -> Q DQ -> Flatten -> Gemm -> Q DQ."""
    low = np.iinfo(dtype).min
    net = Net(1, 3, 5, 5, opset=opset)
    x = net.quantised("x", 0.02, low + 131 if dtype == np.uint8 else 3, dtype)
    scales = net.rng.uniform(0.001, 0.01, 4) if per_channel else 0.005
    net.integers = net.rng.integers(-127, 128, (4, 3, 3, 3))
    w = net.weights(net.integers, scales, 0)
    net.bias = net.rng.integers(-2000, 2000, 4)
    b = net.weights(net.bias, np.float32(0.02) * np.float32(scales), 0, np.int32)
    y = net.put("Conv", x, w, b, name="conv")
    y = net.put("Relu", y) if relu else y
    y = net.quantised(y, 0.03, low, dtype)
    y = net.put("Flatten", y)
    w2 = net.weights(net.rng.integers(-127, 128, (6, 36)), net.rng.uniform(0.001, 0.01, 6), 0)
    net.last = net.put("Gemm", y, w2, transB=1, name="gemm")
    net.out = net.quantised(net.last, 0.05, low + 128 + 2, dtype)
    return net


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantisers_become_annotations(dtype, per_channel, tmp_path):
    net = quantised(dtype, per_channel=per_channel)
    imported = load_onnx(net.save(tmp_path, net.out))

    assert imported.quantised
    shift = 128 if dtype == np.uint8 else 0
    zeros = [s.zero + shift for s in imported.activations.values()]
    assert imported.activations["x"].scale == Fraction(float(np.float32(0.02)))
    assert imported.activations["x"].zero == 3 == (imported.activations["x"].zero)
    assert len(zeros) >= 3
    conv = imported.weights["conv"]
    np.testing.assert_array_equal(conv.integers, net.integers)
    np.testing.assert_array_equal(conv.bias, net.bias)
    assert conv.scales == tuple(Fraction(float(s)) for s in np.broadcast_to(np.float32(
        net_scales(net)), (4,)))  # fmt: skip
    assert imported.weights["gemm"].integers.shape == (6, 36)
    assert [type(n.op) for n in imported.graph.nodes].count(Dense) == 1
    relu = next(n for n in imported.graph.nodes if isinstance(n.op, Clip))
    assert relu.op.lo == 0.0


def net_scales(net):
    return numpy_helper.to_array(next(c for c in net.constants if c.name == net.nodes[2].input[1]))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_folded_relu_comes_back(dtype, tmp_path):
    """Quantisers drop a Relu whose zero point is the lowest integer: the float side gets it back."""
    net = quantised(dtype, relu=False)
    graph = load_onnx(net.save(tmp_path, net.out)).graph
    conv = next(n for n in graph.nodes if isinstance(n.op, Conv))
    assert graph.consumers(conv.output)[0].op.lo == 0.0
    gemm = next(n for n in graph.nodes if isinstance(n.op, Dense))
    assert graph.consumers(gemm.output)[0].op.lo == -np.inf


@pytest.mark.parametrize(("kind", "dtype"), [(INT8, np.int8), (UINT8, np.uint8)])
@pytest.mark.parametrize("zero", [True, False])
def test_integer_inputs(kind, dtype, zero, tmp_path):
    """A graph input of type int8 or uint8 straight into DequantizeLinear; a missing zero point is 0."""
    net = Net(1, 4, kind=kind)
    extra = [net.constant(5, dtype)] if zero else []
    x = net.put("DequantizeLinear", "x", net.constant(0.25), *extra)
    y = net.quantised(net.put("Gemm", x, net.normal(4, 3)), 0.1, 3, np.int8)
    path = net.save(tmp_path, y)
    imported = load_onnx(path)
    want = (5 if zero else 0) - (128 if dtype == np.uint8 else 0)
    assert (imported.activations["x"].scale, imported.activations["x"].zero) == (Fraction(1, 4), want)


def test_gemm_axis_depends_on_transb(tmp_path):
    """Scales along the output axis: axis 1 without transB, axis 0 with it."""
    rng = np.random.default_rng(1)
    integers, scales = rng.integers(-127, 128, (6, 8)), rng.uniform(0.01, 0.1, 6)
    found = []
    for trans in (0, 1):
        net = Net(1, 8)
        x = net.quantised("x", 0.1, 0, np.int8)
        w = net.weights(integers if trans else integers.T, scales, 0 if trans else 1)
        y = net.quantised(net.put("Gemm", x, w, transB=trans, name="gemm"), 0.1, 0, np.int8)
        found.append(load_onnx(net.save(tmp_path, y)).weights["gemm"])
    np.testing.assert_array_equal(found[0].integers, found[1].integers)
    assert found[0].scales == found[1].scales == tuple(Fraction(float(np.float32(s))) for s in scales)


def test_weights_quantised_in_the_graph(tmp_path):
    """Float weights through QuantizeLinear and DequantizeLinear: computed at import."""
    for opset in (13, 19, 21):
        net = Net(1, 8, opset=opset)
        x = net.quantised("x", 0.1, 0, np.int8)
        w = net.normal(5, 8)
        pair = net.constant(0.02), net.constant(0, np.int8)
        w = net.put("DequantizeLinear", net.put("QuantizeLinear", w, *pair), *pair)
        y = net.quantised(net.put("Gemm", x, w, transB=1, name="gemm"), 0.1, 0, np.int8)
        path = net.save(tmp_path, y)
        weights = load_onnx(path).weights["gemm"]
        source = numpy_helper.to_array(onnx.load(str(path)).graph.initializer[2])
        np.testing.assert_array_equal(
            weights.integers, np.clip(np.rint(source / np.float32(0.02)), -128, 127)
        )


def test_a_second_quantisation_is_a_step_of_its_own(tmp_path):
    net = Net(1, 8)
    x = net.quantised("x", 0.1, 0, np.int8)
    y = net.quantised(net.put("MaxPool", net.put("Reshape", x, net.constant([1, 2, 2, 2], np.int64)),
                              kernel_shape=[2, 2]), 0.05, 7, np.int8)  # fmt: skip
    z = net.quantised(y, 0.2, -3, np.int8)
    imported = load_onnx(net.save(tmp_path, z))
    scales = [
        float(imported.activations[n].scale) for n in imported.graph.values if n in imported.activations
    ]
    assert [round(s, 3) for s in scales][-2:] == [0.05, 0.2]
    assert sum(isinstance(n.op, Clip) for n in imported.graph.nodes) == 2


def test_average_pool_sees_its_input_type(tmp_path):
    net = Net(*MAP)
    graph = load_onnx(net.save(tmp_path, net.put("GlobalAveragePool", "x"))).graph
    assert graph.nodes[0].op.kernel == (9, 8)
    assert isinstance(graph.nodes[0].op, AveragePool)


def test_float16_and_double_weights(tmp_path):
    for dtype in (np.float16, np.float64):
        net = Net(1, 4)
        w = net.put("Cast", net.constant(net.rng.normal(0, 1, (4, 3)), dtype), to=FLOAT)
        assert compare(net.save(tmp_path, net.put("MatMul", "x", w)), (1, 4))[1] <= 1e-5


@pytest.mark.parametrize("missing", ["shape", "type"])
def test_an_output_needs_no_shape(missing, tmp_path):
    """It follows from the nodes; the file itself stays as it is."""
    net = Net(1, 6)
    y = net.put("Gemm", "x", net.normal(6, 3))
    path = net.save(tmp_path, y, net.put("Relu", y))
    model = onnx.load(path)
    for entry in model.graph.output:
        (entry.type.tensor_type if missing == "shape" else entry).ClearField(missing)
    onnx.save(model, path)

    graph, worst = compare(path, (1, 6))

    assert worst <= 1e-5
    assert [graph.values[name].shape for name in graph.outputs] == [(3,), (3,)]
    assert read_model(path).SerializeToString() == model.SerializeToString()
    assert same_network(path)
