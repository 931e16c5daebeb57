# SPDX-License-Identifier: Apache-2.0
"""A quantiser of the file between a layer and a constant factor or offset: what it rounds and cuts stays. And
what it does not round: values that are stored in two ways, or read as they are too."""

import numpy as np
import pytest
from onnx_nets import Net
from replay import replay

from tinybound.frontends import load_onnx


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
    assert len(seen) >= 3
    assert all(found.worst <= 1 for found in seen.values()), seen
    assert sum(s.differing for s in seen.values()) <= 5e-3 * sum(s.compared for s in seen.values())


def test_equal_quantisers_share_their_layer(tmp_path):
    shape, made = LAYERS["conv"]
    net = Net(*shape, seed=2)
    y = made(net, net.quantised("x", 0.05, 3, np.int8))[0]
    imported = load_onnx(net.save(tmp_path, net.put("Add", fine(net, y), fine(net, y)), fine(net, y)))
    assert sum(node.op.weighted for node in imported.graph.nodes) == 1


def test_copies_do_not_multiply(tmp_path):
    shape, made = LAYERS["conv"]
    net = Net(*shape, seed=2)
    y = diamond(net, made(net, net.quantised("x", 0.05, 3, np.int8))[0])
    imported = load_onnx(net.save(tmp_path, cut(net, y), fine(net, y)))
    assert sum(node.op.weighted for node in imported.graph.nodes) == 2
    assert len(imported.graph.nodes) < 40
