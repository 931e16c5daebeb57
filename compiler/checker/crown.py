# SPDX-License-Identifier: Apache-2.0
"""The analysis with backward substitution: every layer on the tape, every sum narrowed from there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .analysis import FREE, Analysis, State
from .backward import Tape
from .envelopes import Entry, cleared, quantised, rounding, scaled, stepped
from .forms import Pad, tighten
from .pairs import Affine, Rounding, Step, Table
from .pools import Maximum
from .products import Middles
from .relax import Corners, Envelope, chord
from .rounding import TINY, Floats, Ints, U, down, up
from .single import inner, reach
from .tables import Pointwise
from .together import Together

RELU = (0.0, np.inf)


class Crown(Analysis):
    """Intervals, zonotope and backward passes, met layer by layer."""

    def __init__(self, *, single: bool = False) -> None:
        super().__init__(intervals=True, zonotope=True, single=single)
        self.tape = Tape()

    def _enter(self, entry: Entry) -> State:
        box, env = quantised(entry)
        return replace(super()._enter(entry), place=self._bent(self.tape.root(box), box, env, FREE))

    def _apply(self, step: Step, xs: list[State]) -> State:
        op, t = step.layer.op, step.data
        if op in ("Conv", "Dense", "AveragePool"):
            return self._sum(step, xs[0], t)
        out = super()._apply(step, xs)
        if op == "Add":
            triples = list(zip((1.0, t.sign), t.factors, t.excess, strict=True))
            place = self.tape.blended([x.place for x in xs], triples, [x.box for x in xs])
            return self._narrowed(out, place)
        return replace(out, place=self._place(step, xs, out.box))

    def _sum(self, step: Step, x: State, t: Affine) -> State:
        if t.lost:
            cut = self._bent(x.place, x.box, cleared(t, x.box), FREE)
            x, t = replace(self._truncate(x, t), place=cut), replace(t, lost=0)
        place, before = x.place, self._read(x, t)
        if step.layer.op != "Dense":
            place = self.tape.moved(place, t.index, x.box, t.pad)
        out = self._narrowed(self._affine(before, t), self.tape.affine(place, t, before.box))
        return self._in_single(out, lambda: inner(t.w, reach(before.box), *t.folded)).reshape(step.shape)

    def _blurred(self, x: State, by: Floats) -> State:
        return replace(super()._blurred(x, by), place=self.tape.blurred(x.place, by))

    def _narrowed(self, out: State, place: int) -> State:
        return replace(out, box=self.tape.narrowed(place, out.box), place=place)

    def _place(self, step: Step, xs: list[State], after: Floats) -> int:
        t, box, place = step.data, xs[0].box, xs[0].place
        match step.layer.op:
            case "Mul":
                return self._product(xs, t.off)
            case "Requantise":
                return self._requantised(xs[0], t)
            case "MaxPool":
                return self._largest(xs[0], t, after)
            case "Curve" | "Table":
                return self._pointwise(place, box, t)
            case "Concat":
                return self._concatenated(xs, t)
            case "Take" | "Transpose":
                return self.tape.moved(place, t[0], box, t[1])
            case _:
                return place

    def _bent(
        self,
        read: int,
        box: Floats,
        env: Envelope,
        limits: tuple[float, float],
        together: Together | None = None,
    ) -> int:
        """A step function beside a clip."""
        lx, ux, ly, uy, ld, ud = box
        zero, one = np.zeros_like(lx), np.ones_like(lx)
        ends = [lx, ux, *(np.clip(limit, lx, ux) for limit in limits)]
        error = 32 * U * np.max(np.abs([lx, ux, np.clip(lx, *limits), np.clip(ux, *limits)]), axis=0)
        lines = []
        for slope in (chord(box, limits)[0], zero, one):
            rests = [np.clip(end, *limits) - slope * end for end in ends]
            lines.append(np.stack([slope, np.min(rests, axis=0) - error, np.max(rests, axis=0) + error]))
        width = np.maximum((ud + env.upper) - (ld - env.lower), TINY)
        part = np.clip(ud + env.upper, 0.0, width) / width
        rise = np.clip((env.ku - env.kl) / np.maximum(uy - ly, TINY), 0.0, 1.0)
        corners, planes = Corners(box, env, limits), []
        of_d, of_y = (one, part, one - part, zero), (zero, rise, one)
        for p, q, s in [*((p, zero, zero) for p in of_d), *((p, p, -one) for p in of_y)]:
            planes.append(np.stack([p, q, s, *corners.spread(p, q, s, zero, zero)]))
        return self.tape.bent(read, box, stepped(box, env, limits), lines, planes, together)

    def _requantised(self, x: State, t: Rounding) -> int:
        env, box, place = rounding(t, x.box), x.box, x.place
        if t.gain is not None:
            place = self.tape.blended([place], [(1.0, *t.gain)], [box])
            box = scaled(box, t.gain)
        return self._bent(place, box, env, t.limits, self.tape.joint(place, box, env, t.limits))

    def _largest(self, x: State, index: Ints, after: Floats) -> int:
        """max(a, b) = b + relu(a - b), pair by pair."""
        whole, read = self.tape.moved(x.place, index, x.box, Pad()), x.gather(index, Pad())
        places = np.arange(index.size).reshape(index.shape).transpose(1, 0, 2)
        taps = [(read.gather(tap, Pad()).box, self.tape.moved(whole, tap, read.box, Pad())) for tap in places]
        while len(taps) > 1:
            over = [self._larger(*taps[i], *taps[i + 1]) for i in range(0, len(taps) - 1, 2)]
            taps = over + taps[2 * len(over) :]
        return self._windows(taps[0][1], read.box, after.reshape(6, -1))

    def _windows(self, place: int, taps: Floats, box: Floats) -> int:
        """A maximum made of pairs: its difference by ranges, unless a single tap can be the largest."""
        above = [taps[i + 1] - taps[i].max(axis=1, keepdims=True) for i in (0, 2)]
        single, zero = ((np.maximum(*above) > 0).sum(axis=1) < 2).ravel(), np.zeros_like(box[0])
        ends = np.where(single, 0.0, box[4:])
        planes = [np.stack([single + zero, zero, zero, *ends]), np.stack([zero, zero, zero - 1, *box[2:4]])]
        return self.tape.bent(place, box, box, [np.stack([zero + 1, zero, zero])], planes)

    def _larger(self, a: Floats, of_a: int, b: Floats, of_b: int) -> tuple[Floats, int]:
        gap = self.tape.blended([of_a, of_b], [(1.0, 1.0, 0.0), (-1.0, -1.0, 0.0)], [a, b])
        apart = np.empty_like(a)
        apart[::2], apart[1::2] = down(a[::2] - b[1::2]), up(a[1::2] - b[::2])
        apart = self.tape.narrowed(gap, tighten(apart))
        env = Envelope(0.0, 0.0, np.maximum(apart[2], 0.0), np.maximum(apart[3], 0.0))
        more = self._bent(gap, apart, env, RELU)
        place = self.tape.blended([of_b, more], [(1.0, 1.0, 0.0)] * 2, [b, apart])
        return Maximum(np.stack([a, b], axis=2)).box, place

    def _product(self, xs: list[State], off: float) -> int:
        boxes = xs[0].box, xs[1].box
        middles = Middles(boxes, off)
        rest = middles.rest()
        reads = [*(x.place for x in xs), self.tape.root(rest)]
        return self.tape.blended(reads, [*middles.factors, (1.0, 1.0, 0.0)], [*boxes, rest])

    def _concatenated(self, xs: list[State], axis: int) -> int:
        sizes = [x.box.shape[1:] for x in xs]
        total = sum(size[axis] for size in sizes)
        whole = np.arange(xs[0].box[0].size // sizes[0][axis] * total)
        whole = whole.reshape(*sizes[0][:axis], total, *sizes[0][axis + 1 :])
        places, first = [], 0
        for size in sizes:
            places.append(whole.take(range(first, first + size[axis]), axis).ravel())
            first += size[axis]
        return self.tape.joined([x.place for x in xs], places)

    def _pointwise(self, read: int, box: Floats, t: Table) -> int:
        fn = Pointwise(t, box)
        lam, zero = fn.chord(), np.zeros_like(box[0])
        lines = [np.stack([slope, *fn.rest(slope)]) for slope in (lam, zero)]
        far = up(0.5 * (fn.slopes[1] - fn.slopes[0]) * np.maximum(np.abs(box[4]), np.abs(box[5])))
        middle = zero + 0.5 * (fn.slopes[0] + fn.slopes[1])
        planes = [np.stack([middle, zero, zero, down(fn.rho[0] - far), up(fn.rho[1] + far)])]
        planes += [np.stack([al, al, zero - 1, *fn.against(al)]) for al in (lam, zero)]
        return self.tape.bent(
            read, box, fn.box, lines, [*planes, np.stack([zero, zero, zero, fn.box[4], fn.box[5]])]
        )
