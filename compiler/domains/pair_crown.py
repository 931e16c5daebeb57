# SPDX-License-Identifier: Apache-2.0
"""Differential CROWN (notes 4.4): interval and zonotope side by side, and after every sum the bounds that
backward substitution to the input gives, from ranges to ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .pair import Affine, Entry, Product, Rounding, Step, Sum, cut
from .pair_back import Blurred, Joined, Linear, Moved, Root, Rows, Scaled, Source, upper_bounds
from .pair_box import NOTHING, Box, Pad
from .pair_float import Floats, Ints, down, up
from .pair_forms import Forms
from .pair_interval import FREE, PairInterval, scaled_up
from .pair_joint import joint_of
from .pair_lines import bent_step, bent_table, largest
from .pair_multiply import linear
from .pair_product import PairProduct
from .pair_table import Pointwise
from .pair_vertex import Envelope

BUDGET = 1 << 32  # multiply-adds of all backward passes; one of them takes a quarter of what is left at most
CHUNK = 1 << 20  # numbers in one matrix of coefficients
KINDS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1))  # upper and lower bounds of x, d and y


@dataclass(frozen=True)
class Traced:
    """A state of the product, and where its tensor stands on the tape."""

    forms: Forms
    place: int


class PairCrown:
    """Every word: the product's rule, and an entry on the tape that backward passes read."""

    def __init__(self) -> None:
        self._product = PairProduct()
        self._tape: list[Source] = []
        self._left = BUDGET

    def enter(self, entry: Entry) -> Traced:
        box = entry.box()
        root = self._put(Root(box))
        return Traced(self._product.enter(entry), self._put(bent_step(root, box, entry.envelope(), FREE)))

    def gather(self, x: Traced, index: Ints, pad: Pad) -> Traced:
        place = self._put(Moved(x.place, index, x.forms.box, pad))
        return Traced(self._product.gather(x.forms, index, pad), place)

    def reshape(self, x: Traced, shape: tuple[int, ...]) -> Traced:
        return Traced(self._product.reshape(x.forms, shape), x.place)

    def concat(self, xs: Sequence[Traced], axis: int) -> Traced:
        forms = self._product.concat([x.forms for x in xs], axis)
        whole = np.moveaxis(np.arange(forms.cx.size).reshape(forms.shape), axis, 0)
        ends = np.cumsum([x.forms.shape[axis] for x in xs])[:-1]
        places = [np.moveaxis(part, 0, axis).ravel() for part in np.split(whole, ends)]
        return Traced(forms, self._put(Joined([x.place for x in xs], places)))

    def affine(self, x: Traced, terms: Affine) -> Traced:
        place = self._put(Linear(x.place, terms, x.forms.box))
        return self._refined(self._product.affine(x.forms, terms), place)

    def add(self, a: Traced, b: Traced, terms: Sum) -> Traced:
        one = np.ones(a.forms.cx.size)
        triples = zip(terms.real, terms.factors, terms.excess, strict=True)
        factors = [(real * one, v * one, e * one) for real, v, e in triples]
        place = self._put(Scaled([a.place, b.place], factors, [a.forms.box, b.forms.box]))
        return self._refined(self._product.add(a.forms, b.forms, terms), place)

    def multiply(self, a: Traced, b: Traced, terms: Product) -> Traced:
        boxes = a.forms.box, b.forms.box
        around, one = linear(*boxes, terms), np.ones(a.forms.cx.size)
        rest = around.rest()
        reads, factors = [a.place, b.place, self._put(Root(rest))], [*around.factors, (one, one, 0 * one)]
        place = self._put(Scaled(reads, factors, [*boxes, rest]))
        return Traced(self._product.multiply(a.forms, b.forms, terms), place)

    def requantise(self, x: Traced, terms: Rounding, limits: tuple[float, float]) -> Traced:
        before, place = x.forms.box, x.place
        if not terms.plain:
            place = self._put(
                Scaled([place], [(np.ones_like(terms.gain), terms.gain, terms.excess)], [before])
            )
        box, envelope = scaled_up(before, terms), terms.envelope(terms.ends(before))
        step = bent_step(place, box, envelope, limits)
        step.joint = joint_of(self._tape, place, box, envelope, limits)
        return Traced(self._product.requantise(x.forms, terms, limits), self._put(step))

    def truncate(self, x: Traced, step: Step) -> Traced:
        bent = bent_step(x.place, x.forms.box, cut(step, x.forms.box), FREE)
        return Traced(self._product.truncate(x.forms, step), self._put(bent))

    def max(self, x: Traced, axis: int) -> Traced:
        """The larger of two, of the larger ones of two pairs, and so on."""
        each = []
        for tap in np.moveaxis(np.arange(x.forms.cx.size).reshape(x.forms.shape), axis, 0):
            box = x.forms.box.gather(tap)
            each.append((self._put(Moved(x.place, tap, x.forms.box, NOTHING)), box))
        while len(each) > 1:
            pairs = [self._larger(*each[i], *each[i + 1]) for i in range(0, len(each) - 1, 2)]
            each = pairs + each[2 * len(pairs) :]
        forms, box = self._product.max(x.forms, axis), x.forms.box
        over = np.maximum(
            box.ux - box.lx.max(axis=axis, keepdims=True), box.uy - box.ly.max(axis=axis, keepdims=True)
        )
        single = (over > 0).sum(axis=axis) <= 1
        return Traced(forms, self._put(largest(each[0][0], forms.box, single)))

    def table(self, x: Traced, terms: Pointwise) -> Traced:
        place = self._put(bent_table(x.place, x.forms.box, terms))
        return Traced(self._product.table(x.forms, terms), place)

    def blurred(self, x: Traced, by: Floats) -> Traced:
        return Traced(self._product.blurred(x.forms, by), self._put(Blurred(x.place, by)))

    def ranges(self, x: Traced) -> Box:
        return x.forms.box

    def _put(self, source: Source) -> int:
        self._tape.append(source)
        return len(self._tape) - 1

    def _larger(self, a: int, of_a: Box, b: int, of_b: Box) -> tuple[int, Box]:
        """max(a, b) = b + relu(a - b), on both sides."""
        one = np.ones(of_a.lx.size)
        gap = self._put(Scaled([a, b], [(one, one, 0 * one), (-one, -one, 0 * one)], [of_a, of_b]))
        apart = self._narrowed(gap, difference(of_a, of_b))
        bend = Envelope(0.0, 0.0, np.maximum(apart.ly, 0.0), np.maximum(apart.uy, 0.0))
        more = self._put(bent_step(gap, apart, bend, (0.0, np.inf)))
        out = self._put(Scaled([b, more], [(one, one, 0 * one)] * 2, [of_b, apart]))
        return out, PairInterval().max(
            Box.concat([x.reshape((1, *of_a.lx.shape)) for x in (of_a, of_b)], 0), 0
        )

    def _refined(self, forms: Forms, place: int) -> Traced:
        return Traced(forms.known(self._narrowed(place, forms.box)), place)

    def _narrowed(self, place: int, box: Box) -> Box:
        """Ranges met with those of backward passes, where these are cheap enough."""
        behind = self._behind(place)
        work = len(KINDS) * box.lx.size * sum(self._tape[at].work for at in behind)
        if work > self._left // 4:
            return box
        self._left -= work
        together = sum(joint.work for at in behind if (joint := getattr(self._tape[at], "joint", None)))
        more = work + len(KINDS) * box.lx.size * together
        joint = together > 0 and more <= self._left // 4
        self._left -= more if joint else 0
        found = np.empty((len(KINDS), box.lx.size))
        chunk = max(1, CHUNK // max(self._tape[at].size for at in behind))
        for first in range(0, box.lx.size, chunk):
            one = np.eye(box.lx.size, min(chunk, box.lx.size - first), -first)
            for kind, (x, d) in enumerate(KINDS):
                rows = Rows(x * one, d * one if d else None)
                best = upper_bounds(self._tape, place, rows)
                if joint and d:
                    best = np.minimum(best, upper_bounds(self._tape, place, rows, joint=True))
                found[kind, first : first + chunk] = best
        ux, lx, ud, ld, uy, ly = found.reshape(-1, *box.lx.shape)
        return box.meet(Box(-lx, ux, -ly, uy, -ld, ud)).tighten()

    def _behind(self, place: int) -> set[int]:
        """Positions on the tape that a tensor is computed from, its own among them."""
        seen: set[int] = set()
        todo = [place]
        while todo:
            position = todo.pop()
            if position not in seen:
                seen.add(position)
                todo += self._tape[position].reads
        return seen


def difference(a: Box, b: Box) -> Box:
    """Ranges of a - b."""
    return Box(
        down(a.lx - b.ux),
        up(a.ux - b.lx),
        down(a.ly - b.uy),
        up(a.uy - b.ly),
        down(a.ld - b.ud),
        up(a.ud - b.ld),
    ).tighten()
