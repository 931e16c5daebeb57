# SPDX-License-Identifier: Apache-2.0
"""Impossible windows, reshapes and permutations, and flipped bytes: CompileError, nothing else."""

import time
from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_nets import Net
from pipeline import pipeline, refused, same_network

from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx
from tinybound.frontends.constants import fold

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
    "target", [[], [0], [1, 7], [2, 145], [1, -1, -1], [-1, 7], [1, 0, 0, 0, 0, 0], [1, -2], [1, 0, 0]]
)
def test_impossible_reshapes(target, tmp_path):
    net = Net(*MAP)
    refused(
        net.save(tmp_path, net.put("Reshape", "x", net.constant(target, np.int64), name="odd")),
        "odd|invalid ONNX",
    )


@pytest.mark.parametrize(
    "perm", [[1, 0, 2], [0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 9], [0, 1, 2, -1], [1, 1, 2, 3]]
)
def test_impossible_transposes(perm, tmp_path):
    net = Net(*MAP)
    refused(net.save(tmp_path, net.put("Transpose", "x", name="odd", perm=perm)), "odd|invalid ONNX")


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


def test_arithmetic_on_real_constants_is_that_of_doubles(tmp_path):
    """A normalisation that is written out is no further from real arithmetic than one that is folded."""
    net = Net(1, 6)
    mean, gamma, variance = (net.rng.uniform(0.1, 9, 6).astype(np.float32) for _ in range(3))
    eps = np.float32(1e-3)
    root = net.put("Sqrt", net.put("Add", net.constant(variance), net.constant(eps)))
    factor = net.put("Div", net.constant(gamma), root)
    offset = net.put("Neg", net.put("Mul", net.constant(mean), factor))
    y = net.put("Add", net.put("Mul", net.put("Gemm", "x", net.constant(np.eye(6))), factor), offset)
    path = net.save(tmp_path, y)

    (dense, _) = load_onnx(path).graph.nodes
    wanted = gamma.astype(float) / np.sqrt(variance.astype(float) + float(eps))
    np.testing.assert_array_equal(np.diag(dense.op.weights), wanted)
    np.testing.assert_array_equal(dense.op.bias, -(mean.astype(float) * wanted))
    assert same_network(path) == 2


@pytest.mark.parametrize("op", ["Mul", "Sub", "Max", "Min"])
def test_one_operation_on_real_constants(op, tmp_path):
    """The product of two float32 numbers has 48 bits, their difference here 25: a double holds both."""
    net, (a, b) = Net(1, 1), (Fraction(float(np.float32(number))) for number in (1.1, 1.3))
    made = net.put(op, net.constant([[float(a)]]), net.constant([[float(b)]]))
    path = net.save(tmp_path, net.put("Gemm", "x", made))
    ((weight,),) = load_onnx(path).graph.nodes[0].op.weights
    assert Fraction(weight) == {"Mul": a * b, "Sub": a - b, "Max": b, "Min": a}[op]
    assert same_network(path) == 2


@pytest.mark.parametrize(
    ("op", "values", "message"),
    [
        ("Exp", [[1.0]], "odd: Exp of real constants"),
        ("MatMul", [[[1.0]], [[2.0]]], "odd: MatMul of real constants"),
        ("Div", [[[1.0]], [[0.0]]], "odd: a constant Div that is not finite"),
        ("Add", [[1.0, 2.0], [1.0, 2.0, 3.0]], "odd: malformed Add"),
    ],
)
def test_other_arithmetic_on_real_constants_is_refused(op, values, message, tmp_path):
    """Long sums depend on an order, and functions on a library."""
    net = Net(1, 1)
    odd = net.put(op, *(net.constant(value) for value in values), name="odd")
    refused(net.save(tmp_path, net.put("Mul", "x", odd), infer=False), message)


@pytest.mark.parametrize("op", ["Add", "Mul", "Div"])
def test_arithmetic_on_constants_of_16_bits_is_refused(op, tmp_path):
    """In bfloat16 the sum of 1 and 2^-9 would be 1."""
    net = Net(1, 4)
    small = [net.put("Cast", net.constant([number] * 4), to=TensorProto.BFLOAT16) for number in (1, 2**-9)]
    factor = net.put("Cast", net.put(op, *small, name="odd"), to=TensorProto.FLOAT)
    refused(net.save(tmp_path, net.put("Mul", "x", factor)), f"odd: {op} of real constants")


@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_no_integer_constant_is_divided_by_0(op, tmp_path):
    net = Net(1, 2)
    odd = net.put(op, net.constant([6, 0], np.int64), net.constant([2, 0], np.int64), name="odd")
    y = net.put("Mul", "x", net.put("Cast", odd, to=TensorProto.FLOAT))
    refused(net.save(tmp_path, y), f"odd: a constant {op} by 0")


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint8])
def test_integer_constants_are_divided_exactly(kind):
    """Towards 0, also where a double would round."""
    ends = np.iinfo(kind)
    a = np.array([ends.max, ends.max - 1, ends.min, ends.min + 1, 7, 0, 100], kind)[:, None]
    b = np.array([1, 2, 3, ends.max, *((-2, -7) if ends.min else ())], kind)
    node = helper.make_node("Div", ["a", "b"], ["q"])
    found = fold(node, {"a": a, "b": b}, {}, 14)["q"]
    assert found.dtype == kind
    for i, j in np.ndindex(found.shape):
        assert found[i, j] == int(Fraction(int(a[i, 0]), int(b[j])))


@pytest.mark.parametrize("op", ["MaxPool", "ConvInteger"])
def test_windows_on_constants_are_refused(op, tmp_path):
    """With strides of 0 onnx itself would end the process."""
    net = Net(1, 2, 4, 4)
    inputs = [net.constant(np.ones((1, 2, 4, 4)), np.int8), net.constant(np.ones((2, 2, 2, 2)), np.int8)]
    odd = net.put(op, *inputs[: 1 + (op == "ConvInteger")], name="odd", kernel_shape=[2, 2], strides=[0, 1])
    y = net.put("Add", "x", net.put("Cast", odd, to=TensorProto.FLOAT))
    refused(net.save(tmp_path, y, infer=False), f"odd: a constant {op}")


def test_the_checker_reads_limits_without_end(tmp_path):
    """The second operand of Min is no list of axes."""
    net = Net(1, 3)
    least = net.put("Min", net.normal(3), net.constant([np.inf] * 3))
    y = net.put("Mul", net.put("Gemm", "x", net.normal(3, 3)), least)
    assert same_network(net.save(tmp_path, y)) == 2


def test_a_falling_hard_sigmoid_is_refused(tmp_path):
    net = Net(1, 6)
    y = net.put("HardSigmoid", "x", name="falls", alpha=-0.5)

    with pytest.raises(CompileError, match=r"falls: alpha = -0\.5"):
        load_onnx(net.save(tmp_path, y))
