# SPDX-License-Identifier: Apache-2.0
"""A quantiser of the file between a layer and a constant factor or offset: what it rounds and cuts stays. And
what it does not round: values that are stored in two ways, or read as they are too."""

from fractions import Fraction

import numpy as np
import pytest
from onnx_nets import Net, session
from pipeline import refused, same_network
from replay import integer_graph, replay

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.options import Options


def conv(net, x):
    weights = net.weights(net.rng.integers(-127, 128, (4, 3, 3, 3)), np.full(4, 0.01))
    return net.put("Conv", x, weights, pads=[1, 1, 1, 1]), (4, 1, 1)


def dense(net, x):
    return net.put("MatMul", x, net.weights(net.rng.integers(-127, 128, (12, 6)), 0.01)), (6,)


def factor(net, x, shape):
    return net.put("Mul", x, net.constant(net.rng.uniform(-1.5, 1.5, shape)))


def offset(net, x, shape):
    return net.put("Add", x, net.constant(net.rng.uniform(-3, 3, shape)))


def normalisation(net, x, shape):
    parts = [net.rng.uniform(0.5, 1.5, shape[0]) for _ in range(4)]
    return net.put("BatchNormalization", x, *map(net.constant, parts))


LAYERS = {"conv": ((1, 3, 6, 5), conv), "dense": ((1, 12), dense)}
BEHIND = {"factor": [factor], "offset": [offset], "normalisation": [normalisation], "both": [offset, factor]}


@pytest.mark.parametrize("scale", [0.02, 0.2], ids=["saturating", "coarse"])
@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("layer", LAYERS)
def test_is_rounded_and_cut_as_onnx_runtime_does(layer, behind, scale, tmp_path):
    shape, made = LAYERS[layer]
    net = Net(*shape, seed=1)
    y, per_channel = made(net, net.quantised("x", 0.05, 3, np.int8))
    for step in BEHIND[behind]:
        y = step(net, net.quantised(y, scale, -7, np.int8), per_channel)
    path = net.save(tmp_path, net.quantised(y, 0.06, 5, np.int8))
    assert same_network(path)
    ends = load_onnx(path).activations["x"].reals
    x = np.random.default_rng(0).uniform(*ends, (8, *shape[1:])).astype(np.float32)

    seen, _ = replay(path, x, optimise=False)

    assert len(seen) == len(BEHIND[behind]) + 2  # every tensor that the file stores is one here
    assert all(found.worst <= 1 for found in seen.values()), seen
    differing = sum(found.differing for found in seen.values())
    assert differing <= 2e-3 * sum(found.compared for found in seen.values())


def cut(net, y):
    return net.quantised(y, 0.02, -7, np.int8)  # saturates


def fine(net, y):
    return net.quantised(y, 0.1, -20, np.int8)


def diamond(net, y):
    """Unstored values that several nodes read, on the way to one that is stored in two ways."""
    for _ in range(3):
        y = net.put("Add", net.put("Relu", y), y)
    return y


def moved(net, y):
    return net.put("Reshape", y, net.constant([1, -1], np.int64))


TWICE = {
    "two scales": lambda net, y: [cut(net, y), fine(net, y)],
    "two scales, one of them twice": lambda net, y: [fine(net, y), cut(net, y), cut(net, y)],
    "a Relu of what is not rounded": lambda net, y: [cut(net, y), fine(net, net.put("Relu", y))],
    "the Relu first": lambda net, y: [fine(net, net.put("Relu", y)), cut(net, y)],
    "a view": lambda net, y: [cut(net, moved(net, y)), fine(net, net.put("Relu", y))],
    "behind a Relu": lambda net, y: [cut(net, r := net.put("Relu", y)), fine(net, net.put("MaxPool", r,
                                     kernel_shape=[2, 2]))],
    "rounded before": lambda net, y: [fine(net, a := cut(net, y)), cut(net, net.put("Relu", a))],
}  # fmt: skip


@pytest.mark.parametrize("form", TWICE)
def test_a_value_that_is_read_in_two_ways(form, tmp_path):
    shape, made = LAYERS["conv"]
    net = Net(*shape, seed=2)
    path = net.save(tmp_path, *TWICE[form](net, made(net, net.quantised("x", 0.05, 3, np.int8))[0]))
    imported = load_onnx(path)
    x = np.random.default_rng(0).uniform(*imported.activations["x"].reals, (8, *shape[1:])).astype(np.float32)

    seen, _ = replay(path, x, optimise=False)

    layers = sum(node.op.weighted for node in imported.graph.nodes)
    assert layers == (1 if form == "rounded before" else 2)
    assert len(imported.weights) == layers  # the file's integers in both
    assert same_network(path) > layers
    assert len(seen) >= 3
    assert all(found.worst <= 1 for found in seen.values()), seen
    assert sum(s.differing for s in seen.values()) <= 5e-3 * sum(s.compared for s in seen.values())


def test_equal_quantisers_share_their_layer(tmp_path):
    shape, made = LAYERS["conv"]
    net = Net(*shape, seed=2)
    y = made(net, net.quantised("x", 0.05, 3, np.int8))[0]
    imported = load_onnx(net.save(tmp_path, net.put("Add", fine(net, y), fine(net, y)), fine(net, y)))
    assert sum(node.op.weighted for node in imported.graph.nodes) == 1


def test_what_no_output_needs_parts_as_well(tmp_path):
    """A quantiser beside a softmax that nothing reads has a layer of its own for the checker too."""
    net = Net(1, 4, 6, seed=2)
    y = net.put("Transpose", net.quantised("x", 0.05, 3, np.int8), perm=[0, 2, 1])
    net.put("Softmax", y)
    path = net.save(tmp_path, net.put("Relu", fine(net, y)))
    assert same_network(path) == 3
    build = compile_model(path, tmp_path / "B", Options(target="c", domain="-1,1"))
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]


def test_copies_do_not_multiply(tmp_path):
    shape, made = LAYERS["conv"]
    net = Net(*shape, seed=2)
    y = diamond(net, made(net, net.quantised("x", 0.05, 3, np.int8))[0])
    imported = load_onnx(net.save(tmp_path, cut(net, y), fine(net, y)))
    assert sum(node.op.weighted for node in imported.graph.nodes) == 2
    assert same_network(tmp_path / "net.onnx") < 40


def test_an_input_that_is_quantised_in_two_ways(tmp_path):
    """It has one kind of integers: those of the first quantiser, of which the wider range must be."""
    for scales, match in (
        ((0.05, 0.02), None),
        ((0.02, 0.05), r"'x' quantised over -6.4 \.\.\. 6.35, and over"),
    ):
        net = Net(1, 6)
        path = net.save(tmp_path, *(net.quantised("x", scale, 0, np.int8) for scale in scales))
        if match:
            refused(path, match)
            continue
        x = np.random.default_rng(0).uniform(-3, 3, (8, 6)).astype(np.float32)
        seen, _ = replay(path, x, optimise=False)
        assert max(found.worst for found in seen.values()) <= 2  # half a step of 0.05, and its own rounding


@pytest.mark.parametrize("view", [False, True], ids=["itself", "reshaped"])
def test_a_stored_input_may_be_stored_again_with_a_wider_range(view, tmp_path):
    """Unlike an input that is quantised in two ways: the first quantiser has cut it in the file as well."""
    net = Net(1, 12, seed=3)
    x = net.quantised("x", 0.0625, 3, np.int8)
    x = net.put("Reshape", x, net.constant([1, 3, 4], np.int64)) if view else x
    path = net.save(tmp_path, net.put("Relu", net.quantised(x, 0.25, -2, np.int8)))
    assert same_network(path)
    x = np.random.default_rng(0).uniform(-12, 12, (8, 12)).astype(np.float32)

    seen, _ = replay(path, x, optimise=False)

    assert len(seen) == 2
    assert all(found.worst == 0 for found in seen.values()), seen


@pytest.mark.parametrize("before", ["Gemm", "Relu", "Reshape"])
def test_an_output_that_a_quantiser_reads_is_given_as_it_is(before, tmp_path):
    """In a scale of its own, without the quantiser's ends; and what the quantiser makes of it beside it."""
    net, unit = Net(1, 6), 1 / 16
    y = net.put(
        "Gemm", net.quantised("x", unit, 0, np.int8), net.weights(np.eye(6, dtype=int), 1.0), transB=1
    )
    if before != "Gemm":
        y = net.put(before, y, *([net.constant([1, 2, 3], np.int64)] if before == "Reshape" else []))
    path = net.save(tmp_path, y, net.quantised(y, 0.02, 0, np.int8))  # which ends at 2.54
    _, whole = integer_graph(path)
    q = np.random.default_rng(0).integers(-128, 128, (40, 6))
    q[0], q[1] = 127, -128
    float_y, float_z = (name for name in whole.outputs)

    for row in q:
        values, real = run(whole, {"x": row}), row * unit
        if before == "Relu":
            real = np.maximum(real, 0)
        for name, step in ((float_y, None), (float_z, Fraction(float(np.float32(0.02))))):
            quant = whole.values[name].quant
            got = np.ravel(values[name]) - quant.zero
            if step is None:
                assert np.abs(got * float(quant.scale[0]) - real).max() <= 0.51 * float(quant.scale[0])
            else:
                want = [min(max(round(Fraction(float(v)) / step), -128), 127) for v in real]
                assert quant.scale == (step,)
                assert got.tolist() == want
    assert same_network(path) >= 4


WHOLE = np.int64
MOVES = {
    "transpose": lambda n, v: n.put("Transpose", v, perm=[0, 2, 3, 1]),
    "pool": lambda n, v: n.put("MaxPool", v, kernel_shape=[2, 2]),
    "gather": lambda n, v: n.put("Gather", v, n.constant([1, 0], WHOLE), axis=1),
    "reshape": lambda n, v: n.put("Reshape", v, n.constant([1, -1], WHOLE)),
}
OTHERS = {
    "an output": lambda n, v: v,
    "a function": lambda n, v: n.put("Sigmoid", v),
    "a move": lambda n, v: n.put("Transpose", v, perm=[0, 1, 3, 2]),
    "a stored move": lambda n, v: net_quantised(n, n.put("Transpose", v, perm=[0, 1, 3, 2])),
}


def net_quantised(net, v):
    return net.quantised(v, 2.0**-4, 3, np.int8)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("move", MOVES)
def test_what_is_moved_is_stored_as_the_file_says_whoever_else_reads_it(move, other, tmp_path):
    """Cut at 1, though the convolution reaches further and others read its result as it is."""
    net = Net(1, 2, 4, 4, seed=1)
    value = net.put("Conv", net.quantised("x", 2.0**-5, 0, np.int8), net.constant(np.eye(2)[..., None, None]))
    cut_off = net.quantised(MOVES[move](net, value), 2.0**-7, 0, np.int8)
    path = net.save(tmp_path, cut_off, OTHERS[other](net, value))
    assert same_network(path)
    x = np.random.default_rng(0).integers(-128, 128, (1, 2, 4, 4)) * 2.0**-5

    graph = integer_graph(path)[1]
    q = run(graph, {"x": (x[0] * 2**5).astype(np.int64)})[cut_off]

    [expected, _] = session(path).run(None, {"x": x.astype(np.float32)})
    found = 2.0**-7 * q
    assert found.max() == 127 / 128
    assert np.abs(found - expected[0]).max() <= 2.0**-5  # what the values in between lose


STILL = {
    "gather": lambda n, v: n.put("Gather", v, n.constant([0, 1], WHOLE), axis=1),
    "slice": lambda n, v: n.put("Slice", v, n.constant([0], WHOLE), n.constant([9], WHOLE)),
    "expand": lambda n, v: n.put("Expand", v, n.constant([1, 2, 1, 1], WHOLE)),
    "pad": lambda n, v: n.put("Pad", v, n.constant([0] * 8, WHOLE)),
    "to and fro": lambda n, v: n.put("Transpose", MOVES["transpose"](n, v), perm=[0, 3, 1, 2]),
}


@pytest.mark.parametrize("move", STILL)
def test_a_move_of_nothing_between_two_quantisers_keeps_both(move, tmp_path):
    net = Net(1, 2, 4, 4, seed=1)
    value = net.put("Conv", net.quantised("x", 2.0**-5, 0, np.int8), net.constant(np.eye(2)[..., None, None]))
    value = STILL[move](net, net.quantised(value, 2.0**-6, 7, np.int8))
    path = net.save(tmp_path, net.quantised(value, 2.0**-4, -3, np.int8))
    assert same_network(path)
    x = np.random.default_rng(0).uniform(-4, 4, (8, 2, 4, 4)).astype(np.float32)

    seen, _ = replay(path, x, optimise=False)

    assert len(seen) == 3
    assert all(found.worst == 0 for found in seen.values()), seen
