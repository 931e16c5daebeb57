# SPDX-License-Identifier: Apache-2.0
"""An exact solver for tiny pairs of dense networks: the largest difference over a box, proven.

Branch and bound on the integers (of the input quantiser, of every rounding) and on the sides of every clip.
A node is a box of such choices; its ranges follow in rationals, layer by layer, and the rest is a linear
program. HiGHS solves that in floats. What counts is what its dual variables prove (exact_program.py).
Nothing is shared with the domains: quantiser, roundings and ranges are this file's own.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from math import ceil, floor, isinf

from exact_program import HALF, Program, hull

RULES = {"half-even": round, "tflite-single": lambda v: floor(v + HALF)}
FAR = 10**9  # beyond all sums of the float network
NUDGE = Fraction(1, 1 << 40)  # of a step, inside a cell: what its border belongs to does not matter there


@dataclass(frozen=True)
class Layer:
    """x = clip(w x + b, limits) and q = clip(rule(n ratio) + zero, *ends), n = counts (q - before) + bias."""

    w: list[list[Fraction]]
    b: list[Fraction]
    limits: tuple[Fraction | None, Fraction | None]
    counts: list[list[int]]
    bias: list[int]
    before: int
    ratio: list[Fraction]
    rule: str
    zero: int
    ends: tuple[int, int]
    scale: Fraction

    def sums(self, x):
        return [dot(row, x) + b for row, b in zip(self.w, self.b, strict=True)]

    def totals(self, q):
        return [dot(row, [v - self.before for v in q]) + b
                for row, b in zip(self.counts, self.bias, strict=True)]  # fmt: skip

    def whole(self, n, i):
        """The integer that an accumulator becomes."""
        return cut(RULES[self.rule](n * self.ratio[i]) + self.zero, *self.ends)


@dataclass(frozen=True)
class Net:
    """The pair, its box, and the input's scale, zero point and integers."""

    layers: list[Layer]
    box: list[tuple[Fraction, Fraction]]
    scale: Fraction
    zero: int
    ends: tuple[int, int]

    def quantise(self, v):
        return cut(round(v / self.scale) + self.zero, *self.ends)

    def difference(self, x, output):
        """integer - float at an input, exactly."""
        q = [self.quantise(v) for v in x]
        for layer in self.layers:
            x = [cut(v, *layer.limits) for v in layer.sums(x)]
            q = [layer.whole(n, i) for i, n in enumerate(layer.totals(q))]
        return self.layers[-1].scale * (q[output] - self.layers[-1].zero) - x[output]


def dot(row, values):
    return sum((w * v for w, v in zip(row, values, strict=True)), Fraction(0))


def cut(value, low, high):
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def net_of(pair):
    """Dense layers and clips in turns, read from the two graphs."""
    real, whole = pair.real.nodes, pair.whole.nodes
    value, layers = pair.whole.values["x"], []
    for at in range(0, len(real), 2):
        dense, clip, sums, step = real[at].op, real[at + 1].op, whole[at].op, whole[at + 1].op
        shape = len(sums.bias)
        m, s = ([int(v) for v in part] * (shape // len(part)) for part in (step.multiplier, step.shift))
        quant = pair.whole.values[whole[at + 1].output].quant
        layers.append(Layer(
            [[Fraction(float(w)) for w in row] for row in dense.weights],
            [Fraction(float(b)) for b in dense.bias],
            tuple(None if isinf(v) else Fraction(float(v)) for v in (clip.lo, clip.hi)),
            sums.weights.astype(int).tolist(), sums.bias.astype(int).tolist(), int(sums.zero),
            [Fraction(a, 1 << b) for a, b in zip(m, s, strict=True)],
            step.mode, int(step.zero), (int(step.lo), int(step.hi)), quant.scale[0],
        ))  # fmt: skip
    box = [(Fraction(a), Fraction(b))
           for a, b in zip(pair.lower["x"].tolist(), pair.upper["x"].tolist(), strict=True)]  # fmt: skip
    return Net(layers, box, value.quant.scale[0], value.quant.zero, (value.range.lo, value.range.hi))


@dataclass(frozen=True)
class Choices:
    """Ranges that a node allows: ("q", level, i) integers, ("x", level, i) float sums; 0 is the input."""

    kept: dict

    def of(self, key, low, high):
        a, b = self.kept.get(key, (None, None))
        return cut(low, a, None), cut(high, None, b)

    def split(self, key, left, right):
        return [Choices({**self.kept, key: side}) for side in (left, right)]


def program(net, choices, sign, output):
    """The linear program of a node, or None where the node is empty. Variables: per level x, then q."""
    made, n = Program(), len(net.box)
    xs, qs, xr, qr = [], [], [], []
    for i, (low, high) in enumerate(net.box):
        a, b = choices.of(("q", 0, i), net.quantise(low), net.quantise(high))
        low = max(low, (a - net.zero - HALF) * net.scale) if a > net.ends[0] else low
        high = min(high, (b - net.zero + HALF) * net.scale) if b < net.ends[1] else high
        if a > b or low > high:
            return None
        xr.append((low, high))
        qr.append((a, b))
    xs, qs = [made.variable(*r) for r in xr], [made.variable(*r) for r in qr]
    for i in range(n):
        at = xr[i][0] / net.scale + net.zero, xr[i][1] / net.scale + net.zero
        made.within(qs[i], {xs[i]: 1 / net.scale}, Fraction(net.zero), hull(*at, net.ends, HALF))
    for level, layer in enumerate(net.layers, 1):
        new = _level(made, layer, level, choices, (xs, xr, qs, qr))
        if new is None:
            return None
        xs, xr, qs, qr = new
    made.objective = {qs[output]: sign * net.layers[-1].scale, xs[output]: Fraction(-sign)}
    made.constant = -sign * net.layers[-1].scale * net.layers[-1].zero
    return made


def _level(made, layer, level, choices, before):
    xs, xr, qs, qr = before
    new = [], [], [], []
    for i, (row, counts) in enumerate(zip(layer.w, layer.counts, strict=True)):
        free = spread(row, xr, layer.b[i])
        low, high = choices.of(("x", level, i), *free)
        sums = [(a - layer.before, b - layer.before) for a, b in qr]
        least, most = (int(v) for v in spread(counts, sums, layer.bias[i]))
        a, b = choices.of(("q", level, i), layer.whole(least, i), layer.whole(most, i))
        first, last = max(least, reaches(layer, i, a, 1)), min(most, reaches(layer, i, b, -1))
        if low > high or a > b or first > last:
            return None
        a, b = layer.whole(first, i), layer.whole(last, i)
        ends = cut(low, *layer.limits), cut(high, *layer.limits)
        x, q = made.variable(*ends), made.variable(a, b)
        terms = {at: w for at, w in zip(xs, row, strict=True) if w}
        made.ranged(terms, layer.b[i], low if low > free[0] else None, high if high < free[1] else None)
        made.within(x, terms, layer.b[i], hull(low, high, layer.limits, 0))
        terms = {at: Fraction(w) for at, w in zip(qs, counts, strict=True) if w}
        offset = Fraction(layer.bias[i] - layer.before * sum(counts))
        made.ranged(terms, offset, first if first > least else None, last if last < most else None)
        v = first * layer.ratio[i] + layer.zero, last * layer.ratio[i] + layer.zero
        scaled = {at: w * layer.ratio[i] for at, w in terms.items()}
        made.within(q, scaled, offset * layer.ratio[i] + layer.zero, hull(*v, layer.ends, HALF))
        for side, part in zip(new, (x, ends, q, (a, b)), strict=True):
            side.append(part)
    return new


def spread(row, ranges, offset):
    """Ends of offset + row v over ranges of v."""
    ends = [[w * v for v in (r if w > 0 else r[::-1])] for w, r in zip(row, ranges, strict=True)]
    return offset + sum(e[0] for e in ends), offset + sum(e[1] for e in ends)


def reaches(layer, i, q, way):
    """The first (way 1) accumulator that becomes at least q, or the last (-1) that becomes at most q; ties by
    the rule, saturation open-ended."""
    if q == layer.ends[0 if way > 0 else 1]:
        return -way * FAR * FAR
    border = (q - layer.zero - way * HALF) / layer.ratio[i]
    n = ceil(border) if way > 0 else floor(border)
    return n if (layer.whole(n, i) - q) * way >= 0 else n + way


@dataclass(frozen=True)
class Answer:
    """The largest difference lies between `low`, shown at `x`, and `high`, proven; nodes looked at."""

    low: Fraction
    high: Fraction
    x: list[Fraction]
    nodes: int


def solve(net, sign, output, gap=Fraction(1, 10**7), most=4000):
    """The largest sign * (integer - float) of one output, to `gap`, or as far as `most` nodes go."""
    start = [(a + b) / 2 for a, b in net.box]
    low, x = sign * net.difference(start, output), start
    closed = low
    order, heap, nodes = count(), [], 0
    waiting = [Choices({})]
    while True:
        for choices in waiting:
            made = program(net, choices, sign, output)
            nodes += 1
            bound, point = (None, None) if made is None else made.bound()
            if bound is None:
                continue  # empty, proven
            for near in _tries(net, choices, point):
                shown = sign * net.difference(near, output)
                low, x = (shown, near) if shown > low else (low, x)
            if bound > low + gap:
                heapq.heappush(heap, (-bound, next(order), choices, point))
        top = -heap[0][0] if heap else low + gap
        if top <= low + gap or nodes >= most:
            return Answer(low, max(top, closed, low + gap), x, nodes)  # what was left out is below low + gap
        _, _, choices, point = heapq.heappop(heap)
        waiting = _children(net, choices, point)
        if not waiting:  # nothing is left to choose: the program is the truth, but for borders
            closed = max(closed, top)


def largest(net, output, **how):
    """The largest |integer - float| of one output: both signs."""
    both = [solve(net, sign, output, **how) for sign in (1, -1)]
    best = max(both, key=lambda answer: answer.low)
    return Answer(best.low, max(a.high for a in both), best.x, sum(a.nodes for a in both))


def _tries(net, choices, point):
    """The program's input, and a point just inside the cells that it takes the input to lie in."""
    n = len(net.box)
    x = [cut(Fraction(v), *ends) for v, ends in zip(point[:n], net.box, strict=True)]
    inside = []
    for i, v in enumerate(x):
        a, b = choices.of(("q", 0, i), *net.ends)
        q = cut(round(point[n + i]), a, b) - net.zero
        far = (HALF - NUDGE) * net.scale
        inside.append(cut(cut(v, q * net.scale - far, q * net.scale + far), *net.box[i]))
    return x, inside


def _children(net, choices, point):
    """Both halves of the choice that the program's solution violates most, in real units."""
    n = len(net.box)
    x, q, at, found = point[:n], point[n : 2 * n], 2 * n, []
    for i in range(n):
        a, b = choices.of(("q", 0, i), *(net.quantise(v) for v in net.box[i]))
        found += _integer(("q", 0, i), a, b, q[i], net.quantise(Fraction(x[i])), float(net.scale))
    for level, layer in enumerate(net.layers, 1):
        sums, totals = layer.sums([Fraction(v) for v in x]), layer.totals([Fraction(v) for v in q])
        x, q = point[at : at + 2 * len(sums) : 2], point[at + 1 : at + 2 * len(sums) : 2]
        at += 2 * len(sums)
        for i, (v, n_q) in enumerate(zip(sums, totals, strict=True)):
            low, high = choices.of(("x", level, i), -FAR, FAR)
            for limit in layer.limits:
                if limit is not None and low < limit < high:
                    off = abs(x[i] - float(cut(v, *layer.limits)))
                    kept = choices.kept.get(("x", level, i), (None, None))
                    found.append((off, ("x", level, i), (kept[0], limit), (limit, kept[1])))
            a, b = choices.of(("q", level, i), *layer.ends)
            found += _integer(("q", level, i), a, b, q[i], layer.whole(n_q, i), float(layer.scale))
    if not found:
        return []
    _, key, left, right = max(found, key=lambda each: each[0])
    return choices.split(key, left, right)


def _integer(key, a, b, q, wanted, scale):
    """How to halve a range of integers between what the program says and what the rounding makes of it."""
    if a >= b:
        return []
    k = floor(q) if wanted > q else ceil(q) - 1
    k = min(max(k, a), b - 1)
    return [(abs(q - wanted) * scale, key, (a, k), (k + 1, b))]
