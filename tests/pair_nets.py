# SPDX-License-Identifier: Apache-2.0
"""Random small networks as float and integer graphs, both evaluated exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from tinybound.certify.lockstep import entries, lockstep, walk
from tinybound.domains.exact import Exact, run
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_interval import PairInterval
from tinybound.domains.pair_product import PairProduct
from tinybound.domains.pair_zonotope import PairZonotope
from tinybound.graph import Graph, Node, Value, check
from tinybound.ops.add import Add
from tinybound.ops.average_pool import AveragePool
from tinybound.ops.base import IntegerWeights, Scaled
from tinybound.ops.clip import Clip
from tinybound.ops.conv import Conv
from tinybound.ops.dense import Dense
from tinybound.ops.function import Function
from tinybound.ops.max_pool import MaxPool
from tinybound.ops.reshape import Reshape
from tinybound.passes.run_time_bits import with_bits
from tinybound.quantise.lower import lower

RELU, NONE, RELU6 = Clip(0.0), Clip(), Clip(0.0, 6.0)


class Sigmoid(Function):
    monotone = 1
    lipschitz = 0.25

    def __call__(self, x):
        return 1 / (1 + np.exp(-x))


class Swish(Function):
    """Not monotone: x * sigmoid(x)."""

    lipschitz = 1.1

    def __call__(self, x):
        return x / (1 + np.exp(-x))


@dataclass(frozen=True)
class Pair:
    """A float and an integer network with the box of their comparison."""

    real: Graph
    whole: Graph
    lower: dict[str, np.ndarray]
    upper: dict[str, np.ndarray]

    def at(self, bits):
        return replace(self, whole=with_bits(self.whole, bits))

    def quantise(self, x):
        """The input quantiser on exact Fractions, by the law."""
        out = {}
        for name in self.whole.inputs:
            value = self.whole.values[name]
            scale, zero, span = value.quant.scale[0], value.quant.zero, value.range
            flat = [
                min(max(round(Fraction(v) / scale) + zero, span.lo), span.hi)
                for v in x[name].ravel().tolist()
            ]
            out[name] = np.array(flat, np.int64).reshape(value.shape)
        return out


class Sketch:
    """Float nodes one after another; quantisation is chosen when the network is built."""

    def __init__(self, seed, shape, *, lower=-1.0, upper=1.0, two=False, mode="half-even"):
        self.rng = np.random.default_rng(seed)
        self.two, self.mode = two, mode
        self.nodes, self.values, self.codes = [], {"x": Value("x", shape)}, {}
        self.lower = np.broadcast_to(np.asarray(lower, float), shape).copy()
        self.upper = np.broadcast_to(np.asarray(upper, float), shape).copy()

    def put(self, op, *inputs):
        name = f"n{len(self.nodes)}"
        shape = op.shape(*(self.values[i].shape for i in inputs))
        self.values[name] = Value(name, shape)
        self.nodes.append(Node(name, op, inputs, name))
        return name

    def dense(self, x, units, clip=RELU, code="int8"):
        n = self.values[x].shape[0]
        op = Dense(self.rng.normal(0, 1 / np.sqrt(n), (units, n)), self.rng.normal(0, 0.2, units))
        y = self.put(op, x)
        self.codes[y] = code
        return self.put(clip, y)

    def conv(
        self, x, units, clip=RELU, code="int8", kernel=(3, 3), groups=1, pads=(1, 1, 1, 1), strides=(1, 1)
    ):
        size = self.values[x].shape
        depth = size[0] // groups
        shape = (units, depth, *kernel)
        weights = self.rng.normal(0, 1 / np.sqrt(depth * kernel[0] * kernel[1]), shape)
        op = Conv(weights, self.rng.normal(0, 0.2, units), size, groups=groups, pads=pads, strides=strides)
        y = self.put(op, x)
        self.codes[y] = code
        return self.put(clip, y)

    def add(self, a, b, clip=RELU):
        return self.put(clip, self.put(Add(), a, b))

    def average(self, x, kernel, pads=(0, 0, 0, 0)):
        return self.put(NONE, self.put(AveragePool(self.values[x].shape, kernel, kernel, pads=pads), x))

    def maximum(self, x, kernel, strides=None, pads=(0, 0, 0, 0)):
        return self.put(MaxPool(self.values[x].shape, kernel, strides or kernel, (1, 1), pads), x)

    def flat(self, x):
        return self.put(Reshape((int(np.prod(self.values[x].shape)),)), x)

    def scale(self, low, high, squeeze):
        low, high = min(low, 0.0), max(high, 0.0)
        wide = max((high - low) * squeeze / 255, 1e-3)
        scale = Fraction(2) ** int(np.ceil(np.log2(wide))) if self.two else Fraction(float(np.float32(wide)))
        return Scaled(scale, int(min(max(round(-128 - Fraction(low) / scale), -128), 127)), -128, 127)

    def build(self, *outputs, squeeze=0.9, top=127, reach=1.0):
        """`squeeze` < 1 makes outputs saturate, `top` is the largest weight, `reach` < 1 leaves part of the
        input box beyond what the input's integers can hold."""
        real = check(Graph("net", ("x",), outputs, tuple(self.nodes), self.values), integer=False)
        values = [run(real, {"x": self.point()}) for _ in range(200)]
        wanted = {"x": self.scale(reach * self.lower.min(), reach * self.upper.max(), 1.0)}
        for name in real.values:
            if name != "x":
                ends = [v[name] for v in values]
                wanted[name] = self.scale(min(e.min() for e in ends), max(e.max() for e in ends), squeeze)
        weights = {node.name: self.integers(node, top) for node in real.nodes if node.op.weighted}
        whole = lower(real, wanted, weights, self.mode)
        return Pair(real, whole, {"x": self.lower}, {"x": self.upper})

    def integers(self, node, top):
        weights = node.op.weights
        peaks = np.abs(weights.reshape(len(weights), -1)).max(axis=1) / top
        peaks = np.maximum(peaks, peaks.max() / 64)
        exact = [
            Fraction(2) ** int(np.ceil(np.log2(p))) if self.two else Fraction(float(np.float32(p)))
            for p in peaks
        ]
        each = np.array([float(s) for s in exact]).reshape(-1, *(1,) * (weights.ndim - 1))
        return IntegerWeights(np.rint(weights / each).astype(np.int64), tuple(exact), self.codes[node.name])

    def point(self):
        return self.lower + self.rng.random(self.lower.shape) * (self.upper - self.lower)


class Rational(Exact):
    """The float network in exact rationals (object arrays of Fractions); functions in float64."""

    def __init__(self, wobble=0):
        self.rng = np.random.default_rng(wobble) if wobble else None

    def exact(self, array):
        """True parameters: within 2^-52 (relative) of the float64 ones."""
        signs = self.rng.choice([-1, 1], array.shape) if self.rng else np.zeros(array.shape, int)
        flat = [
            Fraction(v) * (1 + Fraction(int(s), 1 << 52))
            for v, s in zip(array.ravel().tolist(), signs.ravel(), strict=True)
        ]
        return np.array([*flat, None], object)[:-1].reshape(array.shape)

    def affine(self, x, weights, bias, zero):
        if (weights == weights.flat[0]).all() and weights.flat[0] == 1 / weights.shape[2]:  # a mean
            return (x.sum(axis=1) / Fraction(weights.shape[2]))[:, None] + self.exact(bias)[..., None]
        return self.exact(weights) @ x + self.exact(bias)[..., None]

    def clip(self, x, lo, hi):
        lo, hi = (v if np.isinf(v) else Fraction(v) for v in (lo, hi))
        return np.array([*(min(max(v, lo), hi) for v in x.ravel()), None], object)[:-1].reshape(x.shape)

    def gather(self, x, index, pad):
        return np.where(index >= 0, x.reshape(-1)[np.maximum(index, 0)], Fraction(pad))

    def softmax(self, x, table, *how):
        p = super().softmax(x.astype(float), table, *how)
        return np.array([*map(Fraction, p.ravel().tolist()), None], object)[:-1].reshape(x.shape)

    def function(self, x, fn):
        return np.array([*(Fraction(v) for v in fn(x.astype(float)).ravel().tolist()), None], object)[
            :-1
        ].reshape(x.shape)


def fractions(x):
    return {
        name: np.array([*(Fraction(v) for v in a.ravel().tolist()), None], object)[:-1].reshape(a.shape)
        for name, a in x.items()
    }


def reals(value, q):
    """Exact real values of integers."""
    scales = value.quant.scale
    each = (
        np.array([*scales, None], object)[:-1].reshape(-1, *(1,) * (q.ndim - 1))
        if len(scales) > 1
        else scales[0]
    )
    return (q.astype(object) - value.quant.zero) * each


def points(pair, rng, count):
    """Random, corner and rounding-border points of the box, as float64 arrays."""
    for i in range(count):
        x = {}
        for name in pair.whole.inputs:
            low, high, value = pair.lower[name], pair.upper[name], pair.whole.values[name]
            step = float(value.quant.scale[0])
            inside = low + rng.random(low.shape) * (high - low)
            corner = np.where(rng.random(low.shape) < 0.5, low, high)
            border = (np.floor(inside / step) + 0.5) * step
            border = np.nextafter(border, border + rng.integers(-1, 2, low.shape))
            kind = rng.random(low.shape) if i % 3 else np.full(low.shape, rng.random())
            x[name] = np.clip(np.where(kind < 0.3, corner, np.where(kind < 0.8, border, inside)), low, high)
        yield x


def zoo(seed, mode="half-even"):
    """One random network of every kind of op, the kind by seed."""
    rng = np.random.default_rng(seed)
    two = bool(rng.integers(2))
    more = {
        "squeeze": float(rng.choice([0.5, 0.9, 1.3])),
        "top": int(rng.choice([1, 7, 127])),
        "reach": float(rng.choice([0.6, 1.0, 1.5])),
    }
    kind = seed % 8
    if kind < 2:
        n = int(rng.integers(1, 4))
        s = Sketch(seed, (n,), lower=rng.uniform(-2, 0, n), upper=rng.uniform(0, 2, n), two=two, mode=mode)
        h = s.dense("x", 5, RELU6 if kind else RELU)
        h = s.dense(h, 4, Clip(-0.3, 0.4) if rng.integers(2) else RELU)
        return s.build(s.dense(h, 2, NONE), **more)
    wide = float(rng.choice([0.01, 0.2, 1.0]))
    if kind == 2:
        middle = rng.uniform(-1, 1, 3)
        s = Sketch(seed, (3,), lower=middle - wide, upper=middle + wide, two=two, mode=mode)
        h = s.dense("x", 4, NONE)
        h = s.put(Sigmoid() if rng.integers(2) else Swish(), h)
        return s.build(s.dense(h, 2, NONE), **more)
    middle = rng.uniform(-1, 1, (2, 4, 4))
    s = Sketch(seed, (2, 4, 4), lower=middle - wide, upper=middle + wide, two=two, mode=mode)
    if kind == 3:
        h = s.conv("x", 3)
        h = s.maximum(h, (2, 2)) if rng.integers(2) else s.maximum(h, (3, 3), (2, 2), (1, 1, 1, 1))
        return s.build(s.dense(s.flat(h), 2, NONE), **more)
    if kind == 4:
        h = s.conv("x", 2, groups=2)
        h = s.average(s.conv(h, 3, NONE, kernel=(1, 1), pads=(0, 0, 0, 0)), (2, 2))
        return s.build(s.flat(h), **more)
    if kind == 5:
        a = s.conv("x", 2)
        h = s.add(a, s.conv(a, 2, NONE), RELU6 if rng.integers(2) else NONE)
        return s.build(s.dense(s.flat(s.average(h, (4, 4))), 2, NONE), s.flat(a), **more)
    if kind == 6:
        s = Sketch(seed, (8, 3, 3), lower=-0.5 * wide, upper=wide, two=two, mode=mode)
        h = s.conv("x", 8, code="pool64")
        h = s.dense(s.flat(s.average(h, (3, 3))), 2, NONE, code="pool64")
        return s.build(h, **more).at(int(rng.integers(2, 8)))
    h = s.conv("x", 3, strides=(2, 2))
    h = s.put(Clip(0.1, 0.5), s.maximum(h, (2, 2)))  # a requantisation of values that are already quantised
    return s.build(s.dense(s.flat(h), 2, NONE), **more)


def ranges(pair, domain):
    """Value -> its Box, for every value of the integer network that the bound covers."""
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    name_of = {position: name for name, position in both.values.items()}
    return {name_of[i]: domain.ranges(state) for i, state in walk(both, domain, at) if i in name_of}


def violations(pair, boxes, seed, count=10, wobble=True):
    """Values whose exact x, y or d = y - x leaves one of the boxes at some point: must stay empty.

    The float side is evaluated in rationals, its parameters moved by 2^-52 (relative) with `wobble`.
    """
    rng, found = np.random.default_rng(seed), set()
    for i, x in enumerate(points(pair, rng, count)):
        real = run(pair.real, fractions(x), Rational(i + 1 if wobble else 0))
        whole = run(pair.whole, pair.quantise(x))
        for name, value in pair.whole.values.items():
            y, twin = reals(value, whole[name]), real[name]
            for kind, box in ((kind, each[name]) for kind, each in boxes.items()):
                inside = (box.lx <= twin) & (twin <= box.ux) & (box.ly <= y) & (y <= box.uy)
                if not (inside & (box.ld <= y - twin) & (y - twin <= box.ud)).all():
                    found.add((kind, name))
    return found


DOMAINS = {
    "interval": PairInterval,
    "zonotope": PairZonotope,
    "product": PairProduct,
    "crown": PairCrown,
}


def broken(pair, seed, count=10):
    """Violations of all domains."""
    return violations(pair, {kind: ranges(pair, make()) for kind, make in DOMAINS.items()}, seed, count)
