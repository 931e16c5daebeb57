# SPDX-License-Identifier: Apache-2.0
"""Ops that the front end writes as simpler ones: name -> (input shape, opset, what writes it into a Net)."""

import numpy as np

MAP, SMALL, LINE, OLD, NEW = (1, 4, 9, 8), (1, 4, 3, 2), (1, 4, 12), 12, 18
COLUMN = (1, 4, 1, 6)


def ints(net, *numbers):
    return net.constant(list(numbers), np.int64)


def one(kind, *lists, **attributes):
    """What writes one node that reads x and lists of integers."""
    return lambda n: n.put(kind, "x", *("" if x is None else ints(n, *x) for x in lists), **attributes)


def both(net, sizes, *inputs, **attributes):
    """A sum over both outputs of a Split: the smaller one, added to the beginning of the other."""
    first = net.put("Split", "x", *inputs, outputs=2, **attributes)
    pads = [0] * 8
    pads[4 + attributes["axis"] % 4] = sizes[0] - sizes[1]
    more = {"pads": pads} if net.opset < 11 else {}
    second = net.put("Pad", f"{first}_1", *([] if more else [ints(net, *pads)]), **more)
    return net.put("Add", first, second)


def twice(net, flat):
    """A flattened map that a Relu and a Gemm read, and a Gemm behind the Relu."""
    a = net.put("Gemm", flat, net.normal(84, 3))
    return net.put("Add", a, net.put("Gemm", net.put("Relu", flat), net.normal(84, 3)))


def turned(size, **attributes):
    """What writes a ConvTranspose of x with a Relu behind it."""
    outputs = size[1] * attributes.get("group", 1)
    return lambda n: n.put("Relu", n.put("ConvTranspose", "x", n.normal(*size), n.normal(outputs),
                                         **attributes))  # fmt: skip


def branches(net):
    """Three maps of three rows and two columns: a convolution, a pool of a Sigmoid, a sum read again."""
    a = net.put("Relu", net.put("Conv", "x", net.normal(4, 4, 1, 1), net.normal(4)))
    b = net.put("MaxPool", net.put("Sigmoid", "x"), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    c = net.put("Conv", "x", net.normal(4, 4, 1, 1))
    return a, b, net.put("Conv", c, net.normal(4, 4, 1, 1)), c


def excited(net):
    """Channels weighed by what a small network makes of their means."""
    a = net.put("Relu", net.put("Conv", "x", net.normal(4, 4, 1, 1), net.normal(4)))
    s = net.put("Relu", net.put("Conv", net.put("GlobalAveragePool", a), net.normal(2, 4, 1, 1)))
    return net.put("Mul", a, net.put("Sigmoid", net.put("Conv", s, net.normal(4, 2, 1, 1))))


def flipped(net, x):
    """A line from its end to its beginning."""
    return net.put("Slice", x, ints(net, -1), ints(net, -99), ints(net, 2), ints(net, -1))


def norm(net, x):
    """A batch normalisation of four channels."""
    parts = [net.normal(4) for _ in range(3)]
    return net.put("BatchNormalization", x, *parts, net.constant(np.linspace(0.5, 2, 4)))


def residual(net):
    """Two convolutions, the second one added to the first."""
    a = net.put("Relu", net.put("Conv", "x", net.normal(4, 4, 3), net.normal(4), pads=[1, 1]))
    b = net.put("Conv", a, net.normal(4, 4, 3), net.normal(4), pads=[1, 1])
    return net.put("GlobalAveragePool", net.put("Relu", net.put("Add", a, b)))


def dense_block(net):
    """Every layer reads all before it, each time joined anew, as DenseNets do."""
    held = [net.put("Relu", net.put("Conv", "x", net.normal(3, 4, 1, 1)))]
    for _ in range(2):
        joined = net.put("Concat", *held, "x", axis=1)
        weights = net.normal(3, 3 * len(held) + 4, 1, 1)
        held.append(net.put("Relu", net.put("Conv", joined, weights)))
    return net.put("Concat", *held, axis=1)


FORMS = {
    "squeeze": (COLUMN, OLD, lambda n: n.put("Squeeze", "x", axes=[2])),
    "squeeze, axes as an input": (COLUMN, NEW, lambda n: n.put("Squeeze", "x", ints(n, -2))),
    "squeeze of two axes": ((1, 4, 1, 6, 1), NEW, lambda n: n.put("Relu", n.put("Squeeze", "x",
                                                                                ints(n, 2, 4)))),
    "unsqueeze": (COLUMN, OLD, lambda n: n.put("Unsqueeze", "x", axes=[1, 3])),
    "unsqueeze, axes as an input": (COLUMN, NEW, lambda n: n.put("Unsqueeze", "x", ints(n, -1, 2))),
    "dropout in training mode, ratio 0": (MAP, NEW, lambda n: n.put("Relu", n.put("Dropout", "x",
        n.constant(0.0), n.constant(True, bool)))),
    "global max pool": (MAP, NEW, lambda n: n.put("GlobalMaxPool", "x")),
    "reduce mean": (MAP, OLD, lambda n: n.put("ReduceMean", "x", axes=[2, 3])),
    "reduce mean, axes as an input": (MAP, NEW, lambda n: n.put("ReduceMean", "x", ints(n, -1, 2))),
    "reduce mean without keepdims": (MAP, OLD, lambda n: n.put("ReduceMean", "x", axes=[2, 3], keepdims=0)),
    "reduce mean over channels": (MAP, OLD, lambda n: n.put("ReduceMean", "x", axes=[1])),
    "reduce mean over columns": (MAP, NEW, lambda n: n.put("ReduceMean", "x", ints(n, 3), keepdims=0)),
    "reduce mean over two axes": (MAP, OLD, lambda n: n.put("ReduceMean", "x", axes=[-1, 1], keepdims=0)),
    "reduce mean over all but the batch": (MAP, OLD, lambda n: n.put("ReduceMean", "x", axes=[1, 2, 3])),
    "reduce mean, channels last": (MAP, NEW, lambda n: n.put(
        "ReduceMean", n.put("Transpose", "x", perm=[0, 2, 3, 1]), ints(n, 1, 2), keepdims=0)),
    "reduce mean over nothing": (MAP, NEW, lambda n: n.put("Relu", n.put("ReduceMean", "x",
                                                                         noop_with_empty_axes=1))),
    "reduce sum": (MAP, NEW, one("ReduceSum", (2, 3))),
    "reduce sum over channels": (MAP, OLD, lambda n: n.put("Relu", n.put("ReduceSum", "x", axes=[1]))),
    "reduce sum of a row": ((1, 12), NEW, one("ReduceSum", (-1,))),
    "reduce sum on a line": (LINE, NEW, one("ReduceSum", (2,), keepdims=0)),
    "max with a number": (MAP, OLD, lambda n: n.put("Max", n.put("Conv", "x", n.normal(3, 4, 1, 1)),
                                                    n.constant(-0.25))),
    "min with numbers": (SMALL, 8, lambda n: n.put("Min", n.constant([0.5]), "x",
                                                   n.constant(np.full((1, 1, 1, 1), 0.25)))),
    "max of two": (MAP, OLD, lambda n: n.put("Max", "x", n.put("Conv", "x", n.normal(4, 4, 1, 1)))),
    "min of three that broadcast": (MAP, NEW, lambda n: n.put("Min", "x", n.put("Relu", "x"), n.put(
        "GlobalAveragePool", "x"))),
    "max of vectors and numbers": ((1, 12), NEW, lambda n: n.put("Max", "x", n.constant([0.1]), n.put(
        "Gemm", "x", n.normal(12, 12)))),
    "min of rows": ((1, 5, 6), NEW, lambda n: n.put("Min", "x", n.put("MatMul", "x", n.normal(6, 6)))),
    "max of one": (SMALL, NEW, lambda n: n.put("Relu", n.put("Max", "x"))),
    "a constant row in front": ((1, 5, 6), NEW, lambda n: n.put("MatMul", n.put(
        "Concat", n.normal(1, 1, 6), n.put("MatMul", "x", n.normal(6, 6)), axis=1), n.normal(6, 3))),
    "constants around a map": (SMALL, NEW, lambda n: n.put(
        "Concat", n.normal(1, 4, 1, 2), "x", n.constant(np.zeros((1, 4, 2, 2))), n.normal(1, 4, 1, 2),
        axis=2)),
    "slice": (MAP, 9, one("Slice", starts=[1, -5], ends=[3, 100], axes=[1, 3])),
    "slice, all as inputs": (MAP, NEW, one("Slice", (-1, 1), (-(2**63), 8), (2, 3), (-3, 2))),
    "split in equal parts": (MAP, NEW, lambda n: both(n, [2, 2], axis=1, num_outputs=2)),
    "split by sizes": (MAP, OLD, lambda n: both(n, [5, 4], axis=-2, split=[5, 4])),
    "split by an input": (MAP, 13, lambda n: both(n, [3, 6], ints(n, 3, 6), axis=2)),
    "pad": (MAP, 10, one("Pad", pads=[0, 1, 0, 2, 0, 0, 3, 0], value=0.3)),
    "pad, some axes, and a crop": (MAP, NEW, one("Pad", (2, -1, -3, 1), None, (3, -2))),
    "pad, reflected": (MAP, NEW, one("Pad", (0, 0, 3, 2, 0, 0, 4, 1), mode="reflect")),
    "pad, edge": (MAP, NEW, one("Pad", (0, 2, 3, 2, 0, 0, 4, 1), mode="edge")),
    "pad, wrapped": (MAP, 19, one("Pad", (0, 0, 3, 2, 0, 0, 4, 1), mode="wrap")),
    "pad with a given zero": (MAP, NEW, lambda n: n.put("Pad", "x", ints(n, 0, 0, 1, 1, 0, 0, 1, 1),
                                                        n.constant(0))),
    "pad with a number": (MAP, NEW, lambda n: n.put("Pad", "x", ints(n, 0, 0, 1, 1, 0, 0, 1, 1),
                                                    n.constant(-1.7))),
    "pad with a number before a convolution": (MAP, NEW, lambda n: n.put("Relu", n.put(
        "Conv", n.put("Pad", n.put("Relu", "x"), ints(n, 0, 0, 1, 1, 0, 0, 1, 1), n.constant(1.3)),
        n.normal(3, 4, 3, 3), n.normal(3)))),
    "pad with a number behind a pool": (MAP, NEW, lambda n: n.put("Pad", n.put(
        "MaxPool", n.put("Conv", "x", n.normal(4, 4, 1, 1)), kernel_shape=[2, 2]), ints(n, 1, 1, 0, 2),
        n.constant(-4.0), ints(n, 2, 3))),
    "expand": (COLUMN, NEW, one("Expand", (3, 1))),
    "tile": (COLUMN, NEW, one("Tile", (1, 2, 3, 2))),
    "gather": (MAP, NEW, one("Gather", (2, -1, 2), axis=1)),
    "gather of a matrix of places": (MAP, NEW, lambda n: n.put(
        "Gather", "x", n.constant([[0, 3], [-1, 1]], np.int64), axis=-1)),
    "gather of one": (MAP, NEW, lambda n: n.put("Gather", "x", n.constant(1, np.int64), axis=2)),
    "a pad before a convolution": (MAP, NEW, lambda n: n.put("Relu", n.put(
        "Conv", n.put("Pad", "x", ints(n, 0, 0, 1, 1, 0, 0, 1, 1)), n.normal(3, 4, 3, 3), n.normal(3)))),
    "a slice of a view": (MAP, NEW, lambda n: n.put("Relu", n.put("Slice", n.put("Flatten", "x"), ints(n, 7),
                                                                  ints(n, 200), ints(n, 1)))),
    "an activation behind a flatten": (MAP, NEW, lambda n: n.put("Relu", n.put("Flatten", n.put(
        "Conv", "x", n.normal(3, 4, 3, 3), n.normal(3))))),
    "a view twice": (MAP, NEW, lambda n: twice(n, n.put("Flatten", n.put("Conv", "x",
                                                                         n.normal(2, 4, 3, 3))))),
    "conv on a line": (LINE, NEW, lambda n: n.put("Relu", n.put("Conv", "x", n.normal(3, 4, 3), n.normal(3),
                                                                pads=[1, 2], strides=[2], dilations=[2]))),
    "depthwise conv on a line": (LINE, OLD, lambda n: n.put("Conv", "x", n.normal(8, 1, 4), group=4,
                                                            auto_pad="SAME_UPPER")),
    "max pool on a line": (LINE, NEW, one("MaxPool", kernel_shape=[3], strides=[2], pads=[1, 0])),
    "average pool on a line": (LINE, NEW, one("AveragePool", kernel_shape=[3], strides=[2])),
    "global average pool on a line": (LINE, NEW, one("GlobalAveragePool")),
    "global max pool on a line": (LINE, NEW, one("GlobalMaxPool")),
    "reduce mean on a line": (LINE, NEW, one("ReduceMean", (2,), keepdims=0)),
    "batch norm on a line": (LINE, NEW, lambda n: norm(n, "x")),
    "conv, batch norm, relu on a line": (LINE, NEW, lambda n: n.put("Relu", norm(n, n.put(
        "Conv", "x", n.normal(4, 4, 3))))),
    "concat of channels": (SMALL, NEW, lambda n: n.put("Concat", *branches(n), axis=1)),
    "concat of rows, of one input twice": (SMALL, NEW, lambda n: n.put("Concat", *branches(n)[:1] * 2, "x",
                                                                       axis=-2)),
    "concat of views": (LINE, NEW, lambda n: n.put("Relu", n.put("Concat", *(n.put("Relu", n.put(
        "Conv", "x", n.normal(4, 4, k))) for k in (2, 3)), axis=2))),
    "concat behind a concat": (SMALL, NEW, lambda n: n.put("Concat", n.put("Concat", *branches(n), axis=1),
                                                           "x", axis=1)),
    "one tensor in two concats": (SMALL, NEW, dense_block),
    "difference of two tensors": (SMALL, NEW, lambda n: n.put("Relu", n.put("Sub", *branches(n)[:2]))),
    "product of two tensors": (SMALL, NEW, lambda n: n.put("Relu", n.put("Mul", *branches(n)[:2]))),
    "square": (SMALL, NEW, lambda n: n.put("Mul", "x", "x")),
    "squeeze and excitation": (SMALL, NEW, excited),
    "a row added to a map": (SMALL, NEW, lambda n: n.put("Add", n.put("Slice", "x", ints(n, 1), ints(n, 2),
                                                                      ints(n, 2)), "x")),
    "constant minus a tensor": (SMALL, NEW, lambda n: n.put("Sub", n.normal(4, 1, 1), "x")),
    "scalar minus a tensor": (LINE, NEW, lambda n: n.put("Sub", n.constant(1.0), "x")),
    "divided by a constant": (SMALL, OLD, lambda n: n.put("Div", "x", n.constant(
        np.reshape([2.0, 3, -4, 7], (4, 1, 1))))),
    "a constant on a line": (LINE, NEW, lambda n: n.put("Relu", n.put(
        "Mul", n.put("Add", "x", n.normal(4, 1)), n.normal(1, 4, 1)))),
    "a constant of a whole map": (SMALL, NEW, lambda n: n.put("Add", n.normal(4, 3, 2), "x")),
    "a constant per column": (SMALL, NEW, lambda n: n.put("Mul", "x", n.normal(2))),
    "a constant along the last of two axes": (LINE, NEW, lambda n: n.put("Sub", "x", n.normal(12))),
    "a constant larger than the tensor": (LINE, NEW, lambda n: n.put("Add", n.put(
        "Slice", "x", ints(n, 1), ints(n, 2), ints(n, 2)), n.normal(4, 5))),
    "prelu": (SMALL, NEW, lambda n: n.put("PRelu", n.put("Conv", "x", n.normal(4, 4, 1, 1)),
                                          n.normal(4, 1, 1))),
    "prelu of one slope": (SMALL, 10, lambda n: n.put("PRelu", "x", n.normal(1))),
    "cast": (SMALL, NEW, lambda n: n.put("Relu", n.put("Cast", "x", to=1))),
    "max pool, sizes rounded up": (MAP, NEW, one("MaxPool", kernel_shape=[3, 2], strides=[3, 3], ceil_mode=1,
                                                 pads=[1, 0, 0, 0])),
    "max pool, nothing to round": (MAP, OLD, one("MaxPool", kernel_shape=[2, 2], strides=[7, 2],
                                                   ceil_mode=1)),
    "average pool, padding not counted": (SMALL, NEW, one("AveragePool", kernel_shape=[3, 2], strides=[2, 1],
                                                          pads=[1, 1, 1, 0])),
    "average pool, same upper": (SMALL, OLD, one("AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER")),
    "average pool, sizes rounded up": (SMALL, NEW, one("AveragePool", kernel_shape=[2, 2], strides=[2, 2],
                                                       ceil_mode=1)),
    "average pool with holes": (MAP, 19, one("AveragePool", kernel_shape=[2, 3], dilations=[2, 1],
        strides=[1, 2])),
    "average pool with holes, counted pads": (MAP, 19, one("AveragePool", kernel_shape=[2, 2],
        dilations=[2, 3], pads=[1, 0, 1, 1], count_include_pad=1)),
    "average pool with holes on a line": (LINE, 19, one("AveragePool", kernel_shape=[3], dilations=[2])),
    "average pool with holes, padding not counted": (MAP, 19, one("AveragePool", kernel_shape=[3, 2],
        dilations=[2, 3], strides=[1, 2], pads=[2, 1, 1, 1])),
    "average pool with holes, sizes rounded up": (MAP, 19, one("AveragePool", kernel_shape=[2, 3],
        dilations=[3, 2], strides=[4, 3], pads=[1, 0, 0, 1], ceil_mode=1)),
    "average pool, all of it": (SMALL, 19, one("AveragePool", kernel_shape=[2, 2], strides=[2, 2],
                                               ceil_mode=1, pads=[1, 0, 0, 1], count_include_pad=1)),
    "average pool on a line, not counted": (LINE, NEW, one("AveragePool", kernel_shape=[4], pads=[2, 1])),
    "gemm with alpha and beta": ((1, 5), NEW, lambda n: n.put("Gemm", "x", n.normal(5, 3), n.normal(1, 3),
                                                              alpha=0.3, beta=-1.7)),
    "matrix per row": (LINE, NEW, lambda n: n.put("Relu", n.put("Add", n.put("MatMul", "x", n.normal(12, 3)),
                                                                n.normal(3)))),
    "two matrices per row": (LINE, NEW, lambda n: n.put("MatMul", n.put("Sigmoid", n.put(
        "MatMul", "x", n.normal(12, 3))), n.normal(3, 5))),
    "matrix per row of many": (SMALL, NEW, lambda n: n.put("MatMul", "x", n.normal(2, 3))),
    "flipped twice": (LINE, NEW, lambda n: n.put("Relu", n.put(
        "Conv", flipped(n, n.put("Relu", flipped(n, "x"))), n.normal(4, 4, 3)))),
    "conv transpose": (SMALL, NEW, turned((4, 3, 3, 2), strides=[2, 3], pads=[1, 0, 0, 1])),
    "conv transpose, output padding": (SMALL, OLD, turned((4, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1],
                                                        output_padding=[1, 1])),
    "conv transpose, grouped, dilated": (SMALL, NEW, turned((4, 3, 2, 2), group=2, dilations=[2, 1])),
    "conv transpose, depthwise": (SMALL, NEW, turned((4, 1, 4, 4), group=4, strides=[2, 2],
                                                  pads=[1, 1, 1, 1])),
    "conv transpose, same upper": (SMALL, NEW, turned((4, 2, 4, 3), strides=[2, 2], auto_pad="SAME_UPPER")),
    "conv transpose, same lower": (SMALL, NEW, turned((4, 2, 4, 3), strides=[2, 2], auto_pad="SAME_LOWER")),
    "conv transpose to a shape": (SMALL, NEW, turned((4, 2, 3, 3), strides=[2, 2], output_shape=[6, 4])),
    "conv transpose that cuts": (SMALL, NEW, turned((4, 2, 2, 2), pads=[2, 0, 2, 0], strides=[2, 2])),
    "conv transpose on a line": (LINE, NEW, turned((4, 2, 4), strides=[3], pads=[1, 2], output_padding=[1])),
    "residual block on a line": (LINE, NEW, residual),
}  # fmt: skip
