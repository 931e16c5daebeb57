# SPDX-License-Identifier: Apache-2.0
"""Impossible windows, reshapes and permutations, and flipped bytes: CompileError, nothing else."""

import time

import numpy as np
import onnx
import pytest
from onnx_nets import Net
from pipeline import pipeline, refused

from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx

MAP = (1, 4, 9, 8)

WINDOWS = [
    {"strides": [0, 1]}, {"strides": [-1, 1]}, {"strides": [1]}, {"strides": [1, 1, 1]},
    {"dilations": [0, 1]},
    {"dilations": [-2, 1]}, {"pads": [1, 1]}, {"pads": [-1, 0, 0, 0]}, {"pads": [10**12, 0, 0, 0]},
    {"pads": [10**6, 10**6, 10**6, 10**6]}, {"dilations": [10**9, 1]}, {"auto_pad": "SOMEHOW"},
]  # fmt: skip


@pytest.mark.parametrize("attributes", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", ["Conv", "MaxPool", "AveragePool"])
def test_impossible_windows(kind, attributes, tmp_path):
    net = Net(*MAP)
    inputs = [net.normal(6, 4, 3, 3)] if kind == "Conv" else []
    more = {} if kind == "Conv" else {"kernel_shape": [3, 3]}
    y = net.put(kind, "x", *inputs, name="odd", **more, **attributes)
    refused(net.save(tmp_path, y, infer=False), "odd|invalid ONNX")


@pytest.mark.parametrize("kernel", [[0, 0], [3], [-1, 2], [3, 3, 3], [99, 99], [10**9, 10**9]])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_impossible_kernels(kind, kernel, tmp_path):
    net = Net(*MAP)
    refused(net.save(tmp_path, net.put(kind, "x", name="odd", kernel_shape=kernel)), "odd|invalid ONNX")


@pytest.mark.parametrize(
    "target", [[], [0], [1, 7], [2, 144], [1, -1, -1], [-1], [1, 0, 0, 0, 0, 0], [1, -2], [1, 0, 0]]
)
def test_impossible_reshapes(target, tmp_path):
    net = Net(*MAP)
    refused(
        net.save(tmp_path, net.put("Reshape", "x", net.constant(target, np.int64), name="odd")),
        "odd|invalid ONNX",
    )


@pytest.mark.parametrize("perm", [[1, 0, 2, 3], [0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 9], [0, 1, 2, -1], None])
def test_impossible_transposes(perm, tmp_path):
    net = Net(*MAP)
    more = {} if perm is None else {"perm": perm}
    refused(net.save(tmp_path, net.put("Transpose", "x", name="odd", **more)), "odd|invalid ONNX")


# -- fuzz -------------------------------------------------------------------------------------------


def _seed_model(tmp_path):
    net = Net(1, 2, 4, 4)
    x = net.quantised("x", 0.1, 3, np.int8)
    w = net.weights(net.rng.integers(-99, 99, (3, 2, 2, 2)), [0.1, 0.2, 0.3])
    y = net.quantised(net.put("Relu", net.put("Conv", x, w, strides=[2, 2])), 0.2, -128, np.int8)
    y = net.put("Reshape", y, net.constant([1, -1], np.int64))
    y = net.put("Gemm", y, net.normal(12, 3), net.normal(3))
    return net.save(tmp_path, net.put("Softmax", y))


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes(seed, tmp_path):
    """100 mutations of a small valid model: it compiles, or CompileError says why; nothing else, quickly."""
    data = _seed_model(tmp_path).read_bytes()
    rng = np.random.default_rng(seed)
    path = tmp_path / "fuzz.onnx"
    refusals, slowest, lines = 0, 0.0, 0
    for _ in range(100):
        broken = np.frombuffer(data, np.uint8).copy()
        for _ in range(rng.integers(1, 4)):
            broken[rng.integers(len(broken))] = rng.integers(256)
        path.write_bytes(broken.tobytes())
        begin = time.monotonic()
        try:
            with np.errstate(all="ignore"):
                pipeline(path)
        except CompileError as error:
            refusals += 1
            lines = max(lines, str(error).count("\n"))
        slowest = max(slowest, time.monotonic() - begin)
    print(f"{refusals} of 100 refused, slowest {slowest:.2f} s")
    assert refusals > 10
    assert lines == 0
    assert slowest < 10


def test_the_fuzzed_model_itself_compiles(tmp_path):
    graph = pipeline(_seed_model(tmp_path))
    assert run(graph, {"x": np.zeros((2, 4, 4), np.int64)})[graph.outputs[0]].shape == (3,)


def test_arithmetic_on_real_constants_is_refused(tmp_path):
    """It would be rounded to float32 at import, and the certificate speaks of real arithmetic."""
    nodes = [
        onnx.helper.make_node("Mul", ["a", "b"], ["w"], "product"),
        onnx.helper.make_node("Gemm", ["x", "w"], ["y"], "dense"),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([[value]], np.float32), name)
        for name, value in (("a", 1.1), ("b", 1.3))
    ]
    ports = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 1]) for n in "xy"]
    graph = onnx.helper.make_graph(nodes, "fold", ports[:1], ports[1:], constants)
    path = tmp_path / "fold.onnx"
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opset), path)

    with pytest.raises(CompileError, match="product: Mul of real constants"):
        load_onnx(path)


def test_a_falling_hard_sigmoid_is_refused(tmp_path):
    net = Net(1, 6)
    y = net.put("HardSigmoid", "x", name="falls", alpha=-0.5)

    with pytest.raises(CompileError, match=r"falls: alpha = -0\.5"):
        load_onnx(net.save(tmp_path, y))
