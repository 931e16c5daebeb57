# SPDX-License-Identifier: Apache-2.0
"""Ops that the front end writes as simpler ones: name -> (input shape, opset, what writes it into a Net)."""

import numpy as np

MAP, OLD, NEW = (1, 4, 9, 8), 12, 18
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


FORMS = {
    "squeeze": (COLUMN, OLD, lambda n: n.put("Squeeze", "x", axes=[2])),
    "squeeze, axes as an input": (COLUMN, NEW, lambda n: n.put("Squeeze", "x", ints(n, -2))),
    "squeeze of two axes": ((1, 4, 1, 6, 1), NEW, lambda n: n.put("Relu", n.put("Squeeze", "x",
                                                                                ints(n, 2, 4)))),
    "unsqueeze": (COLUMN, OLD, lambda n: n.put("Unsqueeze", "x", axes=[1, 3])),
    "unsqueeze, axes as an input": (COLUMN, NEW, lambda n: n.put("Unsqueeze", "x", ints(n, -1, 2))),
    "global max pool": (MAP, NEW, lambda n: n.put("GlobalMaxPool", "x")),
    "reduce mean": (MAP, OLD, lambda n: n.put("ReduceMean", "x", axes=[2, 3])),
    "reduce mean, axes as an input": (MAP, NEW, lambda n: n.put("ReduceMean", "x", ints(n, -1, 2))),
    "reduce mean without keepdims": (MAP, OLD, lambda n: n.put("ReduceMean", "x", axes=[2, 3], keepdims=0)),
    "reduce mean over nothing": (MAP, NEW, lambda n: n.put("Relu", n.put("ReduceMean", "x",
                                                                         noop_with_empty_axes=1))),
    "slice": (MAP, 9, one("Slice", starts=[1, -5], ends=[3, 100], axes=[1, 3])),
    "slice, all as inputs": (MAP, NEW, one("Slice", (-1, 1), (-(2**63), 8), (2, 3), (-3, 2))),
    "split in equal parts": (MAP, NEW, lambda n: both(n, [2, 2], axis=1, num_outputs=2)),
    "split by sizes": (MAP, OLD, lambda n: both(n, [5, 4], axis=-2, split=[5, 4])),
    "split by an input": (MAP, 13, lambda n: both(n, [3, 6], ints(n, 3, 6), axis=2)),
    "pad": (MAP, 10, one("Pad", pads=[0, 1, 0, 2, 0, 0, 3, 0])),
    "pad, some axes, and a crop": (MAP, NEW, one("Pad", (2, -1, -3, 1), None, (3, -2))),
    "pad, reflected": (MAP, NEW, one("Pad", (0, 0, 3, 2, 0, 0, 4, 1), mode="reflect")),
    "pad, edge": (MAP, NEW, one("Pad", (0, 2, 3, 2, 0, 0, 4, 1), mode="edge")),
    "pad, wrapped": (MAP, 19, one("Pad", (0, 0, 3, 2, 0, 0, 4, 1), mode="wrap")),
    "pad with a given zero": (MAP, NEW, lambda n: n.put("Pad", "x", ints(n, 0, 0, 1, 1, 0, 0, 1, 1),
                                                        n.constant(0))),
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
    "a view twice": (MAP, NEW, lambda n: twice(n, n.put("Flatten", n.put("Conv", "x", n.normal(2, 4, 3, 3))))),
}  # fmt: skip
