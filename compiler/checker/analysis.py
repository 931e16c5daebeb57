# SPDX-License-Identifier: Apache-2.0
"""The bound: differential intervals, differential zonotope, or both, met after every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from .cover import Limit
from .envelopes import Entry, around, centre, cleared, quantised, rounding, scaled, stepped
from .files import need
from .forms import LIMIT, Change, Form, Pad, meet, tighten
from .pairs import Affine, Product, Rounding, Rows, Step, Sum, Table
from .pools import Maximum
from .products import linear, product
from .relax import Choice, Envelope, choose_step
from .rounding import TINY, Floats, Ints, U, above, below, slack, up
from .shares import Share
from .shares import lost as of_share
from .single import OVER, drifted, entered, inner, pointwise, reach
from .tables import Pointwise

FREE = (-np.inf, np.inf)


@dataclass(frozen=True)
class State:
    """Ranges, the form unless the analysis is of intervals only, the place on the tape if there is one."""

    box: Floats
    form: Form | None
    place: int = -1

    def gather(self, index: Ints, pad: Pad) -> State:
        """Flat positions; -1 reads pad."""
        fill = np.array([pad.x, pad.x, *pad.y, *pad.d]).reshape(6, *(1,) * index.ndim)
        box = np.where(index >= 0, self.box.reshape(6, -1)[:, np.maximum(index, 0)], fill)
        return State(box, self.form and self.form.gather(index, pad))

    def reshape(self, shape: tuple[int, ...]) -> State:
        """The same elements in another shape."""
        return State(self.box.reshape(6, *shape), self.form and self.form.reshape(shape), self.place)


class Nothing(Exception):
    """No input is in the piece."""


class Analysis:
    """One pass over all steps. `intervals`, `zonotope`: which rules are used; `single`: the float network is
    computed in float32."""

    def __init__(self, *, intervals: bool, zonotope: bool, single: bool = False) -> None:
        self.intervals, self.zonotope, self.single, self.fresh = intervals, zonotope, single, 0
        self.known: Mapping[str, Floats] = {}  # of the whole box, in a piece cut by neurons
        self.limits: tuple[Limit, ...] = ()

    def run(self, steps: list[Step], at: dict[str, Entry]) -> Iterator[tuple[str, Floats]]:
        """(value, box) in order; states are dropped after their last reader."""
        last = {name: i for i, step in enumerate(steps) for name in step.layer.inputs}
        states: dict[str, State] = {}
        for name, entry in at.items():
            state = self._enter(entry)
            states[name] = self._in_single(state, partial(entered, reach(state.box)))
            yield name, states[name].box
        for i, step in enumerate(steps):
            xs = [states[name] for name in step.layer.inputs]
            out = self._apply(step, xs)
            if step.layer.op in ("Add", "Mul", "Curve", "Table"):
                lost = partial(pointwise, [x.box for x in xs], out.box)
                out = self._in_single(out, lost)
            if step.layer.op == "Softmax":
                out = self._in_single(out, partial(np.full, step.shape, OVER * of_share(step.shape[-1])))
            out = self._held(step.layer.output, out)
            need(np.isfinite(out.box).all(), f"{step.layer.name}: no finite bound")
            yield step.layer.output, out.box
            states = {n: s for n, s in states.items() if last.get(n, -1) > i}
            states[step.layer.output] = out

    def _held(self, name: str, out: State) -> State:
        """Met with what is known, and with the limits of the piece."""
        limits = [limit for limit in self.limits if limit.value == name]
        box = meet(out.box, self.known[name]) if name in self.known else out.box
        if limits:
            ends = box.copy().reshape(6, -1)
            for limit in limits:
                low = 2 * limit.whole
                if limit.over:
                    ends[low, limit.at] = max(ends[low, limit.at], below(limit.place))
                else:
                    ends[low + 1, limit.at] = min(ends[low + 1, limit.at], above(limit.place))
            box = tighten(ends.reshape(box.shape))
        if self.limits and (box[::2] > box[1::2]).any():
            raise Nothing
        return replace(out, box=box)

    def _apply(self, step: Step, xs: list[State]) -> State:
        data: Any = step.data
        match step.layer.op:
            case "Conv" | "Dense" | "AveragePool":
                return self._sum(step, xs[0], data)
            case "Add":
                return self._add(xs[0], xs[1], data)
            case "MatMul":
                return self._rows(step, xs, data)
            case "Mul":
                return self._multiply(xs[0], xs[1], data)
            case "Requantise":
                return self._requantise(xs[0], data)
            case "MaxPool":
                return self._maximum(xs[0].gather(data, Pad())).reshape(step.shape)
            case "Curve" | "Table":
                return self._table(xs[0], data)
            case "Softmax":
                return self._share(xs[0], data)
            case "Concat":
                return self._concat(xs, data)
            case "Take" | "Transpose":
                return xs[0].gather(*data)
            case _:
                return xs[0].reshape(step.shape)

    def _enter(self, entry: Entry) -> State:
        box, env = quantised(entry)
        form = None
        if self.zonotope:
            (m, r), n, zero = centre(box[0], box[1]), box[0].size, box[4]
            wide = np.flatnonzero(r.ravel() > 0)
            g = np.zeros((2, wide.size, n))
            g[0, np.arange(wide.size), wide] = r.ravel()[wide]
            rest = np.stack([16 * U * (np.abs(m) + r) + TINY, zero + TINY])
            form = Form(
                np.stack([m, zero]),
                rest,
                g,
                np.arange(n).reshape(entry.shape),
                np.arange(wide.size) + self.fresh,
            )
            self.fresh += wide.size
        return self._step(State(box, form), env, FREE)

    def _step(self, x: State, env: Envelope, limits: tuple[float, float], box: Floats | None = None) -> State:
        """`box`: the ranges that the zonotope's rule starts from, where they are not the state's."""
        before = x.box if box is None else box
        after = stepped(before, env, limits)
        return self._changed(x.form, after, lambda form: choose_step(form, before, env, limits))

    def _met(self, form: Form | None, boxes: list[Floats]) -> State:
        """What the form implies, met with the interval rule's result."""
        if form is None:
            return State(boxes[0], None)
        implied = form.box(_nothing(form.at.shape))
        return State(meet(implied, boxes[0]) if boxes else implied, form)

    def _changed(self, form: Form | None, after: Floats, choose: Any) -> State:
        if form is None:
            return State(after, None)
        new = choose(form).of(form, self.fresh)
        self.fresh += new.ids.size - form.ids.size
        implied = new.box(after)
        return State(meet(implied, after) if self.intervals else implied, new)

    def _in_single(self, x: State, lost: Callable[[], Floats]) -> State:
        """What float32 makes of x."""
        return self._blurred(x, lost().reshape(x.box.shape[1:])) if self.single else x

    def _blurred(self, x: State, by: Floats) -> State:
        """x is off by at most `by` and y is not: a symbol each, unless the next step would lack room."""
        after, zero = tighten(drifted(x.box, by)), np.zeros_like(by)
        few = x.form is not None and (x.form.ids.size + 3 * by.size) * by.size <= LIMIT
        change = Change(zero + 1, zero, by, zero + 1, zero, zero - 1, zero, zero, (by > 0) & few)
        return self._changed(x.form, after, lambda _: change)

    def _read(self, x: State, t: Affine) -> State:
        """The terms of the sums."""
        return (self._truncate(x, t) if t.lost else x).gather(t.index, t.pad)

    def _sum(self, step: Step, x: State, t: Affine) -> State:
        x = self._read(x, t)
        lost = partial(inner, t.w, reach(x.box), *t.folded)
        return self._in_single(self._affine(x, t), lost).reshape(step.shape)

    def _affine(self, x: State, t: Affine) -> State:
        terms, size, box, boxes = 2 * t.w.shape[2] + 2, np.abs(t.v) + np.abs(t.w), x.box, []
        w, v, e = np.abs(t.w), np.abs(t.v), np.abs(t.e)
        shift = t.c - t.b
        if self.intervals:
            (mx, rx), (my, ry), (md, rd) = (centre(box[i], box[i + 1]) for i in (0, 2, 4))
            more = slack(terms, size @ (np.abs(mx) + rx + np.abs(my) + ry + np.abs(md) + rd) + t.offset)
            first = around(t.v @ md + t.e @ mx + shift, v @ rd + e @ rx + more)
            second = around(t.w @ md + t.e @ my + shift, w @ rd + e @ ry + more)
            xs, ys = around(t.w @ mx + t.b, w @ rx + more), around(t.v @ my + t.c, v @ ry + more)
            ends = [*xs, *ys, np.maximum(first[0], second[0]), np.minimum(first[1], second[1])]
            boxes.append(tighten(np.stack(ends)))
        form = None
        if x.form is not None:
            n = t.w.shape[0] * t.w.shape[1] * t.index.shape[2]
            f = x.form.reduced(LIMIT // n)
            more = slack(terms, size @ (np.abs(f.c) + f.radius()).sum(axis=0) + t.offset)
            c = np.stack([t.w @ f.c[0] + t.b, t.v @ f.c[1] + t.e @ f.c[0] + shift])
            r = np.stack([up(w @ f.r[0] + more), up(v @ f.r[1] + e @ f.r[0] + more)])
            form = Form(c, r, self._products(f, t, n), np.arange(n).reshape(c.shape[1:]), f.ids)
        return self._met(form, boxes)

    def _products(self, f: Form, t: Affine, n: int) -> Floats:
        g = np.empty((2, f.ids.size, n))
        chunk = max(1, (1 << 22) // max(f.at.size, 1))
        for i in range(0, f.ids.size, chunk):
            rows, out = f.rows(i, i + chunk), g[:, i : i + chunk]
            if t.index.shape[2] == 1 and len(t.w) == 1:  # one matrix product instead of one per symbol
                flat = rows.reshape(2, rows.shape[1], t.w.shape[2])
                out[0] = flat[0] @ t.w[0].T
                out[1] = flat[1] @ t.v[0].T + flat[0] @ t.e[0].T
            else:
                out[0] = (t.w @ rows[0]).reshape(-1, n)
                out[1] = (t.v @ rows[1] + t.e @ rows[0]).reshape(-1, n)
        return g

    def _add(self, a: State, b: State, t: Sum) -> State:
        zero, boxes = np.zeros_like(a.box[0]), []
        if self.intervals:
            plans = (
                [(0, 1.0, t.sign)],
                [(2, *t.factors)],
                [(4, *t.factors), (0, *t.excess)],
                [(4, 1.0, t.sign), (2, *t.excess)],
            )
            found = []
            for plan in plans:
                m, r, size = zero, zero, zero
                for kind, *factors in plan:
                    for box, factor in zip((a.box, b.box), factors, strict=True):
                        mid, far = centre(box[kind], box[kind + 1])
                        m, r = m + factor * mid, r + abs(factor) * far
                        size = size + abs(factor) * (np.abs(mid) + far)
                found.append(around(m, r + slack(4, size)))
            x, y, one, two = found
            boxes.append(tighten(np.stack([*x, *y, np.maximum(one[0], two[0]), np.minimum(one[1], two[1])])))
        if a.form is None or b.form is None:
            return State(boxes[0], None)
        n, shape = zero.size, zero.shape
        forms = a.form.reduced(LIMIT // n), b.form.reduced(LIMIT // n)
        ids = np.union1d(forms[0].ids, forms[1].ids)
        g, c, r = np.zeros((2, ids.size, n)), np.zeros((2, *shape)), np.zeros((2, *shape))
        for f, k, v, e in zip(forms, (1.0, t.sign), t.factors, t.excess, strict=True):
            rows, at = f.rows().reshape(2, f.ids.size, n), np.searchsorted(ids, f.ids)
            g[0, at] += k * rows[0]
            g[1, at] += v * rows[1] + e * rows[0]
            more = slack(8, (1 + abs(v) + abs(e)) * (np.abs(f.c) + f.radius()).sum(axis=0))
            c = c + np.stack([k * f.c[0], v * f.c[1] + e * f.c[0]])
            r = r + np.stack([f.r[0] + more, abs(v) * f.r[1] + abs(e) * f.r[0] + more])
        form = Form(c, up(r), g, np.arange(n).reshape(shape), ids)
        return self._met(form, boxes)

    def _multiply(self, a: State, b: State, t: Product) -> State:
        boxes = [product(a.box, b.box, t.off)] if self.intervals else []
        if a.form is None or b.form is None:
            return State(boxes[0], None)
        return self._met(linear(a.form, b.form, (a.box, b.box), t.off), boxes)

    def _rows(self, step: Step, xs: list[State], t: Rows) -> State:
        a, b = (self._moved(x, at) for x, at in zip(xs, (t.a, t.b), strict=True))
        products = self._multiply(a, b, t.product)
        lost = partial(pointwise, [a.box, b.box], products.box)
        return self._sum(step, self._in_single(products, lost), t.sums)

    def _moved(self, x: State, index: Ints) -> State:
        return x.gather(index, Pad())

    def _concat(self, xs: list[State], axis: int) -> State:
        box = np.concatenate([x.box for x in xs], axis + 1)
        if any(x.form is None for x in xs):
            return State(box, None)
        places, at = np.arange(box[0].size).reshape(box[0].shape), 0
        forms = [x.form.reduced(LIMIT // (box[0].size * len(xs))) for x in xs if x.form is not None]
        ids = np.unique(np.concatenate([f.ids for f in forms]))
        g = np.zeros((2, ids.size, box[0].size))
        for f in forms:
            here = np.moveaxis(places, axis, 0)[at : at + f.at.shape[axis]]
            at += f.at.shape[axis]
            to = np.moveaxis(here, 0, axis).ravel()
            rows = f.rows().reshape(2, f.ids.size, to.size)
            for k, symbol in enumerate(np.searchsorted(ids, f.ids)):
                g[:, symbol, to] = rows[:, k]
        c, r = (np.concatenate([getattr(f, part) for f in forms], axis + 1) for part in ("c", "r"))
        return State(box, Form(c, r, g, places, ids))

    def _requantise(self, x: State, t: Rounding) -> State:
        env = rounding(t, x.box)
        if t.gain is None:
            return self._step(x, env, t.limits)
        (gain, excess), zero = t.gain, np.zeros(x.box.shape[1:])
        boxes = [stepped(scaled(x.box, t.gain), env, t.limits)] if self.intervals else []
        if x.form is None:
            return State(boxes[0], None)
        form = Change(zero + 1, zero, zero, gain, excess, zero, zero, zero, zero > 0).of(x.form, self.fresh)
        state = self._step(State(form.box(_nothing(zero.shape)), form), env, t.limits)
        return State(meet(state.box, boxes[0]), state.form) if boxes else state

    def _truncate(self, x: State, t: Affine) -> State:
        return self._step(x, cleared(t, x.box), FREE)

    def _maximum(self, x: State) -> State:
        pool = Maximum(x.box)
        if x.form is None:
            return State(pool.box, None)
        chosen = x.form.gather(pool.star, Pad())
        return self._changed(chosen, pool.box, lambda form: pool.choose(x.form, form))

    def _share(self, x: State, t: Share) -> State:
        """By ranges alone, with symbols of their own."""
        after, zero = t.box(x.box), np.zeros(x.box.shape[1:])
        mid, half = centre(after[0], after[1])

        def choose(form: Form) -> Change:
            choice = Choice(form, half)
            choice.offer(zero, zero, zero, (after[4], after[5]))
            return choice.change(zero, mid, half > 0)

        return self._changed(x.form, after, choose)

    def _table(self, x: State, t: Table) -> State:
        fn = Pointwise(t, x.box)

        def choose(form: Form) -> Change:
            lam, mid, half, offers = fn.forms()
            choice = Choice(form, half)
            for offer in offers:
                choice.offer(*offer)
            return choice.change(lam, mid, half > 0)

        return self._changed(x.form, fn.box, choose)


def _nothing(shape: tuple[int, ...]) -> Floats:
    """The box that says nothing (finite: no arithmetic on infinities)."""
    high = np.full(shape, 1e300)
    return np.stack([-high, high] * 3)
