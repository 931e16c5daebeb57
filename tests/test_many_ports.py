# SPDX-License-Identifier: Apache-2.0
"""Networks with several inputs and outputs, in graph order: one buffer and one stream for all of them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinybound
from tinybound.checker import check_certificate
from tinybound.firmware_image import board_of, make_firmware

SMALL = {"a": [2, 3, 3], "b": [3], "c": [2, 2, 2], "d": [3]}
EXECUTORS = ["host", "host-sanitized", "cortex-m4", "rv32imc", "rtl"]


def model(path):
    """a (2, 4, 4), b (6), unread (3) -> maps (3, 4, 4), sum (5), both (5): a branch is read three times."""
    rng = np.random.default_rng(4)
    weights = {
        "wc": rng.normal(0, 0.3, (3, 2, 3, 3)),
        "wa": rng.normal(0, 0.2, (5, 48)),
        "wb": rng.normal(0, 0.4, (5, 6)),
    }
    nodes = [
        helper.make_node("Conv", ["a", "wc"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["maps"], "relu"),
        helper.make_node("Flatten", ["maps"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "wa"], ["da"], "dense_a", transB=1),
        helper.make_node("Gemm", ["b", "wb"], ["db"], "dense_b", transB=1),
        helper.make_node("Add", ["da", "db"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["both"], "relu2"),
    ]
    inputs = {"a": [1, 2, 4, 4], "b": [1, 6], "unread": [1, 3]}
    outputs = {"maps": [1, 3, 4, 4], "sum": [1, 5], "both": [1, 5]}
    ports = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in each.items()]
        for each in (inputs, outputs)
    ]
    constants = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "ports", *ports, constants)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ports")
    return tinybound.compile(model(folder / "ports.onnx"), folder / "BUILD", tinybound.Options(domain="-1,1"))


def test_every_executor_agrees_on_every_layer(build):
    verdict = build.verify(EXECUTORS)

    for name, stage in verdict.stages.items():
        print(f"{name}: {stage.mismatches} of {stage.elements}")
    assert verdict.ok
    assert verdict.bound.violations == 0


def test_the_certificate_bounds_every_output(build):
    outputs = build.certificate["outputs"]

    assert list(outputs) == ["maps", "sum", "both"]
    assert [len(entry["bound"]) for entry in outputs.values()] == [48, 5, 5]


@pytest.mark.parametrize(
    "executor", ["golden", "host", "cortex-m4", pytest.param("rtl", marks=pytest.mark.slow)]
)
def test_simulate_gives_outputs_by_name(build, executor):
    rng = np.random.default_rng(0)
    shapes = {"a": (2, 4, 4), "b": (6,), "unread": (3,)}
    inputs = {name: rng.uniform(-1, 1, (3, *shape)) for name, shape in shapes.items()}
    expected = build.simulate(inputs)

    found = build.simulate(inputs, executor)

    assert set(found) == {"a__q", "b__q", "unread__q", "maps", "maps__q", "sum", "sum__q", "both", "both__q"}
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_firmware_counts_its_layers(build):
    report = make_firmware(build, board_of("cortex-m4"))

    assert report["instructions"]["cortex-m4"] > 0
    assert all(layer["instructions"]["cortex-m4"] > 0 for layer in report["layers"])


@pytest.mark.parametrize("buffers", ["caller", "arena"])
def test_an_input_may_be_an_output(buffers, tmp_path):
    """A map and a vector, both read by a layer and handed back; the map in the order of the ONNX tensor."""
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, *s]) for n, s in SMALL.items()]
    weights = numpy_helper.from_array(np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 2, 2, 2), "w")
    nodes = [
        helper.make_node("Conv", ["a", "w"], ["c"], "conv"),
        helper.make_node("Add", ["b", "b"], ["d"], "add"),
    ]
    outputs = [ports[0], ports[2], ports[1], ports[3]]
    graph = helper.make_graph(nodes, "back", ports[:2], outputs, [weights])
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]),
        tmp_path / "back.onnx",
    )
    options = tinybound.Options(domain="-1,1", buffers=buffers, target="c" if buffers == "arena" else "all")

    build = tinybound.compile(tmp_path / "back.onnx", tmp_path / "BUILD", options)

    assert build.verify(["golden", "host-sanitized", *(["rtl"] if buffers == "caller" else [])]).ok
    given = build.simulate({f"{n}__q": q for n, q in build.vectors().items()}, "host")
    for name in ("a", "b"):
        np.testing.assert_array_equal(given[f"{name}__q"], build.vectors()[name])
    assert check_certificate(tmp_path / "BUILD" / "certificate.json", tmp_path / "BUILD")["accepted"]
