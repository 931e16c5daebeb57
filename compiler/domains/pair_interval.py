# SPDX-License-Identifier: Apache-2.0
"""Differential intervals: ranges of x, y and d = y - x, layer by layer (notes 4.2, 3.2 by vertices)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pair import Affine, Entry, Product, Rounding, Step, Sum, cut
from .pair_box import Box, Pad, centre
from .pair_float import Floats, Ints, down, slack, up
from .pair_multiply import product
from .pair_single import wider
from .pair_softmax import Itself
from .pair_table import Pointwise
from .pair_vertex import Envelope, Slopes, Vertices

FREE = (-np.inf, np.inf)


class PairInterval:
    """Every word on boxes. Instant, and loose where ranges correlate."""

    def enter(self, entry: Entry) -> Box:
        return stepped(entry.box(), entry.envelope(), FREE)

    def gather(self, x: Box, index: Ints, pad: Pad) -> Box:
        return x.gather(index, pad)

    def reshape(self, x: Box, shape: tuple[int, ...]) -> Box:
        return x.reshape(shape)

    def concat(self, xs: Sequence[Box], axis: int) -> Box:
        return Box.concat(xs, axis)

    def affine(self, x: Box, terms: Affine) -> Box:
        (mx, rx), (my, ry), (md, rd) = centre(x.lx, x.ux), centre(x.ly, x.uy), centre(x.ld, x.ud)
        w, v, e = np.abs(terms.w), np.abs(terms.v), np.abs(terms.e)
        reach = np.abs(mx) + rx + np.abs(my) + ry + np.abs(md) + rd
        more = slack(terms.terms, terms.size @ reach + terms.offset)
        shift = terms.c - terms.b
        first = _around(terms.v @ md + terms.e @ mx + shift, v @ rd + e @ rx + more)  # (F1) V d + E x
        second = _around(terms.w @ md + terms.e @ my + shift, w @ rd + e @ ry + more)  # (F2) W d + E y
        return Box(
            *_around(terms.w @ mx + terms.b, w @ rx + more),
            *_around(terms.v @ my + terms.c, v @ ry + more),
            np.maximum(first[0], second[0]),
            np.minimum(first[1], second[1]),
        ).tighten()

    def add(self, a: Box, b: Box, terms: Sum) -> Box:
        x, y, first, second = (_weighted(a, b, *pick) for pick in (
            ("x", terms.real, None), ("y", terms.factors, None),
            ("d", terms.factors, ("x", terms.excess)), ("d", terms.real, ("y", terms.excess)),
        ))  # fmt: skip
        low, high = np.maximum(first[0], second[0]), np.minimum(first[1], second[1])
        return Box(*x, *y, low, high).tighten()

    def multiply(self, a: Box, b: Box, terms: Product) -> Box:
        return product(a, b, terms)

    def requantise(self, x: Box, terms: Rounding, limits: tuple[float, float]) -> Box:
        return stepped(scaled_up(x, terms), terms.envelope(terms.ends(x)), limits)

    def truncate(self, x: Box, step: Step) -> Box:
        return stepped(x, cut(step, x), FREE)

    def max(self, x: Box, axis: int) -> Box:
        # Only what can be the maximum of y (of x) can carry the largest (the smallest) difference.
        floor_x, floor_y = x.lx.max(axis=axis, keepdims=True), x.ly.max(axis=axis, keepdims=True)
        high = np.where(x.uy >= floor_y, x.ud, -np.inf).max(axis=axis)
        low = np.where(x.ux >= floor_x, x.ld, np.inf).min(axis=axis)
        return Box(
            x.lx.max(axis=axis), x.ux.max(axis=axis), x.ly.max(axis=axis), x.uy.max(axis=axis), low, high
        ).tighten()

    def table(self, x: Box, terms: Pointwise) -> Box:
        return terms.box(x)

    def softmax(self, x: Box, terms: Itself) -> Box:
        return terms.box(x)

    def blurred(self, x: Box, by: Floats) -> Box:
        """x moves by at most `by`, y stays."""
        return wider(x, by)

    def ranges(self, x: Box) -> Box:
        return x


def stepped(before: Box, envelope: Envelope, limits: tuple[float, float]) -> Box:
    """Ranges after x = clip(xhat, limits) and the step function of `envelope` on yhat."""
    zero = np.zeros_like(before.lx)
    low, high = Vertices(before, envelope, limits).spread(Slopes(zero, zero, zero), zero, zero)
    xs = np.clip(before.lx, *limits), np.clip(before.ux, *limits)
    return Box(*xs, envelope.kl, envelope.ku, low, high).tighten()


def scaled_up(x: Box, terms: Rounding) -> Box:
    """Ranges of (xhat, yhat) with yhat = gain * y; nothing to do where the accumulator defines the scale."""
    if terms.plain:
        return x
    (md, rd), (mx, rx) = centre(x.ld, x.ud), centre(x.lx, x.ux)
    wide = np.abs(terms.gain) + np.abs(terms.excess) + 1
    more = slack(4, wide * (np.abs(md) + rd + np.abs(mx) + rx + np.maximum(np.abs(x.ly), np.abs(x.uy))))
    gap = _around(terms.gain * md + terms.excess * mx, terms.gain * rd + np.abs(terms.excess) * rx + more)
    return Box(x.lx, x.ux, terms.gain * x.ly - more, terms.gain * x.uy + more, *gap).tighten()


def _around(middle: Floats, radius: Floats) -> tuple[Floats, Floats]:
    return down(middle - radius), up(middle + radius)


Term = tuple[str, list[float]]


def _weighted(
    a: Box, b: Box, name: str, factors: tuple[float, float] | list[float], extra: Term | None
) -> tuple[Floats, Floats]:
    """Range of the sum over both inputs of factor * name, plus excess * other where `extra` says so."""
    middle, radius, size = np.zeros_like(a.lx), np.zeros_like(a.lx), np.zeros_like(a.lx)
    for i, box in enumerate((a, b)):
        for kind, factor in ((name, factors[i]), *([(extra[0], extra[1][i])] if extra else [])):
            m, r = centre(getattr(box, "l" + kind), getattr(box, "u" + kind))
            middle, radius = middle + factor * m, radius + abs(factor) * r
            size = size + abs(factor) * (np.abs(m) + r)
    return _around(middle, radius + slack(4, size))
