# SPDX-License-Identifier: Apache-2.0
"""Every supported ONNX op in every form: name -> (input shape, what writes it into a Net)."""

import numpy as np
from onnx import numpy_helper

MAP = (1, 4, 9, 8)


def conv(net, x, outputs=6, kernel=(3, 3), groups=1, bias=True, depth=4, **more):
    w = net.normal(outputs, depth // groups, *kernel)
    return net.put("Conv", x, w, *([net.normal(outputs)] if bias else []), group=groups, **more)


def batch_norm(net, x, channels, epsilon=1e-3):
    gamma, beta, mean = net.normal(channels), net.normal(channels), net.normal(channels)
    variance = net.constant(net.rng.uniform(0.1, 3, channels))
    return net.put("BatchNormalization", x, gamma, beta, mean, variance, epsilon=epsilon)


def _shape_reshape(net, x):
    """What PyTorch exports for x.view(x.size(0), -1)."""
    size = net.put("Shape", x)
    batch = net.put("Gather", size, net.constant(0, np.int64), axis=0)
    first = net.put("Unsqueeze", batch, net.constant([0], np.int64))
    target = net.put("Concat", first, net.constant([-1], np.int64), axis=0)
    return net.put("Reshape", x, target)


def _constant_node(net, array):
    return net.put("Constant", value=numpy_helper.from_array(np.asarray(array)))


def _residual(net):
    a = net.put("Relu", conv(net, "x", 4, pads=[1, 1, 1, 1]))
    return net.put("Relu", net.put("Add", conv(net, a, 4, pads=[1, 1, 1, 1]), "x"))


VECTOR, OLD = (1, 10), 6
FORMS = {
    "conv": (MAP, lambda n: conv(n, "x")),
    "conv without bias": (MAP, lambda n: conv(n, "x", bias=False)),
    "conv strides": (MAP, lambda n: conv(n, "x", strides=[2, 3])),
    "conv dilations": (MAP, lambda n: conv(n, "x", dilations=[2, 3])),
    "conv asymmetric pads": (MAP, lambda n: conv(n, "x", pads=[0, 2, 1, 3])),
    "conv all of it": (MAP, lambda n: conv(n, "x", 8, (2, 3), 2, pads=[3, 0, 1, 2], strides=[2, 1],
                                            dilations=[2, 2])),
    "conv groups": (MAP, lambda n: conv(n, "x", 6, groups=2)),
    "conv depthwise": (MAP, lambda n: conv(n, "x", 4, groups=4, pads=[1, 1, 1, 1])),
    "conv depthwise times 2": (MAP, lambda n: conv(n, "x", 8, groups=4)),
    "conv same upper": (MAP, lambda n: conv(n, "x", kernel=(2, 4), auto_pad="SAME_UPPER", strides=[2, 3])),
    "conv same lower": (MAP, lambda n: conv(n, "x", kernel=(2, 4), auto_pad="SAME_LOWER", strides=[2, 3])),
    "conv valid": (MAP, lambda n: conv(n, "x", auto_pad="VALID")),
    "conv notset": (MAP, lambda n: conv(n, "x", auto_pad="NOTSET", pads=[1, 1, 1, 1])),
    "conv with kernel_shape": (MAP, lambda n: conv(n, "x", kernel_shape=[3, 3])),
    "gemm": (VECTOR, lambda n: n.put("Gemm", "x", n.normal(10, 7), n.normal(7))),
    "gemm transB": (VECTOR, lambda n: n.put("Gemm", "x", n.normal(7, 10), n.normal(7), transB=1)),
    "gemm without bias": (VECTOR, lambda n: n.put("Gemm", "x", n.normal(7, 10), transB=1)),
    "gemm, bias of (1, n)": (VECTOR, lambda n: n.put("Gemm", "x", n.normal(10, 7), n.normal(1, 7))),
    "gemm, scalar bias": (VECTOR, lambda n: n.put("Gemm", "x", n.normal(10, 7), n.constant(0.5))),
    "matmul": (VECTOR, lambda n: n.put("MatMul", "x", n.normal(10, 7))),
    "matmul + add": (VECTOR, lambda n: n.put("Add", n.put("MatMul", "x", n.normal(10, 7)), n.normal(7))),
    "add of (1, n) + matmul": (VECTOR, lambda n: n.put("Add", n.normal(1, 7),
                                                       n.put("MatMul", "x", n.normal(10, 7)))),
    "relu": (MAP, lambda n: n.put("Relu", "x")),
    "relu after conv": (MAP, lambda n: n.put("Relu", conv(n, "x"))),
    "clip inputs": (MAP, lambda n: n.put("Clip", conv(n, "x"), n.constant(0.0), n.constant(0.6))),
    "clip max only": (MAP, lambda n: n.put("Clip", conv(n, "x"), "", n.constant(0.6))),
    "clip min only": (MAP, lambda n: n.put("Clip", conv(n, "x"), n.constant(-0.2))),
    "clip limits from nodes": (MAP, lambda n: n.put("Clip", "x", _constant_node(n, np.float32(-0.1)),
                                                    _constant_node(n, np.float32(0.3)))),
    "max pool": (MAP, lambda n: n.put("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])),
    "max pool pads": (MAP, lambda n: n.put("MaxPool", "x", kernel_shape=[3, 2], pads=[1, 0, 2, 1],
                                           strides=[2, 1])),
    "max pool same": (MAP, lambda n: n.put("MaxPool", "x", kernel_shape=[3, 3], auto_pad="SAME_UPPER",
                                           strides=[2, 2])),
    "max pool dilated": (MAP, lambda n: n.put("MaxPool", "x", kernel_shape=[2, 3], dilations=[3, 2])),
    "average pool": (MAP, lambda n: n.put("AveragePool", "x", kernel_shape=[3, 2], strides=[3, 2])),
    "average pool, counted pads": (MAP, lambda n: n.put("AveragePool", "x", kernel_shape=[3, 3],
                                                        pads=[1, 1, 1, 1],
                                                        count_include_pad=1)),
    "global average pool": (MAP, lambda n: n.put("GlobalAveragePool", "x")),
    "add": (MAP, _residual),
    "add to itself": (VECTOR, lambda n: n.put("Add", "x", "x")),
    "add a constant per channel": (MAP, lambda n: n.put("Add", "x", n.normal(4, 1, 1))),
    "subtract a constant": (MAP, lambda n: n.put("Sub", "x", n.normal(1, 4, 1, 1))),
    "multiply by a scalar": (MAP, lambda n: n.put("Mul", n.constant(0.3), "x")),
    "batch norm after conv": (MAP, lambda n: n.put("Relu", batch_norm(n, conv(n, "x"), 6))),
    "batch norm after depthwise": (MAP, lambda n: batch_norm(n, conv(n, "x", 4, groups=4), 4)),
    "batch norm after gemm": (VECTOR, lambda n: batch_norm(n, n.put("Gemm", "x", n.normal(10, 7)), 7)),
    "batch norm alone": (MAP, lambda n: batch_norm(n, "x", 4)),
    "batch norm alone, vector": (VECTOR, lambda n: batch_norm(n, "x", 10)),
    "batch norm after relu": (MAP, lambda n: batch_norm(n, n.put("Relu", conv(n, "x")), 6)),
    "two batch norms": (MAP, lambda n: batch_norm(n, batch_norm(n, conv(n, "x"), 6), 6, 1e-5)),
    "flatten": (MAP, lambda n: n.put("Gemm", n.put("Flatten", "x"), n.normal(288, 3))),
    "flatten, axis -3": (MAP, lambda n: n.put("Flatten", "x", axis=-3)),
    "reshape -1": (MAP, lambda n: n.put("Reshape", "x", n.constant([1, -1], np.int64))),
    "reshape 0 -1": (MAP, lambda n: n.put("Reshape", "x", n.constant([0, -1], np.int64))),
    "reshape -1 n": (MAP, lambda n: n.put("Reshape", "x", n.constant([-1, 288], np.int64))),
    "reshape to a map": (VECTOR, lambda n: n.put("Reshape", "x", n.constant([-1, 5, 2, 1], np.int64))),
    "reshape 0 0 -1": (MAP, lambda n: n.put("Reshape", "x", n.constant([0, 0, -1, 1], np.int64))),
    "reshape by Shape": (MAP, lambda n: n.put("Gemm", _shape_reshape(n, "x"), n.normal(288, 3))),
    "transpose in front": ((1, 9, 8, 4), lambda n: conv(n, n.put("Transpose", "x", perm=[0, 3, 1, 2]))),
    "transpose behind": (MAP, lambda n: n.put("Transpose", conv(n, "x"), perm=[0, 2, 3, 1])),
    "identity": (MAP, lambda n: n.put("Identity", n.put("Relu", n.put("Identity", "x")))),
    "dropout": (MAP, lambda n: n.put("Relu", n.put("Dropout", "x"))),
    "constant nodes": (VECTOR, lambda n: n.put("Gemm", "x", _constant_node(n, np.eye(10, 7, dtype="f")))),
    "constants computed by nodes": (VECTOR, lambda n: n.put("MatMul", "x", n.put("Transpose", n.normal(7, 10),
                                                                                 perm=[1, 0]))),
    "weights through identity": (VECTOR, lambda n: n.put("MatMul", "x", n.put("Identity", n.normal(10, 7)))),
    "final softmax": (VECTOR, lambda n: n.put("Softmax", n.put("Gemm", "x", n.normal(10, 7)), axis=-1)),
    "final softmax, axis 1": (VECTOR, lambda n: n.put("Softmax", n.put("Relu", "x"), axis=1)),
}  # fmt: skip
