# SPDX-License-Identifier: Apache-2.0
"""Opsets before 7: what compiles, the checker reads alike, and both refuse what a later opset would misread.

That the float meaning is right, the cases of peer_suite.py say: sixty of them are of opset 6.
"""

import pytest
from onnx_nets import Net
from pipeline import refused, same_network

from tinybound.checker.files import Rejected
from tinybound.checker.float_net import read_float

OLD = [1, 5, 6]


def reused(n):
    """An attribute of opsets before 6."""
    return {"consumed_inputs": [0]} if n.opset < 6 else {}


def norm(n, **more):
    return n.put("BatchNormalization", "x", *(n.constant([1, 2, 3]) for _ in range(4)), **reused(n), **more)


def dense(n, *c):
    return n.put("Gemm", n.put("Flatten", "x"), n.normal(48, 5), *c, broadcast=1)


TAKEN = {
    "Relu": lambda n: n.put("Relu", "x", **reused(n)),
    "LeakyRelu": lambda n: n.put("LeakyRelu", "x", **reused(n)),
    "Clip": lambda n: n.put("Clip", "x", min=0.0, max=6.0),
    "Conv": lambda n: n.put("Conv", "x", n.normal(4, 3, 3, 3), pads=[1, 1, 1, 1]),
    "BatchNormalization": lambda n: norm(n, is_test=1),
    "Dropout": lambda n: n.put("Relu", n.put("Dropout", "x", is_test=1)),
    "Gemm": lambda n: dense(n, n.normal(5)),
    "Add of a row": lambda n: n.put("Add", "x", n.normal(4), broadcast=1),
    "Mul of a channel": lambda n: n.put("Mul", "x", n.normal(3, 1, 1), broadcast=1),
    "Sub of tensors": lambda n: n.put("Sub", "x", n.put("Relu", "x")),
    "PRelu of one slope": lambda n: n.put("PRelu", "x", n.constant([0.1])),
    "AveragePool": lambda n: n.put("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
    "Softmax": lambda n: n.put("Softmax", "x"),
    "Slice": lambda n: n.put("Slice", "x", starts=[1], ends=[2], axes=[1]),
}


@pytest.mark.parametrize("opset", OLD)
@pytest.mark.parametrize("form", TAKEN)
def test_the_checker_reads_what_compiles(form, opset, tmp_path):
    net = Net(1, 3, 4, 4, opset=opset)
    assert same_network(net.save(tmp_path, TAKEN[form](net), infer=False))


REFUSED = {
    "an axis": (lambda n: n.put("Add", "x", n.normal(3), broadcast=1, axis=1), "an axis of its own"),
    "training": (norm, "in training mode"),
    "random": (lambda n: n.put("Dropout", "x"), "in training mode"),
    "slopes": (lambda n: n.put("PRelu", "x", n.constant([0.1, 0.2, 0.3])), "slopes per channel"),
    "no axis": (lambda n: n.put("Concat", "x", n.put("Relu", "x")), "."),
    "a shape as attribute": (lambda n: n.put("Reshape", "x", shape=[1, 48]), "."),
}


@pytest.mark.parametrize("opset", OLD)
@pytest.mark.parametrize("form", REFUSED)
def test_refused_by_compiler_and_checker(form, opset, tmp_path):
    write, message = REFUSED[form]
    net = Net(1, 3, 4, 4, opset=opset)
    path = net.save(tmp_path, write(net), infer=False)

    refused(path, message)
    with pytest.raises(Rejected):
        read_float(path.read_bytes())


def test_later_opsets_know_no_such_attributes(tmp_path):
    net = Net(1, 3, 4, 4, opset=7)
    path = net.save(tmp_path, net.put("Add", "x", net.normal(3, 1, 1), axis=1), infer=False)

    with pytest.raises(Rejected, match="attribute"):
        read_float(path.read_bytes())
