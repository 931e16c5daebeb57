# SPDX-License-Identifier: Apache-2.0
"""Patterns that real exporters write, rebuilt by hand: each was found in a file that one of them wrote."""

import numpy as np
from onnx_nets import Net, session
from replay import integer_graph

from tinybound.domains.exact import run


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
