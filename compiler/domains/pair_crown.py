# SPDX-License-Identifier: Apache-2.0
"""Differential CROWN (notes 4.4): interval and zonotope side by side, and after every sum the bounds that
backward substitution to the input gives, from ranges to ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from .pair import Affine, Entry, PairDomain, Product, Rounding, Step, Sum, cut
from .pair_back import Blurred, Joined, Linear, Moved, Patches, Root, Rows, Scaled, Source, Total
from .pair_box import NOTHING, Box, Pad
from .pair_float import Floats, Ints, down, up
from .pair_forms import Forms
from .pair_interval import FREE, PairInterval, scaled_up
from .pair_joint import joint_of
from .pair_lines import Bent, bent_step, bent_table, largest
from .pair_multiply import linear
from .pair_product import PairProduct
from .pair_softmax import Itself, Sums
from .pair_squares import ROWS, WORK, Halves, halves_of, squares_of, worth
from .pair_table import Pointwise
from .pair_vertex import Envelope
from .pair_window import BUDGET, Passes, blocks, upper_bounds, window

CHUNK = 1 << 20  # numbers in one matrix of coefficients
Kinds = tuple[tuple[int, int], ...]
KINDS: Kinds = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1))  # upper and lower bounds of x, d and y


@dataclass(frozen=True)
class Traced:
    """A state of the product, or ranges alone, and where its tensor stands on the tape."""

    forms: Forms | Box
    place: int


class PairCrown:
    """Every word: the product's rule, and an entry on the tape that backward passes read.

    `only_x`: intervals' rule instead, and passes for x alone. They take a tenth of the time, for pieces that
    differ from what is known of their y and d in x only. `at_once`: rows of few outputs meet whole bends.
    """

    def __init__(self, *, only_x: bool = False, at_once: bool = True, passes: Passes | None = None) -> None:
        self._product: PairDomain[Any] = PairInterval() if only_x else PairProduct()
        self.only_x, self._kinds = only_x, KINDS[:2] if only_x else KINDS
        self.at_once = at_once and not only_x
        self._tape: list[Source] = []
        self._passes = passes or Passes(BUDGET)
        self._halves: list[Halves] = []

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
        whole = np.moveaxis(np.arange(forms.box.lx.size).reshape(forms.shape), axis, 0)
        ends = np.cumsum([x.forms.shape[axis] for x in xs])[:-1]
        places = [np.moveaxis(part, 0, axis).ravel() for part in np.split(whole, ends)]
        return Traced(forms, self._put(Joined([x.place for x in xs], places)))

    def affine(self, x: Traced, terms: Affine) -> Traced:
        sums, before = Linear(x.place, terms, x.forms.box), self._tape[x.place]
        place = self._put(Patches(sums, before) if isinstance(before, Moved) else sums)
        forms = self._product.affine(x.forms, terms)
        return self._refined(forms, place, forms.shape[-1])

    def add(self, a: Traced, b: Traced, terms: Sum) -> Traced:
        one = np.ones(a.forms.box.lx.size)
        triples = zip(terms.real, terms.factors, terms.excess, strict=True)
        factors = [(real * one, v * one, e * one) for real, v, e in triples]
        place = self._put(Scaled([a.place, b.place], factors, [a.forms.box, b.forms.box]))
        forms = self._product.add(a.forms, b.forms, terms)
        return self._refined(forms, place, prod(forms.shape[1:]))

    def multiply(self, a: Traced, b: Traced, terms: Product) -> Traced:
        boxes = a.forms.box, b.forms.box
        around, one = linear(*boxes, terms), np.ones(a.forms.box.lx.size)
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
        after = self._product.requantise(x.forms, terms, limits)
        if terms.plain and isinstance(x.forms, Forms):
            joint = joint_of(x.forms, box, envelope, limits)
            step.together(joint)
            if self.at_once and joint is not None and worth(x.forms, joint):
                step.squares = squares_of(x.forms, joint, box, envelope, limits, self._halves)
                self._halves += halves_of(x.forms, after, joint)
        return Traced(after, self._put(step))

    def truncate(self, x: Traced, step: Step) -> Traced:
        bent = bent_step(x.place, x.forms.box, cut(step, x.forms.box), FREE)
        return Traced(self._product.truncate(x.forms, step), self._put(bent))

    def max(self, x: Traced, axis: int) -> Traced:
        """The larger of two, of the larger ones of two pairs, and so on."""
        each = []
        for tap in np.moveaxis(np.arange(x.forms.box.lx.size).reshape(x.forms.shape), axis, 0):
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

    def softmax(self, x: Traced, terms: Itself) -> Traced:
        """Rows end here, at its ranges and its sums."""
        forms = self._product.softmax(x.forms, terms)
        return Traced(forms, self._put(Sums(forms.box, terms.off)))

    def blurred(self, x: Traced, by: Floats) -> Traced:
        return Traced(self._product.blurred(x.forms, by), self._put(Blurred(x.place, by)))

    def ranges(self, x: Traced) -> Box:
        return x.forms.box

    def within(self, x: Traced, box: Box) -> Traced:
        """Of inputs at which x lies in these ranges."""
        return Traced(x.forms.known(x.forms.box.meet(box).tighten()), x.place)

    def rows_behind(self, place: int, rows: Rows) -> dict[int, Rows]:
        """What these rows of a tensor are in each tensor that it is computed from."""
        seen: dict[int, Rows] = {}
        upper_bounds(self._tape, place, rows, seen=seen)
        return seen

    def on(self, place: int, earlier: int, x: Floats) -> tuple[Floats, Floats] | None:
        """Rows of x of a tensor (elements, rows) as rows of an earlier one, and upper bounds of what is to be
        added; None where they read another one as well."""
        total, waiting = Total(np.zeros(x.shape[1])), {place: Rows(x, None)}
        for position in range(place, earlier, -1):
            if position not in waiting:
                continue
            source = self._tape[position]
            if not source.reads:
                return None
            for read, part in zip(source.reads, source.back(waiting.pop(position), total), strict=True):
                waiting[read] = waiting[read].plus(part) if read in waiting else part
        return (waiting[earlier].x, total.bound()) if set(waiting) == {earlier} else None

    def _put(self, source: Source) -> int:
        self._tape.append(source)
        return len(self._tape) - 1

    def _larger(self, a: int, of_a: Box, b: int, of_b: Box) -> tuple[int, Box]:
        """max(a, b) = b + relu(a - b), on both sides."""
        one = np.ones(of_a.lx.size)
        gap = self._put(Scaled([a, b], [(one, one, 0 * one), (-one, -one, 0 * one)], [of_a, of_b]))
        apart = self._narrowed(gap, difference(of_a, of_b), of_a.shape[-1])
        bend = Envelope(0.0, 0.0, np.maximum(apart.ly, 0.0), np.maximum(apart.uy, 0.0))
        more = self._put(bent_step(gap, apart, bend, (0.0, np.inf)))
        out = self._put(Scaled([b, more], [(one, one, 0 * one)] * 2, [of_b, apart]))
        return out, PairInterval().max(
            Box.concat([x.reshape((1, *of_a.lx.shape)) for x in (of_a, of_b)], 0), 0
        )

    def _refined(self, forms: Forms | Box, place: int, places: int) -> Traced:
        return Traced(forms.known(self._narrowed(place, forms.box, places)), place)

    def _narrowed(self, place: int, box: Box, places: int) -> Box:
        """Ranges met with those of backward passes, where these are cheap enough, else of passes of x alone:
        deep in a network y and d may be lost while x is not."""
        if self.at_once and not self.only_x and box.lx.size <= ROWS:
            one, shape = np.eye(box.lx.size), box.lx.shape
            ends = [self._squared(place, sign * one).reshape(shape) for sign in (1.0, -1.0)]
            box = replace(box, ud=np.minimum(box.ud, ends[0]), ld=np.maximum(box.ld, -ends[1]))
        each, n, kinds, passes = list(blocks(box.lx.size, places)), box.lx.size, self._kinds, self._passes
        _, parts = window(self._tape, place, each[len(each) // 2], n)
        row = sum(part.work for part in parts.values())
        together = sum(joint.work for at in parts if (joint := getattr(self._tape[at], "joint", None)))
        once, twice = len(kinds) * n * row, len(kinds) * n * (row + together)
        found = None
        if passes.admit(once):
            if together and passes.admit(twice, once):
                found = self._passed(place, box, each, kinds, (twice, once), joint=True)
            if found is None:  # stopped, a pass that costs little is made in any case
                found = self._passed(place, box, each, kinds, (once, 0))
            passes.done += found is not None and passes.done < passes.most
        if found is None and passes.admit(2 * n * row, of_x=True):
            found = self._passed(place, box, each, KINDS[:2], (2 * n * row, 0))
        if found is None:
            return box
        ux, lx, ud, ld, uy, ly = found.reshape(-1, *box.lx.shape)
        return box.meet(Box(-lx, ux, -ly, uy, -ld, ud)).tighten()

    def _passed(
        self,
        place: int,
        box: Box,
        each: Sequence[Ints],
        kinds: Kinds,
        costs: tuple[int, int],
        *,
        joint: bool = False,
    ) -> Floats | None:
        """Upper bounds of some of KINDS, block by block, at these costs; None where that is stopped."""
        found = np.full((len(KINDS), box.lx.size), np.inf)
        for i, block in enumerate(each):
            if self._passes.stopped(costs[0], i / len(each), of_x=kinds == KINDS[:2]):
                return None
            held, parts = window(self._tape, place, block, box.lx.size)
            inside = np.searchsorted(held, block)
            chunk = max(1, CHUNK // max(part.size for part in parts.values()))
            for first in range(0, block.size, chunk):
                at = inside[first : first + chunk]
                one = np.zeros((held.size, at.size))
                one[at, np.arange(at.size)] = 1.0
                for kind, (x, d) in enumerate(kinds):
                    rows_of = Rows(x * one, d * one if d else None)
                    best = upper_bounds(parts, place, rows_of)
                    if joint and d:
                        best = np.minimum(best, upper_bounds(parts, place, rows_of, joint=True))
                    found[kind, block[first : first + chunk]] = best
        self._passes.spent += sum(costs)
        return found

    def _squared(self, place: int, d: Floats) -> Floats:
        """Rows of d bounded with a whole bend together, the first on their way that has enough elements."""
        total, rows = Total(np.zeros(len(d))), Rows(0.0 * d, d)
        while len(self._tape[place].reads) == 1:
            source = self._tape[place]
            if isinstance(source, Bent) and source.squares is not None:
                cheap = source.squares.work(2 * len(d)) <= WORK
                return source.squared(rows, total) if cheap else np.full(len(d), np.inf)
            (rows,), (place,) = source.back(rows, total), source.reads
        return np.full(len(d), np.inf)


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
