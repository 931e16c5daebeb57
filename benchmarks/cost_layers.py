# SPDX-License-Identifier: Apache-2.0
"""Layers of many shapes to measure kernels on: networks of layers that have nothing to do with each other."""

from functools import cache

import numpy as np

from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels.choose import able
from tinybound.ops import (
    Add,
    ArgMax,
    AveragePool,
    Concat,
    Conv,
    Dense,
    MaxPool,
    Mul,
    Requantise,
    Softmax,
    Table,
    Take,
)
from tinybound.ops.argmax import MOST
from tinybound.ops.softmax import exponentials, wide_exponentials
from tinybound.ranges import INT8, INT16, Range
from tinybound.targets.plan import make_plan

# channels, outputs, height, width, kernel, strides, pads
CONVOLUTIONS = [
    (1, 8, 12, 12, (3, 3), (1, 1), (1, 1, 1, 1)),
    (1, 16, 20, 10, (10, 4), (2, 2), (4, 1, 5, 1)),
    (3, 16, 12, 12, (3, 3), (1, 1), (1, 1, 1, 1)),
    (3, 8, 16, 16, (3, 3), (2, 2), (0, 0, 1, 1)),
    (8, 8, 8, 8, (3, 3), (1, 1), (1, 1, 1, 1)),
    (8, 16, 4, 4, (3, 3), (1, 1), (1, 1, 1, 1)),
    (8, 16, 10, 10, (5, 5), (2, 2), (2, 2, 2, 2)),
    (16, 16, 8, 8, (3, 3), (1, 1), (1, 1, 1, 1)),
    (16, 16, 4, 4, (3, 3), (1, 1), (1, 1, 1, 1)),
    (16, 32, 8, 8, (3, 3), (2, 2), (0, 0, 1, 1)),
    (16, 32, 8, 8, (1, 1), (2, 2), (0, 0, 0, 0)),
    (16, 24, 7, 5, (1, 1), (1, 1), (0, 0, 0, 0)),
    (24, 10, 5, 5, (3, 3), (1, 1), (0, 0, 0, 0)),
    (32, 32, 4, 4, (3, 3), (1, 1), (1, 1, 1, 1)),
    (32, 64, 4, 6, (1, 1), (1, 1), (0, 0, 0, 0)),
    (64, 64, 5, 5, (1, 1), (1, 1), (0, 0, 0, 0)),
    (64, 64, 3, 3, (3, 3), (1, 1), (1, 1, 1, 1)),
    (128, 16, 3, 3, (1, 1), (1, 1), (0, 0, 0, 0)),
]
DENSE = [(8, 2), (16, 3), (16, 16), (64, 10), (64, 32), (128, 128), (256, 10), (640, 128), (128, 8), (8, 128)]
DEPTHWISE = [
    (8, 8, 8, (3, 3), (1, 1), (1, 1, 1, 1)),
    (16, 7, 9, (3, 3), (1, 1), (1, 1, 1, 1)),
    (32, 12, 12, (3, 3), (2, 2), (0, 0, 1, 1)),
    (64, 25, 5, (3, 3), (1, 1), (1, 1, 1, 1)),
    (64, 6, 6, (5, 5), (1, 1), (2, 2, 2, 2)),
    (128, 3, 3, (3, 3), (1, 1), (1, 1, 1, 1)),
    (12, 10, 10, (3, 3), (1, 1), (0, 0, 0, 0)),
    (24, 20, 1, (9, 1), (1, 1), (4, 0, 4, 0)),
]
POOLS = [
    (8, 8, 8, (2, 2), (2, 2), (0, 0, 0, 0)),
    (16, 4, 4, (2, 2), (2, 2), (0, 0, 0, 0)),
    (16, 4, 4, (4, 4), (4, 4), (0, 0, 0, 0)),
    (8, 9, 9, (3, 3), (2, 2), (0, 0, 0, 0)),
    (8, 9, 9, (3, 3), (2, 2), (1, 1, 1, 1)),
    (32, 6, 6, (2, 2), (2, 2), (0, 0, 0, 0)),
    (64, 8, 8, (8, 8), (8, 8), (0, 0, 0, 0)),
    (64, 25, 5, (25, 5), (25, 5), (0, 0, 0, 0)),
    (4, 6, 6, (2, 2), (2, 2), (0, 0, 0, 0)),
    (6, 8, 8, (2, 2), (2, 2), (0, 0, 0, 0)),
    (10, 5, 5, (5, 5), (5, 5), (0, 0, 0, 0)),
    (12, 10, 9, (2, 3), (2, 3), (0, 0, 0, 0)),
    (16, 10, 6, (3, 3), (2, 2), (1, 1, 1, 1)),
    (24, 7, 7, (7, 7), (7, 7), (0, 0, 0, 0)),
    (32, 8, 8, (3, 3), (1, 1), (1, 1, 1, 1)),
    (128, 4, 4, (4, 4), (4, 4), (0, 0, 0, 0)),
    (8, 10, 10, (2, 2), (1, 1), (0, 0, 0, 0)),
    (48, 6, 4, (3, 2), (3, 2), (0, 0, 0, 0)),
]
MAPS = [(10,), (64,), (128,), (8, 4, 4), (16, 8, 8), (640,)]


def normal(rng, shape):
    """Powers of two near numbers of a normal distribution of deviation 32, up to 64; few are 0."""
    numbers = rng.normal(0, 32, shape)
    exponents = np.clip(np.round(np.log2(np.maximum(np.abs(numbers), 0.5))), 0, 6).astype(np.int64)
    return np.where(np.abs(numbers) < 0.5, 0, np.sign(numbers).astype(np.int64) << exponents)


def integers(rng, code, shape):
    """Weights that a code can hold; `normal`: of pot4, as networks have them."""
    if code == "normal":
        return normal(rng, shape)
    if code == "int8":
        return rng.integers(-127, 128, shape)
    if code == "int4":
        return rng.integers(-7, 8, shape)
    if code == "pot4":
        return rng.choice([-1, 1], shape) << rng.integers(0, 7, shape)
    vectors = np.random.default_rng(0).integers(-127, 128, (64, 8))
    groups = vectors[rng.integers(0, 64, (shape[0], shape[1] // 8, *shape[2:]))]
    return np.moveaxis(groups, -1, 2).reshape(shape)


def requantise(rng, kind, channels, reach, clip=True):
    """Of sums up to `reach`: by a shift, a multiplier per channel without ties, one with, or one with a long
    shift, one above 1/8; some clip.
    """
    low = -100 if clip and rng.integers(2) else -128
    bits = max(int(np.log2(reach)) - 6, 1)
    if kind == 0:
        return Requantise(np.ones(1, np.int64), np.full(1, bits), 0, 3, low, 127)
    odd = rng.integers(1 << 28, 1 << 29, channels) * 2 + 1
    if kind == 1:
        return Requantise(odd, np.full(channels, 30 + bits), 0, 3, low, 127)
    if kind == 3:
        return Requantise(odd[:1] & -4096, np.full(1, 30 + bits), 0, 3, low, 127)
    if kind == 4:  # an average of few taps: too large a ratio for one shift
        return Requantise(odd[:1], np.full(1, 32), 0, 3, low, 127)
    return Requantise(odd[:1] & -4096, np.full(1, 14), 0, 3, low, 127)  # so small a shift that ties remain


def requantise16(rng, kind, channels, reach, _clip=True):
    """The same for outputs of 16 bits, with bounds of every kind; the last one leaves ties as well."""
    low, high = [(-(1 << 15), (1 << 15) - 1), (0, (1 << 15) - 1), (-9000, 9000)][int(rng.integers(3))]
    bits = max(int(np.log2(reach)) - 14, 1)
    if kind == 0:
        return Requantise(np.ones(1, np.int64), np.full(1, bits), 0, 4, low, high)
    odd = rng.integers(1 << 29, 1 << 30, channels) * 2 + 1
    if kind in (1, 3):
        odd = odd[: channels if kind == 1 else 1]
        return Requantise(odd, np.full(len(odd), 30 + bits), 0, 4, low, high)
    return Requantise(odd[:1] & -4096, np.full(1, 14), 0, 4, low, high)


class Maker:
    """Collects layers into one graph, each with inputs and an output of its own; of integers of a range."""

    def __init__(self, name, ends=INT8):
        self.name, self.values, self.nodes, self.inputs, self.outputs = name, {}, [], [], []
        self.range = Range(*ends)

    def add(self, op, shapes, code="", then=None):
        """One layer; `then` follows a sum."""
        i = len(self.outputs)
        names = [f"x{i}_{k}" for k in range(len(shapes))]
        out, ends = op.shape(*shapes), f"y{i}"
        self.values |= {n: Value(n, s, Quant.of(1), self.range) for n, s in zip(names, shapes, strict=True)}
        self.values |= {f"s{i}": Value(f"s{i}", out, Quant.of(1))} if then else {}
        self.values[ends] = Value(ends, out, Quant.of(1), self.range)
        self.nodes.append(Node(f"n{i}", op, tuple(names), f"s{i}" if then else ends, code=code))
        if then is not None:
            self.nodes.append(Node(f"r{i}", then, (f"s{i}",), ends))
        self.inputs += names
        self.outputs.append(ends)

    def graph(self):
        """The network."""
        return Graph(self.name, tuple(self.inputs), tuple(self.outputs), tuple(self.nodes), self.values)


def weighted(rng, code, layer, kind, clip=True, ends=INT8):
    """(op, input shape, requantisation) of an entry of the lists above; one without a map is dense."""
    if len(layer) == 2:
        size, outputs = layer
        weights, make = integers(rng, code, (outputs, size)), lambda w, b: Dense(w, b, 5)
        shape = (size,)
    else:
        channels, outputs, height, width, kernel, strides, pads = layer if len(layer) == 7 else (None, *layer)
        groups = 1 if channels else outputs
        shape = (channels or outputs, height, width)
        weights = integers(rng, code, (outputs, shape[0] // groups, *kernel))
        make = lambda w, b: Conv(w, b, shape, strides, (1, 1), pads, groups, 5)  # noqa: E731 -- beside the other
    bias = rng.integers(-1000, 1000, len(weights))
    reach = 1000 - ends[0] * int(np.abs(weights).reshape(len(weights), -1).sum(axis=1).max())
    then = (requantise16 if ends == INT16 else requantise)(rng, kind, len(weights), reach, clip)
    return make(weights, bias), shape, then


@cache
def networks():
    """One network per code, and one of what has no weights; each layer with every kind of requantisation."""
    rng, found = np.random.default_rng(1), []
    for code, clip in (("int8", True), ("int8", False), ("int4", True), ("pot4", True), ("pool64", True)):
        maker = Maker(f"cost_{code}_{clip}")
        for i, layer in enumerate((*CONVOLUTIONS, *DENSE, *(DEPTHWISE if code != "pool64" else ()))):
            if code == "pool64" and layer[0] % 8:
                continue
            op, shape, then = weighted(rng, code, layer, (1, 0, 1, 2)[i % 4] if clip else 1, clip)
            if code == "pot4" and op.weights.size > 5000:  # straight-line code: compilers take minutes
                continue
            maker.add(op, [shape], code, then)
        found.append(maker.graph())
    maker = Maker("cost_others")
    for i, (channels, height, width, kernel, strides, pads) in enumerate(POOLS):
        size = (channels, height, width)
        maker.add(MaxPool(size, kernel, strides, (1, 1), pads), [size])
        average = AveragePool(size, kernel, strides, pads, zero=4, total=True)
        turn, reach = (3, 0, 3, 2, 4)[i % 5], 255 * kernel[0] * kernel[1]
        maker.add(average, [size], then=requantise(rng, turn, 1, reach))
    for shape in MAPS[1:]:  # after which a Relu follows
        relu = Requantise(np.ones(1, np.int64), np.full(1, 28), 0, -128, -128, 127)
        maker.add(Add(646_825_729, 119_309_381, 3, 4), [shape, shape], then=relu)
    for shape in MAPS:
        maker.add(Add(900_000_001, 700_000_001, 3, 4), [shape, shape], then=requantise(rng, 0, 1, 1 << 39))
        maker.add(Add(646_825_729, 119_309_381, 3, 4), [shape, shape], then=requantise(rng, 0, 1, 1 << 34))
        maker.add(Add(1, 2, 3, 4), [shape, shape], then=requantise(rng, 0, 1, 1 << 9))
        maker.add(Mul(3, 4), [shape, shape], then=requantise(rng, 2, 1, 1 << 16))
        maker.add(Mul(3, 4), [shape, shape], then=requantise(rng, 3, 1, 1 << 16))
        maker.add(Requantise(np.array([1 << 30]), np.array([31]), 3, 4, -128, 127), [shape])
        maker.add(Requantise(np.array([5 << 28]), np.array([33]), 3, 4, -128, 127), [shape])
        maker.add(Table(rng.integers(-128, 128, 256)), [shape])
        if len(shape) == 1:
            maker.add(Softmax(exponentials(1 / 16)), [shape])
        if shape[-1] <= MOST:
            maker.add(ArgMax(), [shape])
        maker.add(Concat(0), [shape, shape])
        maker.add(Take(rng.permutation(int(np.prod(shape))).reshape(shape), shape), [shape])
    found.append(maker.graph())
    return [*found, *networks16()]


def networks16():
    """The same for activations of 16 bits."""
    rng, found = np.random.default_rng(2), []
    for code in ("int8", "int4", "pot4"):
        maker = Maker(f"cost_16_{code}", INT16)
        layers = [*CONVOLUTIONS, *DENSE, (1200, 16), (2000, 32), *DEPTHWISE]  # two of sums of 64 bits
        for i, layer in enumerate((*layers, *CONVOLUTIONS[:6], *DEPTHWISE)):
            kind = (1, 0, 1, 3)[i % 4] if i < len(layers) else 1
            op, shape, then = weighted(rng, code, layer, kind, ends=INT16)
            maker.add(op, [shape], code, then)
        found.append(maker.graph())
    maker = Maker("cost_16_others", INT16)
    for i, (channels, height, width, kernel, strides, pads) in enumerate(POOLS):
        size = (channels, height, width)
        maker.add(MaxPool(size, kernel, strides, (1, 1), pads), [size])
        average = AveragePool(size, kernel, strides, pads, zero=4, total=True)
        maker.add(average, [size], then=requantise16(rng, (3, 0, 2)[i % 3], 1, kernel[0] * kernel[1] << 16))
    for shape in MAPS:
        for zero in (4, 5):  # even and odd
            then = Requantise(np.ones(1, np.int64), np.full(1, 30), 0, zero, 0, (1 << 15) - 1)
            maker.add(Add(900_000_001, 700_000_001, 3, 4), [shape, shape], then=then)
        maker.add(Mul(3, 4), [shape, shape], then=requantise16(rng, 3, 1, 1 << 31))
        if len(shape) == 1:
            maker.add(Softmax(wide_exponentials(1 / 4096)), [shape])
        for shift in (31, 33):
            maker.add(Requantise(np.array([1 << 30]), np.array([shift]), 3, 4, *INT16), [shape])
        maker.add(Concat(0), [shape, shape])
        maker.add(Take(rng.permutation(int(np.prod(shape))).reshape(shape), shape), [shape])
    return [*found, maker.graph()]


def single(kernel):
    """(network, copies of one layer) for sizes: a layer, the same twice, others to see the stack grow."""
    steps = [
        (step, graph)
        for graph in networks()
        for step in make_plan(graph).steps
        if step.node in graph.nodes and kernel in able(step)
    ]
    chosen = [steps[i] for i in np.linspace(0, len(steps) - 1, 3).astype(int)]
    for (step, graph), copies in ((chosen[0], 1), (chosen[0], 2), *((each, 1) for each in chosen[1:])):
        maker = Maker("cost_single", graph.values[step.node.inputs[0]].ends)
        shapes = [graph.values[name].shape for name in step.node.inputs]
        then = step.requantise if step.node.op.accumulates else None
        for _ in range(copies):
            maker.add(step.node.op, shapes, step.node.code, then)
        yield maker.graph(), copies
