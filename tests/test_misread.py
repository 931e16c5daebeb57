# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime reads in another way than one would think: read as it does, or refused by both."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_nets import FLOAT, Net, session
from pipeline import refused, same_network
from test_frontends import compare

from tinybound.checker.files import Rejected
from tinybound.checker.float_net import read_float
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx

INT = np.int64


def squeezed(n):
    return n.put("Squeeze", n.put("Relu", "x"))


def unsqueezed_and_joined(n):
    first, second = (n.put("Unsqueeze", x, n.constant([1], INT)) for x in ("x", n.put("Relu", "x")))
    return n.put("Concat", first, second, axis=1)


def integers(n):
    return n.put("QuantizeLinear", "x", n.constant(0.05), n.constant(3, np.int8))


FREE = {  # tensors without batch axis: shape, opset, network
    "a vector turned round": (
        (4,),
        13,
        lambda n: n.put("Slice", "x", *(n.constant([v], INT) for v in (-1, -9, 0, -1))),
    ),
    "vectors as columns": ((4,), 13, unsqueezed_and_joined),
    "the length of a vector": ((4,), 13, lambda n: n.put("Reshape", "x", n.put("Shape", "x"))),
    "joined when squeezed": ((1, 3, 1, 4), 13, lambda n: n.put("Concat", squeezed(n), squeezed(n), axis=1)),
    "sliced when squeezed": (
        (1, 3, 1, 4),
        9,
        lambda n: n.put("Slice", squeezed(n), starts=[1], ends=[2], axes=[1]),
    ),
}


MISREAD = {  # shape, opset, network, message of the compiler; the checker rejects them as well
    "integers as floats": ((1, 4), 13, lambda n: n.put("Cast", integers(n), to=1), "Cast of quantised"),
    "integers quantised": (
        (1, 4), 13,
        lambda n: n.quantised(n.put("Cast", integers(n), to=1), 0.05, 3, np.int8), "Cast of quantised",
    ),
    "padded as if not dilated": (
        (1, 2, 8, 6), 13,
        lambda n: n.put("MaxPool", "x", kernel_shape=[2, 1], dilations=[2, 2], auto_pad="SAME_UPPER"),
        "auto_pad 'SAME_UPPER' with dilations",
    ),
    "a dilated line": (
        (1, 2, 8), 13,
        lambda n: n.put("MaxPool", "x", kernel_shape=[3], dilations=[2], auto_pad="SAME_LOWER"),
        "auto_pad 'SAME_LOWER' with dilations",
    ),
    "random numbers": (
        (1, 4), 13, lambda n: n.put("Add", "x", n.put("RandomUniform", shape=[4])), "constant RandomUniform"
    ),
    "statistics per place": (
        (1, 3, 1, 1), 7,
        lambda n: n.put("BatchNormalization", "x", *[n.constant(np.ones((3, 1, 1)))] * 4, spatial=0),
        "spatial = 0",
    ),
    "an axis to broadcast along": (
        (1, 3, 3, 3), 6, lambda n: n.put("Add", "x", n.normal(3), broadcast=1, axis=1), "axis of its own"
    ),
    "slopes of an old PRelu": (
        (1, 3, 3, 3), 6, lambda n: n.put("PRelu", "x", n.normal(3)), "vector of slopes"
    ),
    "an old Dropout": ((1, 4), 6, lambda n: n.put("Dropout", "x"), "training mode"),
    "no axis left": ((1, 1), 13, squeezed, "Squeeze to a scalar"),
    "a constant of 4 GB": (
        (1, 4), 13,
        lambda n: n.put("Add", "x", n.put("ConstantOfShape", n.constant([1 << 28, 4], INT))),
        "more than",
    ),
    "a range without end": (
        (1, 4), 13,
        lambda n: n.put("Reshape", "x", n.put("Range", *(n.constant(v, INT) for v in (0, 1 << 40, 1)))),
        "more than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FREE)
def test_without_batch_axis_as_onnx_runtime_reads_it(form, tmp_path):
    shape, opset, write = FREE[form]
    net = Net(*shape, opset=opset)
    path = net.save(tmp_path, net.put("Relu", write(net)), infer=False)
    x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    graph = load_onnx(path).graph

    found = run(graph, {"x": x.astype(np.float64).reshape(graph.values["x"].shape)})[graph.outputs[0]]

    (wanted,) = session(path).run(None, {"x": x})
    assert found.shape in (wanted.shape, wanted.shape[1:])
    assert (found.ravel() == wanted.ravel()).all()
    same_network(path)


@pytest.mark.parametrize("form", MISREAD)
def test_refused_by_compiler_and_checker(form, tmp_path):
    shape, opset, write, message = MISREAD[form]
    net = Net(*shape, opset=opset)
    path = net.save(tmp_path, write(net), infer=False)

    refused(path, message)
    with pytest.raises((Rejected, ValueError)):
        read_float(path.read_bytes())


READ = {  # shape, opset, network: as ONNX Runtime, and the checker reads the compiler's network
    "a pad in front of what is cut": (
        (1, 3, 1, 4), 13, lambda n: n.put("Pad", "x", n.constant([0, 0, -2, 1, 0, 1, 2, 0], INT))
    ),
    "more axes than the tensor": (
        (1, 2, 3), 13, lambda n: n.put("Expand", "x", n.constant([1, 1, 4, 2, 3], INT))
    ),
    "the order of indices": (
        (1, 2, 5, 5), 13, lambda n: n.put("MaxPool", "x", kernel_shape=[2, 2], storage_order=1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", READ)
def test_read_as_onnx_runtime_does(form, tmp_path):
    shape, opset, write = READ[form]
    net = Net(*shape, opset=opset)
    path = net.save(tmp_path, write(net))

    _, worst = compare(path, shape)

    assert worst <= 1e-5
    assert same_network(path)


def test_a_vector_may_be_computed_with_element_by_element(tmp_path):
    net = Net(4)
    last = net.put("MatMul", net.put("Add", net.put("Relu", "x"), net.normal(4)), net.normal(4, 3))
    path = net.save(tmp_path, last)

    assert same_network(path) == 7  # the Add is a weight per element, between two Reshapes


@pytest.mark.parametrize("last", ["Softmax", "ArgMax"])
@pytest.mark.parametrize("write", [
    lambda n: n.put("Add", "x", n.normal(1, 4)),
    lambda n: n.put("Mul", n.normal(1, 1), "x"),
    lambda n: n.put("Expand", "x", n.constant([1, 4], INT)),
    lambda n: n.put("Sub", n.put("MatMul", n.normal(4, 4), "x"), n.normal(1, 4)),
])  # fmt: skip
def test_a_constant_with_more_axes_gives_a_vector_a_batch(write, last, tmp_path):
    """(4,) + (1, 4) is (1, 4): its axis 0 is the batch, not the vector."""
    wrong, right = (Net(4) for _ in range(2))
    path = wrong.save(tmp_path, wrong.put(last, write(wrong), axis=0), infer=False)
    refused(path, "axis 0 of shape")
    with pytest.raises((Rejected, ValueError)):
        read_float(path.read_bytes())

    path = right.save(tmp_path, right.put(last, write(right), axis=1))
    assert same_network(path)
    x = np.float32([0.3, -1, 2, 0.5])
    graph = load_onnx(path).graph
    (want,) = session(path).run(None, {"x": x})
    np.testing.assert_allclose(run(graph, {"x": x.astype(float)})[graph.outputs[0]], want[0], rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 2.0, -1.0])
def test_alpha_of_a_qgemm_scales_its_bias(alpha, tmp_path):
    net = Net(1, 6)
    pair = net.constant(0.02), net.constant(3, np.int8)
    q = net.put("QuantizeLinear", "x", *pair)
    w, one = net.constant(net.rng.integers(-100, 100, (4, 6)), np.int8), net.constant(0, np.int8)
    inputs = [q, *pair, w, net.constant(0.01), one, net.constant(net.rng.integers(-4000, 4000, 4), np.int32)]
    node = helper.make_node("QGemm", inputs, ["y"], "gemm", domain="com.microsoft", transB=1, alpha=alpha)
    net.nodes.append(node)
    model = net.model("y", infer=False)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [1, 4]))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    on_grid = np.float32(0.02) * net.rng.integers(-100, 100, (1, 6)).astype(np.float32)

    graph = load_onnx(path).graph
    got = run(graph, {"x": on_grid[0].astype(np.float64)})["y"]
    (want,) = session(path).run(None, {"x": on_grid})

    np.testing.assert_allclose(got, want[0], rtol=1e-5, atol=1e-5)
    same_network(path)


@pytest.mark.parametrize("name", ["y.limit", "other"])
def test_a_constant_that_is_called_like_one_of_an_expansion(name, tmp_path):
    """What stands for an op brings constants along, under names that the file has not."""
    net = Net(1, 4)
    net.nodes.append(helper.make_node("PRelu", ["x", net.constant([0.5, 1.0, -1.0, 2.0])], ["y"], "slopes"))
    net.constants.append(onnx.numpy_helper.from_array(np.float32([1, 2, 3, 4]), name))
    path = net.save(tmp_path, net.put("Add", "y", name))
    x = np.float32([[0.3, -1, 2, 0.2]])
    graph = load_onnx(path).graph
    (want,) = session(path).run(None, {"x": x})
    np.testing.assert_allclose(run(graph, {"x": x[0].astype(float)})[graph.outputs[0]], want[0], rtol=1e-5)
    assert same_network(path)
