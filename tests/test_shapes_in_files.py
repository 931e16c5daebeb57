# SPDX-License-Identifier: Apache-2.0
"""Shapes that exporters compute in the file, and constants made by nodes: read as ONNX Runtime does, and by
the checker as the same network."""

from itertools import product

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net, session
from pipeline import same_network

from tinybound.checker.constants import moved
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.frontends.constants import fold

MAP = (1, 4, 3, 5)


def whole(net, *numbers):
    return net.constant(numbers, np.int64)


def number(net, n):
    return net.constant(n, np.int64)


def _first_axis(net, x):
    """x.flatten(1), as PyTorch's newer exporter has it: allowzero = 1 at every Reshape."""
    target = net.put("Concat", net.put("Shape", x, start=0, end=1), whole(net, -1), axis=0)
    return net.put("Reshape", x, target, allowzero=1)


def _shuffle(net, x):
    """Channels of two groups, interleaved."""
    size = net.put("Shape", x)
    batch = net.put("Slice", size, whole(net, 0), whole(net, 1))
    split = net.put("Reshape", x, net.put("Concat", batch, whole(net, 2, 2, 3, 5), axis=0))
    return net.put("Reshape", net.put("Transpose", split, perm=[0, 2, 1, 3, 4]), size)


def _extent(net, x, **ends):
    """x times the first of some extents."""
    first = net.put("Gather", net.put("Shape", x, **ends), number(net, 0))
    return net.put("Mul", x, net.put("Cast", first, to=TensorProto.FLOAT))


def _expand(net, x):
    """c.expand(-1, 4, 3, 5), as PyTorch's older exporter has it."""
    wanted = whole(net, -1, 4, 3, 5)
    ones = net.put("ConstantOfShape", whole(net, 4), value=numpy_helper.from_array(np.array([1], np.int64)))
    free = net.put("Equal", wanted, net.put("Mul", ones, number(net, -1)))
    return net.put("Add", x, net.put("Expand", net.normal(4, 1, 5), net.put("Where", free, ones, wanted)))


def _half(net, x):
    """The difference of the two halves of the channels."""
    half = net.put("Div", net.put("Gather", net.put("Shape", x), number(net, 1)), number(net, 2))
    half = net.put("Unsqueeze", half, whole(net, 0))
    first = net.put("Slice", x, whole(net, 0), half, whole(net, 1))
    return net.put("Sub", first, net.put("Slice", x, half, whole(net, 2**62), whole(net, 1)))


def _positions(net, x):
    last = net.put("Gather", net.put("Shape", x), number(net, 3))
    ramp = net.put("Range", number(net, 0), last, number(net, 1))
    return net.put("Mul", x, net.put("Cast", ramp, to=TensorProto.FLOAT))


def _filled(dtype, given=True):
    def write(net, x):
        more = {"value": numpy_helper.from_array(np.array([3], dtype))} if given else {}
        made = net.put("ConstantOfShape", net.put("Shape", x), **more)
        return net.put("Add", x, net.put("Cast", made, to=TensorProto.FLOAT))

    return write


def _halves(net, x):
    """Weights that were kept in float16."""
    narrow = net.put("Cast", net.normal(4, 1, 1), to=TensorProto.FLOAT16)
    return net.put("Mul", x, net.put("Cast", narrow, to=TensorProto.FLOAT))


def _backwards(net, x):
    ramp = net.put(
        "Slice", net.constant(np.arange(10.0)), whole(net, 9), whole(net, -20), whole(net, 0), whole(net, -2)
    )
    return net.put("Add", x, ramp)


def _reshaped(target):
    return lambda net, x: net.put("Reshape", x, whole(net, *target), allowzero=1)


def _product(**more):
    """The map in two parts: channels, and the product of the other extents."""

    def write(net, x):
        size = net.put("ReduceProd", net.put("Shape", x, start=2), **more)
        size = size if more.get("keepdims", 1) else net.put("Unsqueeze", size, whole(net, 0))
        return net.put("Reshape", x, net.put("Concat", whole(net, 1, 4), size, axis=0))

    return write


def _remainder(**more):
    """As many rows as two extents leave: torch.nn.MultiheadAttention checks its sizes so."""

    def write(net, x):
        rest = net.put("Mod", net.put("Shape", x, start=2, end=3), whole(net, -2), **more)
        return net.put("Slice", x, whole(net, 0), net.put("Sub", whole(net, 2), rest), whole(net, 2))

    return write


FORMS = {
    "a remainder": _remainder(),
    "a remainder as C has it": _remainder(fmod=1),
    "a first axis that Shape cuts out": _first_axis,
    "allowzero without a zero": _reshaped((1, 60)),
    "allowzero with an extent to find": _reshaped((1, 2, -1)),
    "channel shuffle": _shuffle,
    "Shape from 1": lambda net, x: _extent(net, x, start=1),
    "Shape from -1": lambda net, x: _extent(net, x, start=-1),
    "Shape to -1": lambda net, x: _extent(net, x, start=2, end=-1),
    "Shape beyond the end": lambda net, x: _extent(net, x, start=-9, end=9),
    "expand": _expand,
    "halves": _half,
    "positions": _positions,
    "filled with int64": _filled(np.int64),
    "filled with float32": _filled(np.float32),
    "filled with nothing given": _filled(np.float32, given=False),
    "weights of 16 bits": _halves,
    "backwards": _backwards,
    "a product of extents": _product(axes=[0]),
    "a product of all extents": _product(keepdims=0),
}


@pytest.mark.parametrize("form", FORMS)
def test_read_as_onnx_runtime_does(form, tmp_path):
    net = Net(*MAP, opset=17)
    path = net.save(tmp_path, FORMS[form](net, "x"))
    graph = load_onnx(path).graph
    x = np.random.default_rng(0).normal(0, 1, MAP).astype(np.float32)
    [expected] = session(path).run(None, {"x": x})
    found = np.asarray(run(graph, {"x": x[0].astype(np.float64)})[graph.outputs[0]])
    assert found.shape == expected.shape[1:]
    np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-6)
    assert same_network(path) > 0


@pytest.mark.parametrize("steps", [(1, 2, 3), (-1, -2, -3)], ids=["on", "back"])
def test_slices_of_constants(steps):
    """From and to everywhere, as ONNX Runtime does: a start in front of the axis is its first element."""
    whole_numbers, names = TensorProto.INT64, ("starts", "ends", "axes", "steps")
    node = helper.make_node("Slice", ["x", *names], ["y"])
    inputs = [helper.make_tensor_value_info(name, whole_numbers, [None]) for name in names]
    inputs.insert(0, helper.make_tensor_value_info("x", whole_numbers, [3, 4]))
    output = helper.make_tensor_value_info("y", whole_numbers, [None, None])
    graph = helper.make_graph([node], "net", inputs, [output])
    theirs = session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    x, compared = np.arange(12).reshape(3, 4), 0
    for numbers in product((*range(-6, 7), 2**62), (*range(-6, 7), 2**62, -(2**62)), (0, 1, -1), steps):
        feeds = {"x": x, **{name: np.array([n]) for name, n in zip(names, numbers, strict=True)}}
        wanted = theirs.run(None, feeds)[0]
        checked = moved("slice", "Slice", [*feeds.values()], {})
        for found in (fold(node, feeds, {}, 17)[node.output[0]], checked):
            assert found.shape == wanted.shape
            assert (found == wanted).all()
            compared += 1
    print(f"{compared} slices compared")
