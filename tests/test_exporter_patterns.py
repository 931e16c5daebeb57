# SPDX-License-Identifier: Apache-2.0
"""Patterns that real exporters write, rebuilt by hand: each was found in a file that one of them wrote."""

import numpy as np
import onnx
import pytest
from onnx_nets import Net, session
from pipeline import certified, refused, same_network
from replay import integer_graph
from test_frontends import compare

from tinybound.checker.files import Rejected
from tinybound.checker.float_net import read_float
from tinybound.domains.exact import run

ROWS, MAP = (1, 6, 8), (1, 4, 6, 4)


def ints(net, *numbers):
    return net.constant(list(numbers), np.int64)


def one(kind, *lists, **attributes):
    """What writes one node that reads x and lists of integers."""
    return lambda n: n.put(kind, "x", *(ints(n, *x) for x in lists), **attributes)


def resized(factors=(1, 1, 2, 2), sizes=(), **attributes):
    """What writes a Resize by factors, or to sizes."""
    last = (lambda n: ["", ints(n, *sizes)]) if sizes else (lambda n: [n.constant(factors)])
    return lambda n: n.put("Resize", "x", "", *last(n), mode="nearest", **attributes)


def product(net, x, wide):
    return net.put("Add", net.put("MatMul", x, net.normal(8, wide)), net.normal(wide))


def attention(net):
    """timm and torchvision: q, k, v of one product, the axis of three in front of the batch."""
    parts = net.put("Reshape", product(net, "x", 24), ints(net, 1, 6, 3, 2, 4))
    parts = net.put("Transpose", parts, perm=[2, 0, 3, 1, 4])
    q, k, v = (net.put("Gather", parts, net.constant(i, np.int64), axis=0) for i in range(3))
    root = net.put("Pow", net.constant(4.0), net.constant(-0.5))
    scores = net.put("Mul", net.put("MatMul", q, net.put("Transpose", k, perm=[0, 1, 3, 2])), root)
    y = net.put("MatMul", net.put("Softmax", scores, axis=-1), v)
    return net.put("Reshape", net.put("Transpose", y, perm=[0, 2, 1, 3]), ints(net, 1, 6, 8))


def rows_first(net):
    """torch.nn.MultiheadAttention: the batch is the second axis, then part of the heads."""
    x = product(net, net.put("Transpose", "x", perm=[1, 0, 2]), 16)
    parts = net.put("Unsqueeze", net.put("Reshape", x, ints(net, 6, 1, 2, 8)), ints(net, 0))
    parts = net.put("Squeeze", net.put("Transpose", parts, perm=[3, 1, 2, 0, 4]), ints(net, 3))
    a, b = (net.put("Gather", parts, net.constant(i, np.int64), axis=0) for i in range(2))
    a, b = (net.put("Transpose", net.put("Reshape", y, ints(net, 6, 2, 4)), perm=[1, 0, 2]) for y in (a, b))
    found = net.put("MatMul", a, net.put("Transpose", b, perm=[0, 2, 1]))
    return net.put("Reshape", found, ints(net, 1, 2, 6, 6))


def gemm_of_rows(net):
    """ONNX Runtime's preprocessing writes a product of rows as a Gemm without their batch."""
    flat = net.put("Reshape", "x", ints(net, -1, 8))
    y = net.put("Relu", net.put("Gemm", flat, net.normal(8, 5), net.normal(5)))
    return net.put("Reshape", net.put("Gemm", y, net.normal(5, 3), net.normal(3)), ints(net, 1, 6, 3))


def gelu(net):
    """Before opset 20."""
    x = product(net, "x", 4)
    bent = net.put("Erf", net.put("Div", x, net.constant(2.0**0.5)))
    return net.put("Mul", net.put("Mul", x, net.put("Add", bent, net.constant(1.0))), net.constant(0.5))


def without_batch(net):
    """x[0], chunks of it one above the other, a row of them turned."""
    first = net.put("Gather", "x", net.constant(0, np.int64), axis=0)
    a = net.put("Split", first, ints(net, 2, 4), outputs=2, axis=0)
    y = net.put("Concat", f"{a}_1", a, axis=0)
    y = net.put("Slice", y, ints(net, 1), ints(net, 5), ints(net, 0))
    return net.put("Sub", net.put("Pad", y, ints(net, 1, 0, 1, 0)), net.put("Flatten", first, axis=1))


PATTERNS = {
    "attention of one product": (ROWS, 17, attention),
    "attention, rows in front": (ROWS, 17, rows_first),
    "gemm of rows": (ROWS, 17, gemm_of_rows),
    "gelu by erf": (ROWS, 17, gelu),
    "without a batch": (ROWS, 18, without_batch),
    "casts at both ends": (ROWS, 17, lambda n: n.put("Cast", n.put("Tanh", n.put("Cast", "x", to=10)), to=1)),
    "a value without an axis": ((1, 8), 17, lambda n: n.put("Squeeze", product(n, "x", 1), ints(n, 1))),
    "everything in a row": (ROWS, 17, lambda n: n.put("Relu", n.put("Flatten", "x", axis=0))),
    "flattened behind rows": (MAP, 17, lambda n: n.put("Tanh", n.put("Flatten", "x", axis=2))),
    "axes turned round": (MAP, 17, lambda n: n.put("Relu", n.put("Transpose", "x"))),
    "tiled": (ROWS, 17, lambda n: n.put("Relu", n.put("Tile", "x", ints(n, 3, 1, 2)))),
    "maximum of maps": (MAP, 13, one("ReduceMax", axes=[2, 3], keepdims=0)),
    "maximum of channels": (MAP, 18, one("ReduceMax", [1])),
    "maximum of rows and columns": (MAP, 18, one("ReduceMax", [-1, 1], keepdims=0)),
    "minus": (MAP, 13, lambda n: n.put("Relu", n.put("Neg", "x"))),
    "absolute": (ROWS, 13, one("Abs")),
    "square": (ROWS, 13, lambda n: n.put("Pow", "x", n.constant(2.0))),
    "first power": (ROWS, 13, lambda n: n.put("Pow", "x", n.constant([1.0]))),
    "elu": (ROWS, 13, one("Elu", alpha=0.7)),
    "softplus": (ROWS, 13, one("Softplus")),
    "twice as large": (MAP, 13, resized(coordinate_transformation_mode="asymmetric", nearest_mode="floor")),
    "to a size": (MAP, 18, resized(sizes=(1, 4, 18, 8))),
    "to a smaller size": (MAP, 18, resized(sizes=(1, 4, 2, 2), nearest_mode="ceil")),
    "corners in their places": (MAP, 13, resized((1, 1, 3, 1), nearest_mode="round_prefer_ceil",
                                                 coordinate_transformation_mode="align_corners")),
    "to one row": (MAP, 13, resized(sizes=(1, 4, 1, 4), coordinate_transformation_mode="pytorch_half_pixel")),
    "as TensorFlow counts": (MAP, 13, resized((1, 1, 0.5, 2), nearest_mode="floor",
                                              coordinate_transformation_mode="tf_half_pixel_for_nn")),
    "upwards, as TensorFlow counts": (MAP, 13, resized(
        nearest_mode="ceil", coordinate_transformation_mode="tf_half_pixel_for_nn")),
    "upsampled": (MAP, 9, lambda n: n.put("Upsample", "x", n.constant([1.0, 1, 2, 3]), mode="nearest")),
    "pixels shuffled": (MAP, 13, one("DepthToSpace", blocksize=2, mode="CRD")),
    "depth to space": ((1, 8, 3, 2), 13, one("DepthToSpace", blocksize=2)),
    "space to depth": (MAP, 13, one("SpaceToDepth", blocksize=2)),
}  # fmt: skip
OFTEN = ("attention, rows in front", "gemm of rows", "gelu by erf", "corners in their places", "square")


def saved(pattern, folder):
    shape, opset, write = PATTERNS[pattern]
    net = Net(*shape, opset=opset)
    return net.save(folder, write(net)), shape


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_meaning_is_onnx_runtimes_and_the_checkers(pattern, tmp_path):
    path, shape = saved(pattern, tmp_path)

    _, worst = compare(path, shape)

    assert worst <= (1e-3 if pattern == "casts at both ends" else 1e-5)  # of float16
    same_network(path)


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize(
    "pattern", [p if p in OFTEN else pytest.param(p, marks=pytest.mark.slow) for p in PATTERNS]
)
def test_c_is_golden_and_the_certificate_holds(pattern, tmp_path):
    path, shape = saved(pattern, tmp_path)
    assert certified(path, shape, tmp_path).verify(["golden", "host"]).ok


@pytest.mark.parametrize(
    ("shape", "write", "match"),
    [
        (MAP, resized((1, 1, 1.5, 1)), "Resize by 1.5"),
        (MAP, lambda n: n.put("Resize", "x", "", n.constant([1.0, 1, 2, 2]), mode="linear"), "mode 'linear'"),
        (
            MAP,
            resized((2, 2), axes=[2, 3]),
            "with axes or antialias .try a factor or a size",
        ),
        (MAP, one("DepthToSpace", blocksize=3), "blocks of 3 in 4 channels"),
        (MAP, one("SpaceToDepth", blocksize=5), "blocks of 5 in a map"),
        (ROWS, lambda n: n.put("Pow", "x", n.constant(3.0)), "Pow with an exponent of 3"),
        (ROWS, one("ReduceMax"), "a maximum over all axes"),
        ((1, 1), lambda n: n.put("Squeeze", "x"), "Squeeze to a scalar"),
        (
            ROWS,
            lambda n: n.put("GlobalMaxPool", n.put("Transpose", "x", perm=[1, 0, 2])),
            "without batch axis",
        ),
    ],
)
def test_what_is_refused(shape, write, match, tmp_path):
    net = Net(*shape, opset=18)
    refused(net.save(tmp_path, write(net), infer=False), match)


def test_nodes_out_of_order_are_sorted(tmp_path):
    """Quark's XINT8 puts nodes behind those that read them; ONNX Runtime sorts them too."""
    shape, _, write = PATTERNS["attention, rows in front"]
    net = Net(*shape, opset=17)
    out = write(net)
    sorted_path = net.save(tmp_path, out)
    model = onnx.load(sorted_path)
    order = np.random.default_rng(0).permutation(len(model.graph.node))
    nodes = [model.graph.node[i] for i in order]
    (tmp_path / "mixed").mkdir()
    path, shuffled = tmp_path / "mixed" / "net.onnx", onnx.ModelProto()
    shuffled.CopyFrom(model)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(nodes)
    onnx.save(shuffled, path)

    assert same_network(path) == same_network(sorted_path)
    _, worst = compare(path, shape, reference=sorted_path)

    assert worst <= 1e-5
    shuffled.graph.node[0].input[0] = shuffled.graph.node[0].output[0]
    onnx.save(shuffled, path)
    refused(path, "invalid ONNX")
    with pytest.raises(Rejected, match="wait for each other"):
        read_float(path.read_bytes())


def test_a_recurrent_layer_is_named_behind_what_is_not_taken(tmp_path):
    """An exporter's Transpose in front of it used to be all that was said."""
    net = Net(1, 6, 8)
    net.put("GRU", net.put("Sin", "x"), net.normal(1, 9, 8), net.normal(1, 9, 3), outputs=2, hidden_size=3)
    text = refused(net.save(tmp_path, "gru1_1"), "op GRU")
    assert "op Sin" in text
    assert "one step with the state" in text


def test_outputs_behind_activations_of_two_bits_do_not_saturate(tmp_path):
    """Brevitas stores 0, s, 2 s or 3 s: the last sum goes beyond what real numbers give."""
    net = Net(1, 16)
    x = net.quantised("x", 1 / 64, 0, np.int8)
    weights = net.weights(net.rng.integers(0, 7, (16, 64)), 1 / 128)
    hidden = net.put("Relu", net.put("MatMul", x, weights))
    pair = net.constant(0.3), net.constant(0, np.uint8)
    q = net.put("QuantizeLinear", hidden, *pair)
    q = net.put("Clip", q, net.constant(0, np.uint8), net.constant(3, np.uint8))
    signs = net.weights(net.rng.choice([-1, 1], (64, 4)), 1.0)
    last = net.put("MatMul", net.put("DequantizeLinear", q, *pair), signs)
    path = net.save(tmp_path, last)
    _, graph = integer_graph(path)
    (name,), rng = graph.outputs, np.random.default_rng(0)
    out, reference = graph.values[name], session(path)
    for _ in range(20):  # the samples that integer_graph calibrates on
        sample = rng.uniform(-2, 127 / 64, (1, 16)).astype(np.float32)
        q = np.clip(np.rint(sample[0] * 64), -128, 127).astype(np.int64)
        ours = (run(graph, {"x": q})[name] - out.quant.zero) * float(out.quant.scale[0])
        (theirs,) = reference.run(None, {"x": sample})
        assert np.abs(ours - theirs).max() < 0.51 * float(out.quant.scale[0])
