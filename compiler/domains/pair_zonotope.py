# SPDX-License-Identifier: Apache-2.0
"""Differential zonotope: x and d as affine forms over shared symbols (notes 4.3), slopes chosen by score,
intercepts by the vertex rule, float64 rounding into the remainders (notes section 8)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pair import Affine, Entry, Product, Rounding, Step, Sum, cut
from .pair_box import Box, Pad
from .pair_float import TINY, Floats, Ints, down, slack, up
from .pair_forms import LIMIT, Change, Forms, changed, joined, reduced, unknown
from .pair_interval import FREE, PairInterval, stepped
from .pair_multiply import multiplied
from .pair_pool import maximum
from .pair_score import Best
from .pair_single import wider
from .pair_softmax import Itself
from .pair_table import Pointwise
from .pair_vertex import Envelope, Slopes, Vertices, activation


class PairZonotope:
    """Every word on forms."""

    def __init__(self) -> None:
        self._fresh = 0

    def enter(self, entry: Entry) -> Forms:
        box = entry.box()
        shape, n = box.lx.shape, box.lx.size
        middle = 0.5 * box.lx + 0.5 * box.ux
        radius = up(np.maximum(box.ux - middle, middle - box.lx))
        zero, no = np.zeros(shape), np.zeros((0, n))
        point = Forms(
            middle, zero, zero, zero, no, no, np.arange(n).reshape(shape), np.zeros(0, np.int64), box
        )
        none = Change(zero + 1, zero, radius, zero, zero, zero, zero, zero, radius > 0)
        return self.step(self._change(point, none).known(box), entry.envelope(), FREE)

    def multiply(self, a: Forms, b: Forms, terms: Product) -> Forms:
        new = multiplied(a, b, terms)
        return new.known(new.concretise())

    def gather(self, x: Forms, index: Ints, pad: Pad) -> Forms:
        return x.gather(index, pad)

    def reshape(self, x: Forms, shape: tuple[int, ...]) -> Forms:
        return x.reshape(shape)

    def concat(self, xs: Sequence[Forms], axis: int) -> Forms:
        return joined(xs, axis)

    def affine(self, x: Forms, terms: Affine) -> Forms:
        groups, rows, _ = terms.w.shape
        shape = (groups, rows, x.shape[2])
        n = groups * rows * x.shape[2]
        x = reduced(x, LIMIT // n)
        w, v, e = terms.w, terms.v, terms.e
        wx, wd = x.sizes()
        reach = np.abs(x.cx) + wx + np.abs(x.cd) + wd
        more = slack(terms.terms, terms.size @ reach + terms.offset)
        g = x.symbols.size
        gx, gd = np.empty((g, n)), np.empty((g, n))
        chunk = max(1, (1 << 22) // max(x.cx.size, 1))
        for i in range(0, g, chunk):
            part_x, part_d = x.rows(i, i + chunk)
            gx[i : i + chunk] = (w @ part_x).reshape(-1, n)
            gd[i : i + chunk] = (v @ part_d + e @ part_x).reshape(-1, n)
        new = Forms(
            w @ x.cx + terms.b,
            v @ x.cd + e @ x.cx + (terms.c - terms.b),
            up(np.abs(w) @ x.rx + more),
            up(np.abs(v) @ x.rd + np.abs(e) @ x.rx + more),
            gx, gd, np.arange(n).reshape(shape), x.symbols, unknown(shape),
        )  # fmt: skip
        return new.known(new.concretise())

    def add(self, a: Forms, b: Forms, terms: Sum) -> Forms:
        n = a.cx.size
        a, b = reduced(a, LIMIT // n), reduced(b, LIMIT // n)
        symbols = np.union1d(a.symbols, b.symbols)
        gx, gd = np.zeros((symbols.size, n)), np.zeros((symbols.size, n))
        cx, cd, rx, rd = (np.zeros(a.shape) for _ in range(4))
        for x, real, v, e in zip((a, b), terms.real, terms.factors, terms.excess, strict=True):
            part_x, part_d = (part.reshape(-1, n) for part in x.rows())
            at = np.searchsorted(symbols, x.symbols)
            gx[at] += real * part_x
            gd[at] += v * part_d + e * part_x
            wx, wd = x.sizes()
            more = slack(8, (1 + abs(v) + abs(e)) * (np.abs(x.cx) + wx + np.abs(x.cd) + wd))
            cx, cd = cx + real * x.cx, cd + (v * x.cd + e * x.cx)
            rx, rd = rx + x.rx + more, rd + abs(v) * x.rd + abs(e) * x.rx + more
        new = Forms(cx, cd, up(rx), up(rd), gx, gd, np.arange(n).reshape(a.shape), symbols, unknown(a.shape))
        return new.known(new.concretise())

    def requantise(self, x: Forms, terms: Rounding, limits: tuple[float, float]) -> Forms:
        q = terms.ends(x.box)
        return self.step(self.gained(x, terms), terms.envelope(q), limits)

    def truncate(self, x: Forms, step: Step) -> Forms:
        return self.step(x, cut(step, x.box), FREE)

    def max(self, x: Forms, axis: int) -> Forms:
        box = PairInterval().max(x.box, axis)
        chosen, change = maximum(x, axis, box)
        return self._finish(self._change(chosen, change), box)

    def table(self, x: Forms, terms: Pointwise) -> Forms:
        box, zero = x.box, np.zeros(x.shape)
        width = box.ux - box.lx
        ends = terms.value(box.lx), terms.value(box.ux)
        lam = np.divide(ends[1] - ends[0], width, out=np.zeros_like(width), where=width > 0)
        lam = np.clip(lam, *terms.slope)
        low, high = terms.rest(box, lam)
        mid = 0.5 * low + 0.5 * high
        half = up(np.maximum(high - mid, mid - low))
        after, noise = terms.box(box), terms.noise(box)
        best = Best(x, half)
        reach = 0.5 * (terms.slope[1] - terms.slope[0]) * np.maximum(np.abs(box.ld), np.abs(box.ud))
        best.offer(
            Slopes(zero + 0.5 * (terms.slope[0] + terms.slope[1]), zero, zero),
            (down(noise[0] - up(reach)), up(noise[1] + up(reach))),
        )
        for alpha in (lam, zero):
            low, high = terms.against(box, alpha)  # y_out - alpha * y; d = that + alpha (x + d) - x_out
            best.offer(Slopes(alpha, alpha - lam, zero - 1), (down(low - mid), up(high - mid)))
        best.offer(Slopes(zero, zero, zero), (after.ld, after.ud))
        return self._finish(self._change(x, best.change(lam, mid, half > 0)), after)

    def softmax(self, x: Forms, terms: Itself) -> Forms:
        """Ranges alone, with symbols of their own: a share reads all of its row."""
        after, zero = terms.box(x.box), np.zeros(x.shape)
        mid = 0.5 * after.lx + 0.5 * after.ux
        half = up(np.maximum(after.ux - mid, mid - after.lx))
        best = Best(x, half)
        best.offer(Slopes(zero, zero, zero), (after.ld, after.ud))
        return self._finish(self._change(x, best.change(zero, mid, half > 0)), after)

    def blurred(self, x: Forms, by: Floats) -> Forms:
        """x moves by at most `by`, and d against it, so that y stays: a symbol each, if there is room for
        these and for those of the next step."""
        zero = np.zeros(x.shape)
        few = (x.symbols.size + 3 * by.size) * by.size <= LIMIT
        change = Change(zero + 1, zero, by, zero + 1, zero, zero - 1, zero, zero, (by > 0) & few)
        return self._finish(self._change(x, change), wider(x.box, by))

    def ranges(self, x: Forms) -> Box:
        return x.box

    def gained(self, x: Forms, terms: Rounding) -> Forms:
        """yhat = gain * y, so D = gain * d + (gain - 1) * x."""
        if terms.plain:
            return x
        zero = np.zeros(x.shape)
        change = Change(zero + 1, zero, zero, terms.gain, terms.excess, zero, zero, zero, zero > 0)
        return self._finish(self._change(x, change), unknown(x.shape))

    def step(self, x: Forms, envelope: Envelope, limits: tuple[float, float]) -> Forms:
        """x = clip(xhat, limits) beside the step function of `envelope` on yhat."""
        box = x.box
        lam, mid, half = activation(box, limits)
        corners = Vertices(box, envelope, limits)
        best = Best(x, half)
        for slopes in _candidates(box, envelope, lam):
            best.offer(slopes, corners.spread(slopes, lam, mid))
        bent = half > 2.0**-40 * corners.size
        return self._finish(self._change(x, best.change(lam, mid, bent)), stepped(box, envelope, limits))

    def _change(self, x: Forms, change: Change) -> Forms:
        new = changed(x, change, self._fresh)
        self._fresh += new.symbols.size - x.symbols.size
        return new

    def _finish(self, x: Forms, box: Box) -> Forms:
        return x.known(x.known(box).concretise())


def _candidates(box: Box, envelope: Envelope, lam: Floats) -> list[Slopes]:
    """generic: d ~ P D.  separate: y ~ P yhat, minus the form of x.  Constant cell: separate with P = 0."""
    zero = np.zeros_like(lam)
    chord = np.clip((envelope.ku - envelope.kl) / np.maximum(box.uy - box.ly, TINY), 0.0, 1.0)
    return [
        *(Slopes(zero + p, zero, zero) for p in (0.5, 1.0, 0.75, 0.25, 0.0)),
        *(Slopes(p, p - lam, zero - 1) for p in (zero, chord)),
    ]
