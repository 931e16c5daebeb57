# SPDX-License-Identifier: Apache-2.0
"""Layers of many shapes to measure kernels on: networks of layers that have nothing to do with each other."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
from cost_maker import Maker, mean, requantise, requantise16, weighted

from tinybound.kernels.choose import able
from tinybound.ops import (
    Add,
    ArgMax,
    AveragePool,
    Concat,
    Curve,
    MatMul,
    MaxPool,
    Mul,
    Requantise,
    Softmax,
    Table,
    Take,
)
from tinybound.ops.argmax import MOST
from tinybound.ops.base import Scaled
from tinybound.ops.softmax import exponentials
from tinybound.ranges import INT8, INT16
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
LONG = [  # few filters of many taps, whose sums in straight-line code are read more than once
    (64, 8, 4, 4, (3, 3), (1, 1), (1, 1, 1, 1)),
    (32, 8, 6, 6, (3, 3), (1, 1), (1, 1, 1, 1)),
    (64, 4, 3, 5, (3, 3), (2, 2), (0, 0, 1, 1)),
    (128, 4, 5, 4, (3, 3), (1, 1), (0, 0, 0, 0)),
    (256, 16, 3, 3, (1, 1), (1, 1), (0, 0, 0, 0)),
]
DENSE = [(8, 2), (16, 3), (16, 16), (64, 10), (64, 32), (128, 128), (256, 10), (640, 128), (128, 8), (8, 128)]
SMALL = [  # dense, of so few taps that compilers write them out where there is no other layer, and some more
    *((2, 8), (3, 16), (4, 8), (4, 32), (6, 8), (8, 16), (10, 12), (12, 24), (15, 8)),
    *((20, 8), (28, 16), (36, 8), (40, 12)),
]
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
PRODUCTS = [  # groups, rows, columns, depth
    *((1, 4, 4, 6), (1, 16, 16, 32), (2, 8, 8, 16), (4, 16, 16, 8), (1, 1, 10, 64), (1, 25, 25, 5)),
    *((4, 4, 8, 16), (1, 10, 1, 48), (1, 32, 16, 16), (8, 8, 8, 4), (1, 16, 8, 1), (3, 5, 7, 9)),
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
    (256, 3, 3, (3, 3), (3, 3), (0, 0, 0, 0)),
    (32, 2, 3, (2, 3), (2, 3), (0, 0, 0, 0)),
]
ROWS = [  # what networks over time end with
    (24, 1, 12, (1, 12), (1, 12), (0, 0, 0, 0)),
    (12, 1, 20, (1, 20), (1, 20), (0, 0, 0, 0)),
    (32, 6, 1, (6, 1), (6, 1), (0, 0, 0, 0)),
]
MOVED = [  # maps that a reorder makes of numbers with the channels first, and back
    *((1, 12, 12), (2, 9, 9), (2, 16, 5), (3, 12, 12), (3, 16, 16), (3, 32, 32), (3, 20, 1), (3, 1, 50)),
    *((4, 6, 6), (4, 10, 20), (5, 8, 8), (6, 100, 1), (6, 50, 1), (6, 8, 8), (6, 1, 40), (7, 6, 6)),
    *((8, 8, 8), (8, 40, 1), (9, 5, 5), (12, 10, 9), (16, 6, 6), (32, 6, 6), (64, 25, 5), (24, 20, 1)),
    (3, 96, 96),
]
MAPS = [(10,), (64,), (128,), (8, 4, 4), (16, 8, 8), (640,)]


@cache
def networks():
    """One network per code, and one of what has no weights; each layer with every kind of requantisation."""
    rng, found = np.random.default_rng(1), []
    codes = (
        ("int8", True),
        ("int8", False),
        ("int4", True),
        ("pot4", True),
        ("normal", True),
        ("pool64", True),
    )
    for kind, clip in codes:
        maker, code = Maker(f"cost_{kind}_{clip}"), "pot4" if kind == "normal" else kind
        more = LONG if code == "pot4" else ()
        for i, layer in enumerate((*more, *CONVOLUTIONS, *DENSE, *(DEPTHWISE if code != "pool64" else ()))):
            if code == "pool64" and layer[0] % 8:
                continue
            op, shape, then = weighted(rng, kind, layer, (1, 0, 1, 2)[i % 4] if clip else 1, clip)
            if code == "pot4" and op.weights.size > 5000:  # straight-line code: compilers take minutes
                continue
            maker.add(op, [shape], code, then)
        found.append(maker.graph())
    maker = Maker("cost_others")
    for channels, height, width, kernel, strides, pads in POOLS:
        size = (channels, height, width)
        maker.add(MaxPool(size, kernel, strides, (1, 1), pads), [size])
    averages(maker, rng)
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
    return [moves("cost_moves", INT8), *found, products("cost_products", INT8), *networks16()]


def averages(maker, rng):
    """Averages of POOLS and ROWS, with every kind of requantisation."""
    for i, (channels, height, width, kernel, strides, pads) in enumerate(POOLS + ROWS):
        size = (channels, height, width)
        average = AveragePool(size, kernel, strides, pads=pads, zero=4, total=True)
        taps, whole = kernel[0] * kernel[1], kernel == (height, width)
        for turn in (0, 2, 3, 4) if whole else ((3, 0, 3, 2, 4)[i % 5],):
            few = turn == 3 and not whole  # so small a ratio that one shift serves few taps as well
            then = requantise(rng, 3, 1, 255 * taps) if few else mean(rng, turn, taps)
            maker.add(average, [size], then=then)
        for turn in {4, (0, 3, 2)[i % 3]} if whole else ((4, 0, 3, 2)[i % 4],):
            after = replace(mean(rng, turn, taps), zero=-128, lo=-128)
            maker.add(replace(average, zero=-128), [size], then=after)  # behind a Relu 0 is the least number


def moves(name, ends):
    """Maps of every shape, moved to where the channels come last and back."""
    maker = Maker(name, ends)
    for shape in MOVED:
        count = int(np.prod(shape))
        maker.add(Take(np.arange(count).reshape(shape), (count,)), [(count,)])
    return maker.graph()


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
        average = AveragePool(size, kernel, strides, pads=pads, zero=4, total=True)
        maker.add(average, [size], then=requantise16(rng, (3, 0, 2)[i % 3], 1, kernel[0] * kernel[1] << 16))
    for shape in MAPS:
        for zero in (4, 5):  # even and odd
            then = Requantise(np.ones(1, np.int64), np.full(1, 30), 0, zero, 0, (1 << 15) - 1)
            maker.add(Add(900_000_001, 700_000_001, 3, 4), [shape, shape], then=then)
        maker.add(Mul(3, 4), [shape, shape], then=requantise16(rng, 3, 1, 1 << 31))
        if len(shape) == 1:
            source = Scaled(Fraction(1, 4096), 0, *INT16)
            for written in (Softmax.wide_out, Softmax.out, Scaled(Fraction(1, 3000), 0, *INT16)):
                maker.add(Softmax.of(source, written), [shape])
        if shape[-1] <= MOST:
            maker.add(ArgMax(), [shape])
        for shift in (31, 33):
            maker.add(Requantise(np.array([1 << 30]), np.array([shift]), 3, 4, *INT16), [shape])
        maker.add(Concat(0), [shape, shape])
        maker.add(Take(rng.permutation(int(np.prod(shape))).reshape(shape), shape), [shape])
    return [
        moves("cost_16_moves", INT16),
        *found,
        maker.graph(),
        curves(rng),
        products("cost_16_products", INT16),
    ]


def products(name, ends):
    """Products of two tensors, with every kind of requantisation; of 16 bits sums of 64, but few of 8."""
    rng, maker = np.random.default_rng(3), Maker(name, ends)
    for i, (groups, rows, columns, depth) in enumerate(PRODUCTS):
        op, reach = MatMul((groups, rows, columns, depth), 3, 4), depth * (ends[1] - ends[0]) ** 2
        then = (requantise16 if ends == INT16 else requantise)(rng, (3, 0, 2, 4)[i % 4], 1, reach)
        maker.add(op, [(groups * rows, depth), (groups * columns, depth)], then=then)
    return maker.graph()


def curves(rng):
    """Pointwise functions of 16-bit integers: pieces of every size, straight and bent, up to three knees."""
    maker = Maker("cost_16_curves", INT16)
    for i, shape in enumerate((*MAPS, *MAPS)):
        knees = np.sort(rng.choice(np.arange(-30_000, 30_000), i % 4, replace=False))
        bits = 8 - i % 3
        pieces = (1 << 16 >> bits) + 2 * len(knees)
        knots, bends = rng.integers(-(1 << 20), 1 << 20, pieces + 1), rng.integers(-99, 99, pieces) * (i % 2)
        maker.add(Curve(knots, bends, knees, bits, i % 2, *INT16), [shape])
    return maker.graph()


def _able(kernel):
    return [
        (step, graph)
        for graph in networks()
        for step in make_plan(graph).steps
        if step.node in graph.nodes and kernel in able(step)
    ]


def layer(step, graph, copies=1):
    """A network of copies of one layer of another."""
    maker = Maker("cost_single", graph.values[step.node.inputs[0]].ends)
    shapes = [graph.values[name].shape for name in step.node.inputs]
    then = step.requantise if step.node.op.accumulates else None
    for _ in range(copies):
        maker.add(step.node.op, shapes, step.node.code, then)
    return maker.graph()


def layers(kernel):
    """A network of one layer for each shape that a kernel takes, and for SMALL ones."""
    rng, maker = np.random.default_rng(3), Maker("cost_small")
    for each in SMALL:
        op, shape, then = weighted(rng, "int8", each, 1)
        maker.add(op, [shape], "int8", then)
    small = maker.graph()
    every = [(step, small) for step in make_plan(small).steps if kernel in able(step)] + _able(kernel)
    seen = {}
    for step, graph in every:
        shape = step.view["input"], len(step.view["rows"]), getattr(step.node.op, "kernel", (1, 1))
        seen.setdefault(shape, layer(step, graph))
    return seen.values()


def single(kernel):
    """(network, copies of one layer) for sizes: a layer, the same twice, others to see the stack grow."""
    steps = _able(kernel)
    chosen = [steps[i] for i in np.linspace(0, len(steps) - 1, 3).astype(int)]
    for each, copies in ((chosen[0], 1), (chosen[0], 2), *((each, 1) for each in chosen[1:])):
        yield layer(*each, copies), copies
