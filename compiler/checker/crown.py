# SPDX-License-Identifier: Apache-2.0
"""The analysis with backward substitution: every layer on the tape, every sum narrowed from there."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from .analysis import FREE, Analysis, State
from .backward import ROWS, Tape
from .bends import SAME
from .corners import Ends
from .envelopes import Entry, cleared, quantised, rounding, scaled
from .forms import Form, Pad, meet, tighten
from .nodes import Sum as Collected
from .pairs import Affine, Product, Rounding, Step, Table
from .pools import Maximum
from .products import Middles
from .relax import Corners, Envelope, chord
from .rounding import TINY, Bools, Floats, Ints, U, down, slack, up
from .share_rows import sums
from .single import inner, reach
from .squares import FEWEST, LARGEST, TALLEST, Squares, Symbols, symbols
from .tables import Pointwise
from .together import Together, together

RELU = (0.0, np.inf)


class Crown(Analysis):
    """Intervals, zonotope and backward passes, met layer by layer; `real`: passes for the float network alone
    and no zonotope."""

    def __init__(
        self, *, single: bool = False, real: bool = False, work: int = 0, most: float = np.inf
    ) -> None:
        super().__init__(intervals=True, zonotope=not real, single=single)
        self.tape = Tape(ROWS[:2] if real else ROWS, work, most)
        self.ends: Ends | None = None  # by corners, over the whole box
        self.squares, self.past = dict[int, Squares](), list[Symbols]()

    def _held(self, name: str, out: State) -> State:
        out = super()._held(name, out)
        box = None if self.ends is None else self.ends.behind(name, out.box.shape[1:], out.place, self.tape)
        return out if box is None else replace(out, box=meet(out.box, box))

    def _enter(self, entry: Entry) -> State:
        box, env = quantised(entry)
        return replace(super()._enter(entry), place=self._bent(self.tape.root(box), box, env, FREE))

    def _apply(self, step: Step, xs: list[State]) -> State:
        op, t = step.layer.op, step.data
        if op in ("Conv", "Dense", "AveragePool"):
            return self._sum(step, xs[0], t)
        if op == "Combination":  # of what both networks have computed: nobody rounds it
            return self._summed(xs[0].place, self._read(xs[0], t), t).reshape(step.shape)
        out = super()._apply(step, xs)
        if op in ("MatMul", "Mul"):
            return out
        if op == "Add":
            triples = list(zip((1.0, t.sign), t.factors, t.excess, strict=True))
            place = self.tape.blended([x.place for x in xs], triples, [x.box for x in xs])
            return self._narrowed(out, place, prod(out.box.shape[2:]))
        return replace(out, place=self._place(step, xs, out))

    def _sum(self, step: Step, x: State, t: Affine) -> State:
        if t.lost:
            cut = self._bent(x.place, x.box, cleared(t, x.box), FREE)
            x, t = replace(self._truncate(x, t), place=cut), replace(t, lost=0)
        place, before = x.place, self._read(x, t)
        if step.layer.op != "Dense":
            place = self.tape.moved(place, t.index, x.box, t.pad)
        out = self._summed(place, before, t)
        return self._in_single(out, lambda: inner(t.w, reach(before.box), *t.folded)).reshape(step.shape)

    def _summed(self, place: int, x: State, t: Affine) -> State:
        out = self._affine(x, t)
        return self._narrowed(out, self.tape.affine(place, t, x.box), out.box.shape[-1])

    def _blurred(self, x: State, by: Floats) -> State:
        return replace(super()._blurred(x, by), place=self.tape.blurred(x.place, by))

    def _narrowed(self, out: State, place: int, places: int) -> State:
        box = self.tape.narrowed(place, self._at_once(place, out.box), places)
        return replace(out, box=box, place=place)

    def _at_once(self, place: int, box: Floats) -> Floats:
        """Ends of d, over the whole box, from rows that meet all elements of the first bend with enough."""
        n, at, most = box[0].size, place, list[Floats]()
        while at not in self.squares and len(self.tape.nodes[at].reads) == 1:
            (at,) = self.tape.nodes[at].reads
        group = self.squares.get(at)
        if self.limits or n > TALLEST or group is None or not group.affordable(n):
            return box
        for sign in (1.0, -1.0):
            a, out, here = np.stack([np.zeros((n, n)), sign * np.eye(n)]), Collected(n), place
            while here != at:
                (a,), (here,) = self.tape.nodes[here].back(a, out), self.tape.nodes[here].reads
            shared, a = a[1, group.group.at], a.copy()
            a[1, group.group.at] = 0.0
            (a,) = self.tape.nodes[at].back(a, out)
            a[1, group.group.at] += 0.5 * shared
            bound = out.value + group.most(a, shared) + slack(out.terms, out.size)
            most.append(bound.reshape(box[0].shape))
        return np.stack([*box[:4], np.maximum(box[4], -most[1]), np.minimum(box[5], most[0])])

    def _place(self, step: Step, xs: list[State], out: State) -> int:
        t, box, place, after = step.data, xs[0].box, xs[0].place, out.box
        match step.layer.op:
            case "Requantise":
                return self._requantised(xs[0], t, out.form)
            case "MaxPool":
                return self._largest(xs[0], t, after)
            case "Curve" | "Table":
                return self._pointwise(place, box, t)
            case "Softmax":
                return sums(self.tape, after, t)
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
        group: Together | None = None,
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
        of_d, of_y = (one, part, one - part), (zero, rise, one)
        slopes = [*((p, zero, zero) for p in of_d), *((p, p, -one) for p in of_y), (zero, zero, zero)]
        for p, q, s in slopes:
            planes.append(np.stack([p, q, s, *corners.spread(p, q, s, zero, zero)]))
        settled, still = _settled(box, env, limits, planes[0]), _still(box, env, limits)
        return self.tape.bent(read, box, lines, planes, group, settled, still)

    def _requantised(self, x: State, t: Rounding, after: Form | None) -> int:
        env, box = rounding(t, x.box), x.box
        if t.gain is not None:
            place = self.tape.blended([x.place], [(1.0, *t.gain)], [box])
            return self._bent(place, scaled(box, t.gain), env, t.limits)
        group = None if x.form is None else together(x.form, box, env, t.limits)
        place = self._bent(x.place, box, env, t.limits, group)
        if x.form is None or after is None or group is None or group.at.size < FEWEST:
            return place
        if x.form.ids.size * box[0].size <= LARGEST:
            self.squares[place] = Squares(x.form, group, box, env, t.limits, self.past)
            self.past += symbols(x.form, after, group)
        return place

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
        return self.tape.bent(place, box, [np.stack([zero + 1, zero, zero])], planes)

    def _larger(self, a: Floats, of_a: int, b: Floats, of_b: int) -> tuple[Floats, int]:
        gap = self.tape.blended([of_a, of_b], [(1.0, 1.0, 0.0), (-1.0, -1.0, 0.0)], [a, b])
        apart = np.empty_like(a)
        apart[::2], apart[1::2] = down(a[::2] - b[1::2]), up(a[1::2] - b[::2])
        apart = self.tape.narrowed(gap, tighten(apart), a.shape[-1])
        env = Envelope(0.0, 0.0, np.maximum(apart[2], 0.0), np.maximum(apart[3], 0.0))
        more = self._bent(gap, apart, env, RELU)
        place = self.tape.blended([of_b, more], [(1.0, 1.0, 0.0)] * 2, [b, apart])
        return Maximum(np.stack([a, b], axis=2)).box, place

    def _moved(self, x: State, index: Ints) -> State:
        return replace(super()._moved(x, index), place=self.tape.moved(x.place, index, x.box, Pad()))

    def _multiply(self, a: State, b: State, t: Product) -> State:
        boxes = a.box, b.box
        middles = Middles(boxes, t.off)
        rest = middles.rest()
        reads = [a.place, b.place, self.tape.root(rest)]
        place = self.tape.blended(reads, [*middles.factors, (1.0, 1.0, 0.0)], [*boxes, rest])
        return replace(super()._multiply(a, b, t), place=place)

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
        return self.tape.bent(read, box, lines, [*planes, np.stack([zero, zero, zero, fn.box[4], fn.box[5]])])


def _settled(box: Floats, env: Envelope, limits: tuple[float, float], plane: Floats) -> Bools:
    """Where nothing but a rounding is between d before and after, and no constant is as near to y."""
    step = np.maximum(env.lower, env.upper) * (1 + SAME) + SAME * np.abs(box[2:4]).max(axis=0)
    inside = (box[:4].min(axis=0) >= limits[0]) & (box[:4].max(axis=0) <= limits[1])
    only = np.maximum(plane[4], -plane[3]) <= step
    return np.asarray(inside & only & (env.ku - env.kl > 2 * step + (box[5] - box[4])))


def _still(box: Floats, env: Envelope, limits: tuple[float, float]) -> Bools:
    """Where x and y are constants."""
    x = np.clip(box[0], *limits) == np.clip(box[1], *limits)
    return np.asarray(x & (env.ku - env.kl <= SAME * np.abs(env.ku)))
