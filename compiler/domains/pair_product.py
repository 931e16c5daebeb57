# SPDX-License-Identifier: Apache-2.0
"""Intervals and zonotope side by side, their ranges intersected after every word: the certifier's default."""

from __future__ import annotations

from collections.abc import Sequence

from .pair import Affine, Entry, Product, Rounding, Step, Sum
from .pair_box import Box, Pad
from .pair_float import Floats, Ints
from .pair_forms import Forms
from .pair_interval import PairInterval
from .pair_softmax import Itself
from .pair_table import Pointwise
from .pair_zonotope import PairZonotope


class PairProduct:
    """The state is a Forms whose box is the intersection; the interval rules start from that box."""

    def __init__(self) -> None:
        self._interval, self._zonotope = PairInterval(), PairZonotope()

    def enter(self, entry: Entry) -> Forms:
        return met(self._zonotope.enter(entry), self._interval.enter(entry))

    def gather(self, x: Forms, index: Ints, pad: Pad) -> Forms:
        return x.gather(index, pad)

    def reshape(self, x: Forms, shape: tuple[int, ...]) -> Forms:
        return x.reshape(shape)

    def concat(self, xs: Sequence[Forms], axis: int) -> Forms:
        return self._zonotope.concat(xs, axis)

    def affine(self, x: Forms, terms: Affine) -> Forms:
        return met(self._zonotope.affine(x, terms), self._interval.affine(x.box, terms))

    def add(self, a: Forms, b: Forms, terms: Sum) -> Forms:
        return met(self._zonotope.add(a, b, terms), self._interval.add(a.box, b.box, terms))

    def multiply(self, a: Forms, b: Forms, terms: Product) -> Forms:
        return met(self._zonotope.multiply(a, b, terms), self._interval.multiply(a.box, b.box, terms))

    def requantise(self, x: Forms, terms: Rounding, limits: tuple[float, float]) -> Forms:
        return met(
            self._zonotope.requantise(x, terms, limits), self._interval.requantise(x.box, terms, limits)
        )

    def truncate(self, x: Forms, step: Step) -> Forms:
        return met(self._zonotope.truncate(x, step), self._interval.truncate(x.box, step))

    def max(self, x: Forms, axis: int) -> Forms:
        return met(self._zonotope.max(x, axis), self._interval.max(x.box, axis))

    def table(self, x: Forms, terms: Pointwise) -> Forms:
        return met(self._zonotope.table(x, terms), self._interval.table(x.box, terms))

    def softmax(self, x: Forms, terms: Itself) -> Forms:
        return met(self._zonotope.softmax(x, terms), self._interval.softmax(x.box, terms))

    def blurred(self, x: Forms, by: Floats) -> Forms:
        return met(self._zonotope.blurred(x, by), self._interval.blurred(x.box, by))

    def ranges(self, x: Forms) -> Box:
        return x.box


def met(x: Forms, box: Box) -> Forms:
    """Forms with a box that holds the truth as well."""
    return x.known(x.box.meet(box).tighten())
