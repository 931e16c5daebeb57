# SPDX-License-Identifier: Apache-2.0
"""ONNX nodes written as simpler ones: ONNX Runtime's meaning, and certificates that the checker accepts."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx_forms_expanded import FORMS, MAP, NEW
from onnx_nets import Net
from pipeline import certified, same_network
from test_frontends import compare

from tinybound.build import compile as compile_model
from tinybound.checker.files import Rejected
from tinybound.checker.float_net import read_float
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx
from tinybound.options import Options
from tinybound.targets.plan import make_plan

pytestmark = pytest.mark.usefixtures("quick_attack")


def saved(form, tmp_path):
    shape, opset, write = FORMS[form]
    net = Net(*shape, opset=opset)
    return net.save(tmp_path, write(net)), shape


@pytest.mark.parametrize("form", FORMS)
def test_the_float_meaning_is_onnx_runtimes(form, tmp_path):
    path, shape = saved(form, tmp_path)

    _, worst = compare(path, shape)

    assert worst <= 1e-5
    assert same_network(path)  # as the checker reads it


@pytest.mark.parametrize(
    "form",
    [form if i % 4 == 0 else pytest.param(form, marks=pytest.mark.slow) for i, form in enumerate(FORMS)],
)
def test_the_checker_expands_in_its_own_way(form, tmp_path):
    path, shape = saved(form, tmp_path)
    certified(path, shape, tmp_path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda n: n.put("Squeeze", "x", n.constant([1], np.int64)), "Squeeze of axes"),
        (lambda n: n.put("Unsqueeze", "x", n.constant([2, 2], np.int64)), "axes that there are"),
        (lambda n: n.put("ReduceMean", "x"), "the batch among them"),
        (lambda n: n.put("ReduceMean", "x", n.constant([1, 2, 3], np.int64), keepdims=0), "keepdims = 1"),
        (lambda n: n.put("ReduceMean", "x", n.put("Shape", "x")), "leave the batch axis alone"),
        (lambda n: n.put("Dropout", "x", "", n.constant(True, bool)), "a Dropout in training mode"),
        (
            lambda n: n.put("Slice", "x", *(n.constant([v], np.int64) for v in (0, 0, 0))),
            "one element or more",
        ),
        (lambda n: n.put("Pad", "x", n.constant([0] * 7 + [1], np.int64), n.constant(-3e38)), "with -3"),
        (lambda n: n.put("Gather", "x", n.constant([9], np.int64), axis=2), "malformed Gather"),
        (lambda n: n.put("Expand", "x", n.constant([1 << 20, 1, 1, 1, 1], np.int64)), "at most"),
        (lambda n: n.put("Split", "x", n.constant([3, 2], np.int64), outputs=2, axis=1), "add up"),
        (lambda n: n.put("Cast", "x", to=6), "Cast of a computed tensor"),
        (lambda n: n.put("Div", "x", "x"), "Div of two computed tensors"),
        (lambda n: n.put("Concat", "x", "x", axis=0), "batch axis"),
        (lambda n: n.put("Concat", "x", n.normal(2, 4, 9, 8), axis=1), "a batch axis of one"),
        (lambda n: n.put("Concat", "x", n.constant(np.ones((1, 9, 9, 8)), np.int8), axis=1), "int8 param"),
        (lambda n: n.put("Max", "x", n.put("ReduceMean", "x", axes=[1], keepdims=0)), "one rank|ReduceMean"),
        (lambda n: n.put("Min", "x", n.normal(4, 1, 1)), "one number for all elements"),
        (lambda n: n.put("Min", "x", n.constant(np.ones((2, 1, 1, 1)))), "one number for all elements"),
        (
            lambda n: n.put(
                "Max", n.put("ReduceSum", "x", n.constant([3], np.int64)), n.constant(np.ones(8))
            ),
            "one number for all elements",
        ),
        (lambda n: n.put("Max", "x", n.constant(np.inf)), "a Max with inf"),
        (lambda n: n.put("Min", "x", n.constant(np.nan)), "one number"),
        (lambda n: n.put("ReduceSum", "x"), "a sum over all axes"),
        (lambda n: n.put("Relu", n.put("Cast", n.put("ArgMax", "x", axis=1), to=1)), "an argmax inside"),
    ],
)
def test_what_an_expansion_refuses(write, message, tmp_path):
    net = Net(*MAP, opset=NEW)
    with pytest.raises(CompileError, match=message):
        load_onnx(net.save(tmp_path, write(net)))


@pytest.mark.parametrize(
    ("op", "shape"), [("Max", (2, 1, 1, 1)), ("Min", (4, 9, 16)), ("Max", (1, 1, 4, 9, 8))]
)
def test_the_checker_refuses_a_tensor_that_repeats_along_a_constant(op, shape, tmp_path):
    net = Net(*MAP, opset=NEW)
    path = net.save(tmp_path, net.put(op, "x", net.constant(np.ones(shape))), infer=False)
    with pytest.raises(Rejected, match="repeats along a constant"):
        read_float(path.read_bytes())


@pytest.mark.parametrize("domain", ["tinybound", ""])
def test_what_expansions_write_is_no_op_of_a_file(domain, tmp_path):
    net = Net(*MAP, opset=NEW)
    net.put("Relu", "x")
    path = net.save(tmp_path, "relu0")
    model = onnx.load(path)
    model.graph.node[0].op_type, model.graph.node[0].domain = "Take", domain
    model.opset_import.add(domain="tinybound", version=1)
    onnx.save(model, path)

    with pytest.raises(CompileError, match=r"unsupported node|Take"):
        load_onnx(path)


def test_same_pads_of_an_average_with_dilations_are_refused(tmp_path):
    """ONNX Runtime pads as if there were no dilations, as for MaxPool."""
    net = Net(*MAP, opset=19)
    y = net.put("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2], auto_pad="SAME_UPPER")
    with pytest.raises(CompileError, match="SAME pads of a window with dilations"):
        load_onnx(net.save(tmp_path, y))


def separable(net, h, channels, stride):
    """A depthwise and a pointwise convolution on a line, with batch normalisations and Relus."""
    h = net.put("Conv", h, net.normal(8, 1, 3), group=8, pads=[1, 1], strides=[stride])
    h = net.put("Relu", norm(net, h, 8))
    return net.put("Relu", norm(net, net.put("Conv", h, net.normal(channels, 8, 1)), channels))


def norm(net, h, channels):
    parts = [net.constant(net.rng.uniform(0.5, 1.5, channels)) for _ in range(4)]
    return net.put("BatchNormalization", h, *parts)


def test_a_separable_network_on_a_line_runs_as_one_on_a_map(tmp_path):
    net = Net(1, 4, 48, opset=NEW, seed=3)
    h = net.put("Conv", "x", net.normal(8, 4, 5), net.normal(8), pads=[2, 2], strides=[2])
    h = separable(net, net.put("Relu", norm(net, h, 8)), 8, 2)
    h = net.put("Add", h, separable(net, h, 8, 1))
    h = net.put("Flatten", net.put("GlobalAveragePool", h))
    path = net.save(tmp_path, net.put("Gemm", h, net.normal(8, 3), net.normal(3)))
    build = compile_model(path, tmp_path / "build", Options(domain="-1,1", target="c"))

    kinds = [type(node.op).__name__ for node in build.graph.nodes]
    report = build.verify(["host", "cortex-m4"])

    assert report.ok, report
    # Every layer keeps its one Requantise; a Reshape puts the row in, another one takes the map away.
    sums = kinds.count("Conv") + kinds.count("Dense") + kinds.count("Add") + kinds.count("AveragePool")
    assert (kinds.count("Conv"), sums, kinds.count("Requantise"), kinds.count("Reshape")) == (5, 8, 8, 2)
    steps = [step.kind for step in make_plan(build.graph).steps]
    assert steps.count("reorder") == 1, steps


def test_a_matrix_per_row_moves_nothing_and_keeps_its_fusion(tmp_path):
    """(rows, K) lies in memory as K channels of (rows, 1) pixels do: bias and Relu stay with the product."""
    net = Net(1, 6, 5, opset=NEW)
    h = net.put("Relu", net.put("Add", net.put("MatMul", "x", net.normal(5, 4)), net.normal(4)))
    h = net.put("Add", net.put("MatMul", h, net.normal(4, 3)), net.normal(3))
    path = net.save(tmp_path, net.put("Sigmoid", h))
    build = compile_model(path, tmp_path / "build", Options(domain="-1,1", target="c"))

    steps = [step.kind for step in make_plan(build.graph).steps]

    assert steps == ["conv", "conv", "table"]
    assert build.verify(["host"]).ok


@pytest.mark.parametrize(
    ("kind", "shape", "size", "attributes"),
    [
        ("Conv", (1, 4, 12), (3, 4, 3), {}),
        ("ConvTranspose", (1, 4, 3, 2), (4, 2, 3, 3), {"strides": [2, 1]}),
        ("MatMul", (1, 4, 6), (6, 5), {}),
    ],
)
def test_the_integers_of_a_quantised_file_stay(kind, shape, size, attributes, tmp_path):
    net = Net(*shape, opset=NEW)
    integers = net.rng.integers(-90, 90, size)
    x = net.quantised("x", 0.02, 3, np.int8)
    y = net.put(kind, x, net.weights(integers, np.float32(0.013)), **attributes)
    path = net.save(tmp_path, net.quantised(y, 0.05, -4, np.int8))

    (weights,) = load_onnx(path).weights.values()

    assert sorted(weights.integers.ravel().tolist()) == sorted(integers.ravel().tolist())
    assert set(weights.scales) == {Fraction(float(np.float32(0.013)))}
    build = compile_model(path, tmp_path / "build", Options(target="c"))
    assert build.verify(["host"]).ok
