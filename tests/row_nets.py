# SPDX-License-Identifier: Apache-2.0
"""Random integer networks of maps: strides, dilations, pads, groups, pools, residuals, a dense layer."""

from fractions import Fraction

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinybound.graph import Graph, Node, Value
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Add, AveragePool, Clip, Conv, Dense, MaxPool, Mul, Reshape
from tinybound.ops.base import Scaled
from tinybound.passes.activations import add_activations
from tinybound.quantise.lower import lower
from tinybound.quantise.weights import choose_weights
from tinybound.targets.rows import Group, can_run_by_rows

STORED = Scaled(Fraction(1, 24), -5, -128, 127)
WIDE = Scaled(Fraction(1, 6000), -900, -32768, 32767)
CODES = ("int8", "int4", "pot4", "pool64")


class _Builder:
    def __init__(self, rng, shape):
        self.rng, self.nodes, self.codes = rng, [], {}
        self.values = {"x": Value("x", shape)}
        self.line = ["x"]

    def shape(self, name):
        return self.values[name].shape

    def add(self, op, *inputs):
        """The op's node; a Clip after a sum."""
        i, rng = len(self.nodes), self.rng
        out = f"v{i}"
        self.values[out] = Value(out, op.shape(*(self.shape(n) for n in inputs)))
        if op.accumulates:
            total = f"{out}.sum"
            self.values[total] = Value(total, self.shape(out))
            clip = Clip(0.0) if rng.integers(2) else Clip()
            self.nodes += [Node(f"n{i}", op, inputs, total), Node(f"n{i}.clip", clip, (total,), out)]
        else:
            self.nodes.append(Node(f"n{i}", op, inputs, out))
        if op.weighted:
            ready = isinstance(op, Conv) and op.weights.shape[1] % 8 == 0
            self.codes[f"n{i}"] = str(rng.choice(CODES[: 4 if ready else 3]))
        self.line.append(out)

    def window(self, size):
        """Kernel, strides, pads (and dilations) that leave something of the map."""
        rng = self.rng
        kernel = tuple(int(rng.integers(1, min(s, 4) + 1)) for s in size)
        strides = tuple(int(k) for k in rng.integers(1, 3, 2)) if min(size) > 3 else (1, 1)
        pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        return kernel, strides, pads

    def conv(self, *, same=False):
        rng, (channels, *size) = self.rng, self.shape(self.line[-1])
        kernel, strides, pads = self.window(size)
        dilations = (1, 1)
        groups = int(rng.choice([1, 1, channels]))
        outputs = channels if groups > 1 else int(rng.choice([channels, 3, 8]))
        if same:
            kernel, strides, pads, outputs = (3, 3), (1, 1), (1, 1, 1, 1), channels
        elif rng.integers(4) == 0 and min(size) > 4:
            kernel, dilations, pads = (2, 2), (2, 2), (1, 0, 2, 1)
        weights = rng.normal(0, 0.5, (outputs, channels // groups, *kernel))
        bias = rng.normal(0, 0.2, outputs)
        op = Conv(weights, bias, (channels, *size), strides, dilations, pads, groups)
        self.add(op, self.line[-1])

    def pool(self):
        channels, *size = self.shape(self.line[-1])
        kernel, strides, pads = self.window(size)
        op = MaxPool((channels, *size), kernel, strides, pads=pads) if self.rng.integers(2) else AveragePool(
            (channels, *size), kernel, strides
        )  # fmt: skip
        self.add(op, self.line[-1])

    def residual(self):
        """One or two convolutions, and the sum or product with the map before them."""
        start = self.line[-1]
        self.conv(same=True)
        if self.rng.integers(2):
            self.conv(same=True)
        op = Mul() if self.rng.integers(4) == 0 else Add()
        self.add(op, *((self.line[-1], start) if self.rng.integers(2) else (start, self.line[-1])))


def scales(rng, net):
    """Integers of 8 and of 16 bits, as chance wants; what moves has the scale of what is moved."""
    known = {"x": WIDE}
    for node in net.nodes:
        same = isinstance(node.op, MaxPool | Reshape)
        if not node.output.endswith(".sum"):
            known[node.output] = (
                known[node.inputs[0]] if same else (WIDE, WIDE, WIDE, STORED)[rng.integers(4)]
            )
    return known


def random_net(seed, wide=False):
    """The integer graph; maps of 2 to 13 rows, one or two outputs; `wide`: with integers of 16 bits."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.choice([1, 3, 8])), int(rng.integers(6, 14)), int(rng.integers(4, 9)))
    net = _Builder(rng, shape)
    net.conv()
    for _ in range(int(rng.integers(2, 6))):
        if min(net.shape(net.line[-1])[1:]) < 2:
            break
        kinds = [net.conv, net.residual, net.residual, net.pool]
        kinds[int(rng.integers(len(kinds)))]()
    outputs = [net.line[-1]]
    if rng.integers(2):
        size = int(np.prod(net.shape(net.line[-1])))
        net.add(Reshape((size,)), net.line[-1])
        net.add(Dense(rng.normal(0, 0.3, (5, size)), rng.normal(0, 0.2, 5)), net.line[-1])
        outputs = [net.line[-1], *(outputs if rng.integers(3) == 0 else [])]
    graph = Graph(f"net{seed}", ("x",), tuple(outputs), tuple(net.nodes), net.values)
    known = {n: STORED for n in net.values if not n.endswith(".sum")}
    if wide:
        known, net.codes = scales(rng, net), dict.fromkeys(net.codes, "int8")
    graph, known = add_activations(graph, known)
    return lower(graph, known, choose_weights(graph, net.codes, {}, power_of_two=False))


def random_groups(graph, rng):
    """The plan, and groups of it that do not overlap, as long and as many as chance wants."""
    plan = kernel_plan(graph)
    groups, at = [], 0
    while at < len(plan.steps):
        end = at
        while end < len(plan.steps) and can_run_by_rows(plan, plan.steps[end]):
            end += 1
        length = int(rng.integers(1, end - at + 1)) if end > at else 1
        if length > 1:
            groups.append(Group(plan, at, at + length - 1))
        at += length
    return plan, tuple(groups)


def mobilenet(path):
    """MobileNetV1 0.25 for 96 x 96 images, as an ONNX file with random weights."""
    rng, nodes, weights = np.random.default_rng(0), [], []

    def conv(x, inputs, outputs, kernel, stride, groups):
        i = len(weights)
        shape = (outputs, inputs // groups, kernel, kernel)
        scale = (2 / (kernel * kernel * inputs / groups)) ** 0.5
        weights.append(numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), f"w{i}"))
        more = {"auto_pad": "SAME_UPPER", "strides": [stride, stride], "group": groups}
        nodes.append(helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], f"conv{i}", **more))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
        return f"r{i}"

    x, channels = conv("x", 3, 8, 3, 2, 1), 8
    strides = (1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1)
    for outputs, stride in zip((16, 32, 32, 64, 64, *[128] * 6, 256, 256), strides, strict=True):
        x = conv(conv(x, channels, channels, 3, stride, channels), channels, outputs, 1, 1, 1)
        channels = outputs
    weights.append(numpy_helper.from_array(rng.normal(0, 0.1, (2, channels)).astype(np.float32), "wd"))
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "wd"], ["y"], "dense", transB=1),
    ]
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", [1, 3, 96, 96]), ("y", [1, 2]))
    ]
    graph = helper.make_graph(nodes, "mobilenet", *ports, weights)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path
