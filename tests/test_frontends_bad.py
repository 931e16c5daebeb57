# SPDX-License-Identifier: Apache-2.0
"""Bad models: one clear CompileError each, never another exception, and quickly."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data
from onnx_nets import INT8, Net
from pipeline import pipeline, refused, same_network

from tinybound.frontends import load_onnx

VECTOR, MAP = (1, 10), (1, 4, 9, 8)


# -- files ------------------------------------------------------------------------------------------


def whole(tmp_path):
    net = Net(*VECTOR)
    y = net.put("Relu", net.put("Gemm", "x", net.normal(10, 7), net.normal(7)))
    return net.save(tmp_path, y)


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"not a model", b"{}", bytes(range(256)) * 40, b"\x08\x08"]
)
def test_files_that_are_not_models(content, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    refused(path, r"bad\.onnx: (not an ONNX file, or truncated|no nodes|invalid ONNX)")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file(keep, tmp_path):
    path = whole(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    refused(path, r"net\.onnx: ")


def test_no_file_and_a_folder(tmp_path):
    refused(tmp_path / "none.onnx", r"none\.onnx: no such file")
    refused(tmp_path, "no such file")


def test_files_of_a_newer_onnx(tmp_path):
    """onnx 1.23 writes IR version 14 and opset 28 unless told otherwise; what follows is not known."""
    path = whole(tmp_path)
    model = onnx.load(str(path))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 28))
    for version in (13, 14):
        model.ir_version = version
        onnx.save(model, str(path))
        assert len(load_onnx(path).graph.nodes) == same_network(path) == 2
    model.ir_version = 15
    onnx.save(model, str(path))
    refused(path, r"net\.onnx: invalid ONNX \(.*ir_version 15")


def with_weights_outside(folder, outputs=7):
    """The path of a model whose weights lie beside it, in weights.bin."""
    net, path = Net(*VECTOR), folder / "net.onnx"
    model = net.model(net.put("Gemm", "x", net.normal(10, outputs)))
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, str(path))
    return path


def test_missing_external_data(tmp_path):
    path = with_weights_outside(tmp_path, 700)
    pipeline(path)  # with the file beside it
    (tmp_path / "weights.bin").unlink()
    text = refused(path, r"net\.onnx: ")
    assert "try the file of external weights beside the model" in text


@pytest.mark.parametrize("linked", [False, True], ids=["path", "link"])
def test_external_data_outside_the_folder(linked, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(bytes(280))
    model = onnx.load(str(with_weights_outside(inner)), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "link" if linked else "../secret"
    (inner / "link").symlink_to(tmp_path / "secret")
    onnx.save(model, str(inner / "net.onnx"))
    text = refused(inner / "net.onnx", r"net\.onnx: invalid ONNX")
    assert "outside the folder of the model" in text


def test_external_data_at_no_place(tmp_path):
    path = with_weights_outside(tmp_path)
    model = onnx.load(str(path), load_external_data=False)
    kept = model.graph.initializer[0].external_data
    for offset in ("here", "-4", str(1 << 40), "8"):
        place = next(entry for entry in kept if entry.key == "offset")
        place.value = offset
        path.write_bytes(model.SerializeToString())
        refused(path, "invalid ONNX|damaged initializer")


def test_an_opset_that_nobody_knows(tmp_path):
    model = onnx.load(str(whole(tmp_path)))
    model.opset_import[0].version = 99
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    refused(path, "opset 99; expected at most 28; try an export of an older opset")


# -- weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "where", ["conv", "conv bias", "gemm", "gemm bias", "added", "scaled", "variance", "clip"]
)
def test_weights_that_are_not_finite(bad, where, tmp_path):
    net = Net(*MAP)

    def array(name, *shape):
        values = np.abs(net.rng.normal(0, 1, shape))
        if name == where:
            values.reshape(-1)[0] = bad
        return net.constant(values)

    y = net.put("Conv", "x", array("conv", 6, 4, 3, 3), array("conv bias", 6))
    y = net.put("BatchNormalization", y, *(array(n, 6) for n in ("scaled", "bn", "mean", "variance")))
    y = net.put("Clip", y, array("clip", 1)) if where == "clip" and np.isnan(bad) else net.put("Relu", y)
    y = net.put("Gemm", net.put("Flatten", y), array("gemm", 252, 3), array("gemm bias", 3))
    y = net.put("Add", y, array("added", 3))
    path = net.save(tmp_path, y)
    if where == "clip" and np.isinf(bad):
        pipeline(path)  # infinite limits are what a Clip without limits has
    else:
        refused(path, "NaN|infinite|nan|inf|finite|limits|positive")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("op", ["Elu", "LeakyRelu", "HardSigmoid"])
def test_attributes_that_are_not_finite(bad, op, tmp_path):
    """In a quantised file no sample comes across them: its tables did."""
    net = Net(*VECTOR)
    x = net.quantised("x", 1 / 64, 0, np.int8)
    y = net.quantised(net.put(op, x, alpha=bad), 1 / 64, 0, np.int8)
    refused(net.save(tmp_path, y), f"{op}_2: NaN or infinite parameters")


def test_weights_too_large_for_a_float32(tmp_path):
    net = Net(*VECTOR)
    w = net.put("Cast", net.constant(np.full((10, 3), 1e300), np.float64), to=TensorProto.DOUBLE)
    net.inputs[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    refused(net.save(tmp_path, net.put("MatMul", "x", w)), ".")


def test_weights_that_overflow_the_accumulator(tmp_path):
    net = Net(1, 4)
    x = net.quantised("x", 0.1, 0, np.int8)
    w = net.weights(np.full((3, 4), 127), 0.1)
    b = net.weights(np.array([2**31 - 1, 0, 0]), np.float32(0.1) * np.float32(0.1), dtype=np.int32)
    y = net.quantised(net.put("Gemm", x, w, b, transB=1, name="large"), 0.1, 0, np.int8)
    text = refused(net.save(tmp_path, y), r"^large: sums up to \d+ do not fit the 32-bit accumulator")
    assert "; try another quantisation" in text


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("Conv", [(6, 3, 3, 3)]), ("Conv", [(6, 4, 3)]), ("Conv", [(6, 4, 3, 3), (5,)]),
        ("Conv", [(6, 4, 30, 30)]),
        ("Conv", [(0, 4, 3, 3)]), ("Conv", [(6, 4, 0, 3)]), ("Gemm", [(4, 9)]), ("MatMul", [(7, 8)]),
        ("Add", [(4, 9, 7)]), ("Add", [(5, 1, 1)]),
        ("BatchNormalization", [(4,), (4,), (4,), (5,)]), ("BatchNormalization", [(5,), (5,), (5,), (5,)]),
    ],
)  # fmt: skip
def test_initialisers_of_a_wrong_shape(kind, shapes, tmp_path):
    net = Net(*MAP)
    y = net.put(kind, "x", *(net.normal(*s) for s in shapes), name="odd")
    refused(net.save(tmp_path, y), "odd|invalid ONNX")


@pytest.mark.parametrize(
    "shapes", [[(9, 3)], [(10, 3), (4,)], [(10, 3), (2, 3)], [(10, 0)], [(10, 3, 1)], [(10,)]]
)
def test_dense_initialisers_of_a_wrong_shape(shapes, tmp_path):
    net = Net(*VECTOR)
    refused(
        net.save(tmp_path, net.put("Gemm", "x", *(net.normal(*s) for s in shapes), name="odd")), "odd|invalid"
    )


def test_a_negative_extent(tmp_path):
    """numpy would find one that fits."""
    model = onnx.load(str(whole(tmp_path)))
    weights = next(t for t in model.graph.initializer if len(t.dims) == 2)
    weights.dims[0] = -1
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    refused(path, r"damaged initializer \(.* has the shape \[-1, 7\]\)")


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_a_kernel_shape_that_is_not_the_weights(kind, tmp_path):
    net = Net(*MAP)
    write = net.put(kind, "x", net.normal(4, 4, 2, 3), kernel_shape=[3, 2], name="odd")
    refused(net.save(tmp_path, write, infer=False), r"odd: kernel_shape .3, 2. beside weights \(4, 4, 2, 3\)")


def test_an_initialiser_with_too_few_bytes(tmp_path):
    net = Net(*VECTOR)
    model = net.model(net.put("Gemm", "x", net.normal(10, 7)))
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    refused(path, "invalid ONNX|damaged initializer")


# -- graphs -----------------------------------------------------------------------------------------


def _edited(tmp_path, edit):
    net = Net(*VECTOR)
    y = net.put("Relu", net.put("Gemm", "x", net.normal(10, 10), name="g"))
    model = net.model(y)
    edit(model.graph)
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))
    return path


def test_cyclic_nodes(tmp_path):
    def cycle(graph):
        graph.node[0].input[0] = graph.node[1].output[0]

    refused(_edited(tmp_path, cycle), "invalid ONNX")


def test_missing_inputs_and_outputs(tmp_path):
    refused(_edited(tmp_path, lambda g: g.ClearField("input")), "invalid ONNX|no inputs")
    refused(_edited(tmp_path, lambda g: g.node[0].input.__setitem__(0, "nowhere")), "invalid ONNX")
    refused(_edited(tmp_path, lambda g: g.output[0].__setattr__("name", "nowhere")), "nowhere|invalid ONNX")
    refused(_edited(tmp_path, lambda g: g.ClearField("output")), "no outputs")
    refused(_edited(tmp_path, lambda g: g.node[0].input.__delitem__(1)), "g|invalid ONNX")
    refused(_edited(tmp_path, lambda g: g.node[1].input.__delitem__(0)), "invalid|malformed")


def test_duplicated_names(tmp_path):
    refused(_edited(tmp_path, lambda g: g.node[1].output.__setitem__(0, g.node[0].output[0])), "invalid ONNX")
    refused(_edited(tmp_path, lambda g: g.node[0].output.__setitem__(0, "x")), "invalid ONNX")
    refused(_edited(tmp_path, lambda g: g.input.add().CopyFrom(g.input[0])), "x|invalid ONNX")

    def twice(graph):
        graph.output.add().CopyFrom(graph.output[0])

    refused(_edited(tmp_path, twice), "two outputs of one name")


@pytest.mark.parametrize("dims", [(1, 0), (0, 0), (1, 4, 0, 8), (1, -3), ("N", "M")])
def test_zero_negative_and_dynamic_dims(dims, tmp_path):
    net = Net(*dims)
    refused(net.save(tmp_path, net.put("Relu", "x")), "^x: |invalid ONNX")


@pytest.mark.parametrize(
    "dims", [(1, 10**12), (1, 3, 10**6, 10**6), (1, 2**62, 2**62, 4), (1, 3, 50_000, 50_000)]
)
@pytest.mark.parametrize("kind", ["Relu", "MaxPool", "GlobalAveragePool"])
def test_huge_declared_dims(dims, kind, tmp_path):
    net = Net(*dims)
    attributes = {"kernel_shape": [2, 2]} if kind == "MaxPool" else {}
    refused(net.save(tmp_path, net.put(kind, "x", **attributes)), "^x: |net")


# -- quantisers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [-0.1, 0.0, np.nan, np.inf])
@pytest.mark.parametrize("where", ["activation", "weight"])
def test_scales_that_are_not_positive(scale, where, tmp_path):
    net = Net(*VECTOR)
    x = net.quantised("x", scale if where == "activation" else 0.1, 0, np.int8)
    w = net.weights(net.rng.integers(-9, 9, (7, 10)), scale if where == "weight" else 0.1)
    y = net.quantised(net.put("Gemm", x, w, transB=1), 0.1, 0, np.int8)
    text = refused(net.save(tmp_path, y), "a scale that is not positive and finite")
    assert "(try a valid quantiser)" in text


def test_quantisers_that_do_not_fit(tmp_path):
    rng = np.random.default_rng(0)

    def one(edit):
        net = Net(*VECTOR)
        edit(net)
        path = net.save(tmp_path, net.nodes[-1].output[0])
        return refused(path, "unsupported node")

    def per_axis(net):
        pair = net.constant(np.full(10, 0.1)), net.constant(np.zeros(10), np.int8)
        net.put("DequantizeLinear", net.put("QuantizeLinear", "x", *pair, axis=1), *pair, axis=1)

    def other_scale(net):
        q = net.put("QuantizeLinear", "x", net.constant(0.1), net.constant(0, np.int8))
        net.put("DequantizeLinear", q, net.constant(0.2), net.constant(0, np.int8))

    def wrong_count(net):
        w = net.weights(rng.integers(-9, 9, (7, 10)), np.full(6, 0.1), zero=False)
        net.put("Gemm", net.quantised("x", 0.1, 0, np.int8), w, transB=1)

    assert "an activation quantised per axis" in one(per_axis)
    assert "a scale that differs from its QuantizeLinear's" in one(other_scale)
    one(wrong_count)


def test_the_type_of_an_input(tmp_path):
    net = Net(*VECTOR, kind=TensorProto.INT64)
    refused(
        net.save(tmp_path, net.put("Relu", "x")),
        "^x: input of type INT64; expected float, int8, uint8, int16 or uint16|invalid",
    )
    net = Net(*MAP, kind=INT8)  # int8 without DequantizeLinear: no scale says what the integers mean
    path = net.save(tmp_path, net.put("MaxPool", "x", kernel_shape=[2, 2]))
    refused(path, "^x: an integer input without a scale")


def test_a_control_flow_node(tmp_path):
    net = Net(*VECTOR)
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"])], "b", [], [helper.make_tensor_value_info("r", 1, [1, 10])]
    )
    condition = net.constant(True, np.bool_)
    y = net.put("If", condition, then_branch=branch, else_branch=branch, name="odd")
    refused(net.save(tmp_path, y), r"odd: op If \(try an export without control flow|output|invalid")


def test_text_under_another_name(tmp_path):
    """onnx would go by the ending; a build has the bytes of its model in float.onnx, which are protobuf."""
    for name in ("box.json", "box.textproto", "box.onnxtxt"):
        (tmp_path / name).write_text("[1, 2]")
        refused(tmp_path / name, r"(not an ONNX file, or truncated|no nodes)")
