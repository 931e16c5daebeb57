# SPDX-License-Identifier: Apache-2.0
"""The search for large differences sees inputs whose elements move together."""

import numpy as np
from onnx_nets import Net

import tinybound
from tinybound.domains.exact import run


def test_what_averages_is_attacked_by_inputs_that_move_as_one(tmp_path):
    """Samples of the domain hardly move a mean: its range is small, and a bright image leaves it."""
    net = Net(1, 2, 5, 3)
    sums = net.put("Relu", net.put("Conv", "x", net.normal(4, 2, 3, 3)))
    last = net.put("Gemm", net.put("Flatten", net.put("GlobalAveragePool", sums)), net.normal(4, 3))
    path = net.save(tmp_path, last)
    build = tinybound.compile(path, tmp_path / "B", tinybound.Options(target="c", domain="-3,2"))
    (entry,) = build.certificate["outputs"].values()

    (name,) = build.float_graph.outputs
    seen = 0.0
    for share in np.linspace(0, 1, 33):
        x = np.full((2, 5, 3), -3 + 5 * share)
        gap = build.predict({"x": x[None]})[name][0] - run(build.float_graph, {"x": x})[name]
        seen = max(seen, float(np.abs(gap).max()))

    assert seen > 0.3  # a step of the output is 0.04
    assert seen <= max(entry["attack"]) * (1 + 1e-9)
    assert max(entry["attack"]) <= max(entry["bound"])
