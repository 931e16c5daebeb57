# SPDX-License-Identifier: Apache-2.0
"""Backward substitution over pairs (notes 4.4): rows A_x x + A_d d of a tensor become rows of what it reads.

Every tensor is flat, rows are columns: A_x, A_d are (elements, rows) and stand for upper bounds. Computed
coefficients count as the true ones; what rounding did to them is paid for where they act (notes section 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .pair import Affine
from .pair_box import Box, Pad, centre
from .pair_float import Floats, Ints, slack, up

Factors = tuple[Floats, Floats, Floats]
EDGES = 32  # additions and readers beside the inner products themselves


def reach(box: Box) -> Floats:
    """Upper bounds of |x| + |d|, flat."""
    sides = [np.maximum(np.abs(low), np.abs(high)) for low, high in ((box.lx, box.ux), (box.ld, box.ud))]
    return up(sides[0] + sides[1]).ravel()


@dataclass
class Rows:
    """Coefficients of x and d of one tensor; `d` is None for rows that never read d."""

    x: Floats
    d: Floats | None

    def at(self, places: Ints) -> Rows:
        """The coefficients of some elements."""
        return Rows(self.x[places], None if self.d is None else self.d[places])

    def plus(self, other: Rows) -> Rows:
        """Both contributions to one tensor."""
        if self.d is None or other.d is None:
            return Rows(self.x + other.x, self.d if other.d is None else other.d)
        return Rows(self.x + other.x, self.d + other.d)


@dataclass
class Total:
    """What rows have collected: upper bounds of everything but the tensors still to come."""

    value: Floats
    joint: bool = False  # whether bends may bound elements together
    size: Floats = field(init=False)
    terms: int = 0

    def __post_init__(self) -> None:
        self.size = np.zeros_like(self.value)

    def add(self, value: Floats, size: Floats, terms: int) -> None:
        """A sum of `terms` products whose absolute values sum to `size`."""
        self.value, self.size = self.value + value, self.size + size
        self.terms = max(self.terms, terms) + 1

    def pay(self, error: Floats) -> None:
        """An error of this size, rounded up by the caller's slack."""
        self.add(error, error, 1)

    def bound(self) -> Floats:
        """Upper bounds, rounded outward."""
        return self.value + slack(self.terms + EDGES, self.size)


class Source(Protocol):
    """A tensor that was computed from others: `reads` are positions on the tape, `size` numbers a row at
    most, `work` multiply-adds a row."""

    reads: tuple[int, ...]
    size: int
    work: int

    def back(self, rows: Rows, total: Total) -> list[Rows]: ...


class Root:
    """A tensor known by its ranges alone: a network input, or a product."""

    reads: tuple[int, ...] = ()
    work = 0

    def __init__(self, box: Box) -> None:
        self.size, self.after = box.lx.size, box
        self._x, self._y, self._d = (
            tuple(part.reshape(-1, 1) for part in centre(*ends))
            for ends in ((box.lx, box.ux), (box.ly, box.uy), (box.ld, box.ud))
        )
        self._still = not (box.ld.any() or box.ud.any())

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        """Two of x, y, d determine the third: per element the best two."""
        (mx, rx), (my, ry), (md, rd) = self._x, self._y, self._d
        value = rows.x * mx + np.abs(rows.x) * rx
        size = np.abs(rows.x) * (np.abs(mx) + rx)
        if rows.d is not None and not self._still:
            other, both = rows.x - rows.d, rows.d - rows.x
            ways = (
                value + rows.d * md + np.abs(rows.d) * rd,
                other * mx + np.abs(other) * rx + rows.d * my + np.abs(rows.d) * ry,
                both * md + np.abs(both) * rd + rows.x * my + np.abs(rows.x) * ry,
            )
            value = np.minimum(np.minimum(ways[0], ways[1]), ways[2])
            most = np.abs(mx) + rx + np.abs(my) + ry + np.abs(md) + rd
            size = (np.abs(rows.x) + np.abs(rows.d)) * most
        total.add(value.sum(axis=0), size.sum(axis=0), len(value) + EDGES)
        return []


class Moved:
    """Elements at flat positions of the input; -1 reads padding."""

    def __init__(self, read: int, index: Ints, before: Box, pad: Pad) -> None:
        flat = index.ravel()
        self.reads: tuple[int, ...] = (read,)
        self.work, self._count = flat.size, before.lx.size
        self.size = max(self.work, self._count)
        self._outside = np.flatnonzero(flat < 0)
        inside = np.flatnonzero(flat >= 0)
        self._order = inside[np.argsort(flat[inside], kind="stable")]
        self._targets, self._starts, counts = np.unique(
            flat[self._order], return_index=True, return_counts=True
        )
        self._pad = Root(Box(*(np.full(1, end) for end in (pad.x, pad.x, *pad.y, *pad.d))))
        sizes = np.where(flat >= 0, reach(before)[np.maximum(flat, 0)], 0.0)
        self._more = slack(int(counts.max(initial=1)), sizes)

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        if self._outside.size:
            self._pad.back(rows.at(self._outside), total)
        size = np.abs(rows.x) if rows.d is None else np.abs(rows.x) + np.abs(rows.d)
        total.pay(self._more @ size)
        return [Rows(self._sums(rows.x), None if rows.d is None else self._sums(rows.d))]

    def _sums(self, part: Floats) -> Floats:
        """Of an element's coefficients, over all the places that read it."""
        out = np.zeros((self._count, part.shape[1]))
        if self._targets.size:
            out[self._targets] = np.add.reduceat(part[self._order], self._starts, axis=0)
        return out


class Blurred:
    """x + e and d - e, whatever e is, up to `by`: y does not move."""

    def __init__(self, read: int, by: Floats) -> None:
        self.reads: tuple[int, ...] = (read,)
        self.size = self.work = by.size
        self._by = by.ravel()

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        lost = self._by @ np.abs(rows.x if rows.d is None else rows.x - rows.d)
        total.add(lost, lost, len(self._by) + EDGES)
        return [rows]


class Joined:
    """Tensors one after the other; `places`: where each input's elements lie."""

    def __init__(self, reads: Sequence[int], places: Sequence[Ints]) -> None:
        self.reads, self._places, self.work = tuple(reads), places, 0
        self.size = sum(place.size for place in places)

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        del total
        return [rows.at(place) for place in self._places]


class Linear:
    """One affine pair: A_d' = V^T A_d, A_x' = W^T (A_x - A_d) + A_d'."""

    def __init__(self, read: int, terms: Affine, before: Box) -> None:
        groups, rows, inner = terms.w.shape
        places = before.lx.shape[-1]
        self.reads: tuple[int, ...] = (read,)
        self._shape = groups, rows, inner, places
        self.work, self.size = terms.w.size * places, groups * places * max(rows, inner)
        self._w, self._v = np.swapaxes(terms.w, 1, 2), np.swapaxes(terms.v, 1, 2)
        full = (groups, rows, places)
        self._b = np.broadcast_to(terms.b, full).ravel()
        self._shift = np.broadcast_to(terms.c - terms.b, full).ravel()
        carried = terms.size @ reach(before).reshape(groups, inner, places) + terms.offset
        self._more = slack(rows + EDGES, np.broadcast_to(carried, full).ravel())
        self._offset = np.broadcast_to(terms.offset, full).ravel()

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        value = self._b @ rows.x
        if rows.d is None:
            size, new = np.abs(rows.x), Rows(self._times(self._w, rows.x), None)
        else:
            size, value = np.abs(rows.x) + np.abs(rows.d), value + self._shift @ rows.d
            d = self._times(self._v, rows.d)
            new = Rows(self._times(self._w, rows.x - rows.d) + d, d)
        total.add(value, self._offset @ size, len(size))
        total.pay(self._more @ size)
        return [new]

    def _times(self, matrix: Floats, part: Floats) -> Floats:
        groups, rows, inner, places = self._shape
        return np.asarray(matrix @ part.reshape(groups, rows, -1)).reshape(groups * inner * places, -1)


class Scaled:
    """Element by element the sum over the inputs of x' = real * x, d' = v * d + e * x."""

    def __init__(self, reads: Sequence[int], factors: Sequence[Factors], boxes: Sequence[Box]) -> None:
        self.reads, self.work = tuple(reads), boxes[0].lx.size
        self.size = self.work
        self._factors = [tuple(part.reshape(-1, 1) for part in triple) for triple in factors]
        sizes = np.zeros(self.work)
        for triple, box in zip(self._factors, boxes, strict=True):
            sizes = sizes + np.abs(np.hstack(triple)).sum(axis=1) * reach(box)
        self._more = slack(EDGES, sizes)

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        total.pay(self._more @ (np.abs(rows.x) if rows.d is None else np.abs(rows.x) + np.abs(rows.d)))
        if rows.d is None:
            return [Rows(real * rows.x, None) for real, _, _ in self._factors]
        return [Rows(real * rows.x + e * rows.d, v * rows.d) for real, v, e in self._factors]


def upper_bounds(tape: Sequence[Source], start: int, rows: Rows, *, joint: bool = False) -> Floats:
    """Upper bounds of rows on the tensor at position `start`."""
    total, waiting = Total(np.zeros(rows.x.shape[1]), joint), {start: rows}
    for position in range(start, -1, -1):
        here = waiting.pop(position, None)
        if here is None:
            continue
        source = tape[position]
        for read, part in zip(source.reads, source.back(here, total), strict=True):
            waiting[read] = waiting[read].plus(part) if read in waiting else part
    return total.bound()
