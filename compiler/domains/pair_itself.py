# SPDX-License-Identifier: Apache-2.0
"""A float network of any shape in a pair domain: as the pair of its value at x and its value at y, where
(x, y) are states of a walk over other networks. The words of a float graph, each as a pair rule."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Generic, cast

import numpy as np

from .pair import Affine, PairDomain, Product, Rounding, State, Sum
from .pair_box import Box, Pad
from .pair_float import Floats, Ints, down, up
from .pair_softmax import Itself
from .pair_table import Pointwise, slopes
from .pair_vertex import Envelope


class Linear:
    """What `affine` reads of an Affine: weights on x and on y (the same ones without `v`), one bias.

    V - W must be exact in float64, as it is for equal numbers and for zeros and ones.
    """

    def __init__(self, w: Floats, b: Floats, v: Floats | None = None) -> None:
        self.w, self.v, self.b = w, w if v is None else v, b[..., None]
        self.e, self.c = self.v - self.w, self.b
        self.size, self.offset = np.abs(self.v) + np.abs(self.w), 2 * np.abs(self.b)
        self.terms = 2 * w.shape[-1] + 2


class _Sum:
    """What `add` reads of a Sum."""

    def __init__(self, factors: list[float]) -> None:
        self.real = self.factors = factors
        self.excess = [0.0, 0.0]


class _Product:
    """What `multiply` reads of a Product."""

    gain, excess = 1.0, 0.0


class _Clip:
    """What `requantise` reads of a Rounding: y is cut where x is, and nothing is rounded."""

    plain = True

    def __init__(self, limits: tuple[float, float]) -> None:
        self.limits = limits

    def ends(self, box: Box) -> tuple[Floats, Floats]:
        return np.clip(box.ly, *self.limits), np.clip(box.uy, *self.limits)

    def envelope(self, ends: tuple[Floats, Floats]) -> Envelope:
        return Envelope(0.0, 0.0, *ends)


class _Function(Pointwise):
    """A function on both sides: no entries, no noise."""

    def __init__(self, fn: Any) -> None:
        self.fn, (self.slope, _) = fn, slopes(fn)

    def box(self, box: Box) -> Box:
        zero = np.zeros_like(box.lx)
        moves, noise = np.stack([t * end for t in self.slope for end in (box.ld, box.ud)]), self.noise(box)
        gap = down(noise[0] + moves.min(axis=0)), up(noise[1] + moves.max(axis=0))
        return Box(*self.rest(box, zero), *self.against(box, zero), *gap).tighten()

    def noise(self, box: Box) -> tuple[Floats, Floats]:
        zero = np.zeros_like(box.lx)
        if self.fn.lipschitz == inf:
            (least, most), (low, high) = self.rest(box, zero), self.against(box, zero)
            return down(low - most), up(high - least)
        return zero, zero

    def against(self, box: Box, slope: Floats) -> tuple[Floats, Floats]:
        return self.rest(Box(box.ly, box.uy, box.ly, box.uy, box.ld, box.ud), slope)


class PairItself(Generic[State]):
    """A domain (ops/base.py) for float graphs, over the states of a pair domain."""

    def __init__(self, pair: PairDomain[State]) -> None:
        self.pair = pair

    def gather(self, x: State, index: Ints, pad: float) -> State:
        return self.pair.gather(x, index, Pad(float(pad), (float(pad), float(pad))))

    def reshape(self, x: State, shape: tuple[int, ...]) -> State:
        return self.pair.reshape(x, shape)

    def concat(self, xs: Sequence[State], axis: int) -> State:
        return self.pair.concat(xs, axis)

    def affine(self, x: State, weights: Any, bias: Any, _zero: int) -> State:
        terms = Linear(np.asarray(weights, np.float64), np.asarray(bias, np.float64))
        return self.pair.affine(x, cast(Affine, terms))

    def add(self, a: State, b: State, ma: int, mb: int, *_zeros: int) -> State:
        return self.pair.add(a, b, cast(Sum, _Sum([float(ma), float(mb)])))

    def multiply(self, a: State, b: State, *_zeros: int) -> State:
        return self.pair.multiply(a, b, cast(Product, _Product()))

    def clip(self, x: State, lo: float, hi: float) -> State:
        return self.pair.requantise(x, cast(Rounding, _Clip((lo, hi))), (lo, hi))

    def max(self, x: State, axis: int) -> State:
        return self.pair.max(x, axis)

    def softmax(self, x: State, *_table: Any) -> State:
        return self.pair.softmax(x, Itself())

    def function(self, x: State, fn: Any) -> State:
        return self.pair.table(x, _Function(fn))
