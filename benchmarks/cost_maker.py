# SPDX-License-Identifier: Apache-2.0
"""Random weights and requantisations, and networks of layers that have nothing to do with each other."""

import numpy as np

from tinybound.graph import Graph, Node, Quant, Value
from tinybound.ops import (
    Conv,
    Dense,
    Requantise,
)
from tinybound.ranges import INT8, INT16, Range


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


def mean(rng, kind, taps):
    """The same of a sum of taps of which the mean keeps its scale or nearly so, as in networks: the largest
    ones clip, and compilers know it.
    """
    ratio = rng.uniform(1, 1.9) / taps
    if kind == 0:
        found = 1, int(np.log2(taps))
    elif kind == 4:  # too large a ratio for one shift
        found = int(max(ratio, rng.uniform(0.13, 0.4)) * (1 << 31)) * 2 + 1, 32
    else:
        shift = 29 - int(np.floor(np.log2(ratio)))
        found = int(ratio * (1 << shift)) & -4096, 14 if kind == 2 else shift  # 14: ties remain
    low = -100 if rng.integers(2) else -128
    return Requantise(np.full(1, found[0]), np.full(1, found[1]), 0, 3, low, 127)


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
