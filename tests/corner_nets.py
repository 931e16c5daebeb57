# SPDX-License-Identifier: Apache-2.0
"""Networks whose first sums read maxima of few inputs each."""

import numpy as np
from onnx_nets import Net

KINDS = ("pool", "late relu", "dense", "padded", "no relu")
BEHIND = ("dense", "averaged", "moved", "branch")  # and a few sums behind these
DOMAIN = "-0.4,0.5"


def network(kind, seed):
    """Sums over maxima of affine functions of few inputs; some of these have equal or no weights."""
    net, h = Net(1, 1, 4, 4, seed=seed), "x"
    if kind == "dense":
        net = Net(1, 10, seed=seed)
        h = net.put("Relu", net.put("Gemm", h, net.normal(10, 6), net.normal(6, scale=0.3)))
        return net, net.put("Gemm", net.put("Relu", net.put("Gemm", h, net.normal(6, 4))), net.normal(4, 2))
    pads = [1, 1, 1, 1] if kind == "padded" else [0, 0, 0, 0]
    size = 3 if kind == "padded" else 2
    weights = net.rng.normal(0, 0.5, (6, 1, size, size))
    weights[1] = weights[0] if seed % 2 else 0.0  # ties; a maximum of nothing
    bias = net.constant(net.rng.normal(-0.2, 0.2, 6))
    h = net.put("Conv", h, net.constant(weights), bias, pads=pads)
    if kind not in ("late relu", "no relu"):
        h = net.put("Relu", h)
    h = net.put("MaxPool", h, kernel_shape=[2, 2], strides=[1, 1])
    if kind == "late relu":
        h = net.put("Relu", h)
    if kind == "moved":
        pads = net.constant([0, 0, 0, 0, 0, 0, 0, 1], np.int64)
        h = net.put("Transpose", net.put("Pad", h, pads, net.constant(np.float32(0))), perm=[0, 1, 3, 2])
        h = net.put("Slice", h, *(net.constant([n], np.int64) for n in (0, 2, 2)))
    weights = net.rng.normal(0, 0.5, (3, 6, 2, 2))
    weights -= weights.mean(axis=(2, 3), keepdims=True)  # sums of either sign
    h = net.put("Conv", h, net.constant(weights), net.normal(3, scale=0.02), pads=[0, 0, 1, 1])
    h = net.put("Relu", h)
    if kind not in BEHIND:
        return net, h
    h = net.put("Flatten", net.put("AveragePool", h, kernel_shape=[1, 2], strides=[1, 1]))
    h = net.put("Gemm", h, net.normal(6, 3), net.normal(3))
    if kind == "branch":
        h = net.put("Add", h, net.put("Gemm", net.put("Flatten", "x"), net.normal(16, 3)))
        h = net.put("Gemm", h, net.normal(3, 2))
    return net, h
