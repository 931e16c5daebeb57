# SPDX-License-Identifier: Apache-2.0
"""What cannot be compiled is listed at once: nodes, inputs, ops in the wrong place, each with a remedy."""

import json

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nets import Net
from pipeline import refused

from tinybound.frontends import load_onnx
from tinybound.frontends.unsupported import SUPPORTED, UnsupportedModel

VECTOR, MAP = (1, 10), (1, 4, 9, 8)

UNSUPPORTED = """\
FILE: 4 unsupported node(s): first: op Sin (try Relu, LeakyRelu, Elu, HardSwish, \
HardSigmoid, Sigmoid, Tanh, Softplus or Gelu in its place) | pool: ceil_mode = 1 (try explicit pads) | odd: \
a Gemm of shapes (288, 1) and (2, 3) (try factors that fit) | own: op com.acme.Magic (try an export in \
standard ONNX ops (QDQ form)); expected supported ops only; try tinybound inspect; supported are """


def test_everything_unsupported_is_listed_at_once(tmp_path):
    """By node name, with remedies; what depends on an unsupported node is not blamed."""
    net = Net(*MAP)
    a = net.put("Sin", "x", name="first")
    net.put("Relu", a, name="innocent")
    b = net.put("MaxPool", "x", name="pool", kernel_shape=[2, 2], ceil_mode=1, auto_pad="VALID")
    c = net.put("Flatten", "x")
    d = net.put("Gemm", c, net.normal(2, 3), name="odd", transA=1)
    e = net.put("Add", a, b, name="also innocent")
    model = net.model(d, e)
    model.graph.node.append(helper.make_node("Magic", ["x"], ["own"], "own", domain="com.acme"))
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))

    with pytest.raises(UnsupportedModel) as caught:
        load_onnx(path)

    assert str(caught.value).replace(str(path), "FILE") == UNSUPPORTED + ", ".join(SUPPORTED)
    assert [p.node for p in caught.value.problems] == ["first", "pool", "odd", "own"]


def test_ops_that_may_only_come_last_are_listed_with_the_others(tmp_path):
    net = Net(*VECTOR)
    early = net.put("ArgMax", "x", axis=1, name="early")
    late = net.put("ArgMax", net.put("Relu", "x"), axis=1, name="late")
    both = [net.put("Relu", net.put("Cast", index, to=1)) for index in (early, late)]
    path = net.save(tmp_path, *both)
    assert (
        "net: 2 unsupported node(s): early: an argmax inside the network (try argmax as the last"
        in refused(path, "early: .* late: ")
    )
    path = net.save(tmp_path, *both, net.put("Sin", "x", name="odd"))
    refused(path, r"3 unsupported node\(s\): odd: op Sin \(try Relu.* early: .* late: ")


def test_inputs_and_ops_are_listed_together(command, tmp_path):
    """One input that has to change does not hide what else has to; an op of constants is no problem."""
    net = Net("n", 3, "h", "w")
    net.inputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [4, 3]))
    net.put("Erf", net.constant(1.0))
    y = net.put("Cos", "x", name="up")
    model = net.model(net.put("Relu", y), net.put("Relu", "z"), infer=False)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, ["n", 3, "h", "w"]))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))

    with pytest.raises(
        UnsupportedModel, match=r"3 unsupported input\(s\) and node\(s\): x: dynamic"
    ) as caught:
        load_onnx(path)

    assert [p.node for p in caught.value.problems] == ["x", "z", "up"]
    assert all(p.remedy for p in caught.value.problems)
    outcome = command("inspect", path, "--json")
    assert outcome.code == 2
    listed = json.loads(outcome.err)["unsupported"]
    assert [(p.node, p.found, p.remedy) for p in caught.value.problems] == [(*p.values(),) for p in listed]


def test_what_depends_on_a_constant_that_cannot_be_computed_is_not_blamed(tmp_path):
    net = Net(*VECTOR)
    product = net.put("MatMul", net.normal(10, 10), net.normal(10, 3), name="first")
    text = refused(net.save(tmp_path, net.put("Gemm", "x", product, name="innocent")), "first: MatMul")

    assert "1 unsupported node(s)" in text
    assert "innocent" not in text


@pytest.mark.parametrize("extent", [4, "N"])
def test_a_node_without_outputs_and_name(extent, tmp_path):
    net = Net(1, extent)
    model = net.model(net.put("Relu", "x"))
    model.graph.node.append(helper.make_node("Print", ["x"], [], domain="com.acme"))
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    onnx.save(model, str(tmp_path / "net.onnx"))
    refused(tmp_path / "net.onnx", r"Print: op com\.acme\.Print")


def test_what_reads_the_indices_of_a_pool_is_told_so(tmp_path):
    net = Net(*MAP)
    net.put("MaxPool", "x", outputs=2, kernel_shape=[2, 2])
    numbers = net.put("Cast", net.nodes[-1].output[1], to=TensorProto.FLOAT, name="read")
    refused(net.save(tmp_path, numbers), "read: reads 'maxpool0_1', which is not computed")
