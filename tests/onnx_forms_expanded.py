# SPDX-License-Identifier: Apache-2.0
"""Ops that the front end writes as simpler ones: name -> (input shape, opset, what writes it into a Net)."""

import numpy as np

MAP, OLD, NEW = (1, 4, 9, 8), 12, 18
COLUMN = (1, 4, 1, 6)


def ints(net, *numbers):
    return net.constant(list(numbers), np.int64)


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
}  # fmt: skip
