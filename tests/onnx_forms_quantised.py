# SPDX-License-Identifier: Apache-2.0
"""Forms of quantised models: name -> (input shape, opset, what writes it into a Net)."""

import numpy as np

MAP, VECTOR = (1, 4, 6, 6), (1, 12)


def ints(net, *numbers):
    return net.constant(list(numbers), np.int64)


def around(net, x, scale, zero, dtype, *moves, clip=()):
    """QuantizeLinear -> moves and a Clip on the integers -> DequantizeLinear."""
    pair = net.constant(scale), net.constant(zero, dtype)
    q = net.put("QuantizeLinear", x, *pair)
    for kind, inputs, attributes in moves:
        q = net.put(kind, q, *inputs, **attributes)
    if clip:
        q = net.put("Clip", q, *("" if end is None else net.constant(end, dtype) for end in clip))
    return net.put("DequantizeLinear", q, *pair)


def conv(net, x, outputs=4, depth=4):
    scales = net.rng.uniform(0.001, 0.01, outputs)
    w = net.weights(net.rng.integers(-127, 128, (outputs, depth, 3, 3)), scales)
    return net.put("Conv", x, w, pads=[1, 1, 1, 1])


def gemm(net, x, inputs, outputs=3):
    w = net.weights(net.rng.integers(-127, 128, (outputs, inputs)), 0.01)
    return net.put("Gemm", x, w, transB=1)


def moved(net, dtype, *moves):
    x = net.quantised("x", 0.02, np.iinfo(dtype).min + 120, dtype)
    return around(net, conv(net, x), 0.03, np.iinfo(dtype).min + 100, dtype, *moves)


def narrow(net, dtype, zero, ends, relu=False):
    y = conv(net, net.quantised("x", 0.02, np.iinfo(dtype).min + 120, dtype))
    y = around(net, net.put("Relu", y) if relu else y, 0.25, zero, dtype, clip=ends)
    return net.quantised(conv(net, y), 0.1, np.iinfo(dtype).min + 128, dtype)


def _two_readers(net):
    """The unclipped integers must stay whole."""
    pair = net.constant(0.25), net.constant(0, np.int8)
    q = net.put("QuantizeLinear", conv(net, net.quantised("x", 0.02, 0, np.int8)), *pair)
    ends = net.constant(-2, np.int8), net.constant(1, np.int8)
    narrow = net.put("DequantizeLinear", net.put("Clip", q, *ends), *pair)
    return net.put("Add", net.put("DequantizeLinear", q, *pair), narrow)


def joined(net):
    """Concat of integers of one scale."""
    pair = net.constant(0.05), net.constant(9, np.int8)
    x = net.quantised("x", 0.02, 3, np.int8)
    parts = [net.put("QuantizeLinear", conv(net, x), *pair) for _ in range(2)]
    return net.put("DequantizeLinear", net.put("Concat", *parts, axis=1), *pair)


POOL = ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]})
MOVED = {
    "max pool of integers": (MAP, 13, lambda n: moved(n, np.int8, POOL)),
    "padded max pool of integers": (MAP, 13, lambda n: moved(
        n, np.uint8, ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}))),
    "flatten of integers": (MAP, 13, lambda n: gemm(n, moved(n, np.uint8, ("Flatten", [], {})), 144)),
    "reshape of integers": (MAP, 13, lambda n: gemm(n, moved(
        n, np.int8, POOL, ("Reshape", [ints(n, 1, -1)], {})), 36)),
    "transpose of integers": (MAP, 13, lambda n: n.put("Relu", moved(
        n, np.uint8, ("Transpose", [], {"perm": [0, 2, 3, 1]})))),
    "identity of moved integers": (MAP, 13, lambda n: moved(n, np.int8, POOL, ("Identity", [], {}), POOL)),
    "squeeze of integers": ((1, 4, 1, 1), 13, lambda n: gemm(n, around(
        n, "x", 0.02, 7, np.int8, ("Squeeze", [ints(n, 2, 3)], {})), 4)),
    "concat of integers": (MAP, 13, joined),
    "slice of integers": (MAP, 13, lambda n: moved(
        n, np.uint8, ("Slice", [ints(n, 1), ints(n, 5), ints(n, 2), ints(n, 2)], {}))),
    "pad of integers": (MAP, 13, lambda n: moved(
        n, np.uint8, ("Pad", [ints(n, 0, 0, 1, 0, 0, 0, 0, 2), n.constant(130, np.uint8)], {}))),
    "pad of integers with the integer 0": (MAP, 13, lambda n: moved(
        n, np.int8, ("Pad", [ints(n, 0, 1, 1, 0, 0, 0, 0, 2)], {}))),
    "unsqueeze of integers": (VECTOR, 13, lambda n: n.put("Relu", around(
        n, "x", 0.02, 7, np.int8, ("Unsqueeze", [ints(n, 2)], {})))),
}  # fmt: skip
NARROW = {
    "4 bits in int8": (MAP, 13, lambda n: narrow(n, np.int8, 0, (-8, 7))),
    "4 bits, narrow range": (MAP, 13, lambda n: narrow(n, np.int8, 0, (-7, 7))),
    "4 bits in uint8": (MAP, 13, lambda n: narrow(n, np.uint8, 0, (0, 15), relu=True)),
    "a relu that the quantiser swallowed": (MAP, 13, lambda n: narrow(n, np.uint8, 0, (None, 15))),
    "unsigned 3 bits in int8": (MAP, 13, lambda n: narrow(n, np.int8, 0, (0, 7))),
    "an upper limit alone": (MAP, 13, lambda n: narrow(n, np.int8, -128, (None, -121), relu=True)),
    "a lower limit alone": (MAP, 13, lambda n: narrow(n, np.int8, 3, (-5, None))),
    "3 bits, then moved": (MAP, 13, lambda n: gemm(n, n.put("Flatten", narrow(n, np.int8, 0, (-4, 3))), 144)),
    "narrow input": (MAP, 13, lambda n: n.put("Relu", around(n, "x", 0.25, 0, np.int8, clip=(-8, 7)))),
    "two readers, one of them clipped": (MAP, 13, _two_readers),
}  # fmt: skip


FORMS = MOVED | NARROW
