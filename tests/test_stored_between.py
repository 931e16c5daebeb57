# SPDX-License-Identifier: Apache-2.0
"""A quantiser of the file between a layer and a constant factor or offset: what it rounds and cuts stays."""

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
