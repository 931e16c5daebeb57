# SPDX-License-Identifier: Apache-2.0
"""Batch axes of ONNX files: those that go, and those that are refused."""

import pytest
from onnx_nets import Net

from tinybound.errors import CompileError
from tinybound.frontends import load_onnx


@pytest.mark.parametrize(
    ("declared", "shape"),
    [
        ((1, 10), (10,)),
        (("N", 10), (10,)),
        ((None, 10), (10,)),
        ((10,), (10,)),
        (("N", 4, 9, 8), (4, 9, 8)),
        ((1, 1), (1,)),
    ],
)
def test_batch_axes_taken(declared, shape, tmp_path):
    net = Net(*declared)
    graph = load_onnx(net.save(tmp_path, net.put("Relu", "x"))).graph
    assert graph.values["x"].shape == shape
    assert graph.values[graph.outputs[0]].shape == shape


@pytest.mark.parametrize(
    "declared", [(1, "N"), ("A", "B"), (1, 4, None, 8), (2, 10), (3, 4, 9, 8), (1, 0), (1, 4, 0, 8)]
)
def test_batch_axes_refused(declared, tmp_path):
    net = Net(*declared)
    path = net.save(tmp_path, net.put("Relu", "x"))
    with pytest.raises(CompileError, match=r"^x: (dynamic shape|a fixed batch in shape) \[.*\]; expected "):
        load_onnx(path)
