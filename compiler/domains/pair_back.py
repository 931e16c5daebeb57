# SPDX-License-Identifier: Apache-2.0
"""Backward substitution over pairs (notes 4.4): rows A_x x + A_d d of a tensor become rows of what it reads.

Every tensor is flat, rows are columns: A_x, A_d are (elements, rows) and stand for upper bounds. Computed
coefficients count as the true ones; what rounding did to them is paid for where they act (notes section 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from .pair import Affine
from .pair_box import Box, Pad, centre
from .pair_float import Floats, Ints, slack, up

Kind = TypeVar("Kind")
Factors = tuple[Floats, Floats, Floats]
EDGES = 32  # additions and readers beside the inner products themselves


def reach(box: Box) -> Floats:
    """Upper bounds of |x| + |d|, flat."""
    sides = [np.maximum(np.abs(low), np.abs(high)) for low, high in ((box.lx, box.ux), (box.ld, box.ud))]
    return up(sides[0] + sides[1]).ravel()


def varied(source: Kind, **parts: Any) -> Kind:
    """The same with other parts."""
    new = copy(source)
    vars(new).update(parts)
    return new


@dataclass
class Rows:
    """Coefficients of x and d of one tensor; `d` is None for rows that never read d."""

    x: Floats
    d: Floats | None

    def at(self, places: Ints) -> Rows:
        """The coefficients of some elements."""
        return Rows(self.x[places], None if self.d is None else self.d[places])

    def spread(self, into: Ints, size: int) -> Rows:
        """The same rows of a tensor of `size` elements, of which these are some."""
        parts = [None if part is None else np.zeros((size, part.shape[1])) for part in (self.x, self.d)]
        for new, old in zip(parts, (self.x, self.d), strict=True):
            if new is not None:
                new[into] = old
        assert parts[0] is not None
        return Rows(parts[0], parts[1])

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


class Back(Protocol):
    """A tensor that was computed from others: `reads` are positions on the tape, `size` numbers a row at
    most, `work` multiply-adds a row."""

    reads: tuple[int, ...]
    size: int
    work: int

    def back(self, rows: Rows, total: Total) -> list[Rows]: ...


class Source(Back, Protocol):
    """All of a tensor. `window`: some elements (sorted) as far as the source can tell them from others, what
    they read of each input, and the source of these alone."""

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Back]: ...


class Root:
    """A tensor known by its ranges alone: a network input, or a product."""

    reads: tuple[int, ...] = ()
    work = 0

    def __init__(self, box: Box) -> None:
        self.size = box.lx.size
        self._x, self._y, self._d = (
            tuple(part.reshape(-1, 1) for part in centre(*ends))
            for ends in ((box.lx, box.ux), (box.ly, box.uy), (box.ld, box.ud))
        )
        self.far = bool(reach(box).any())  # whether it can be anything but 0
        self._still = not (box.ld.any() or box.ud.any())

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Root]:
        x, y, d = ((middle[at], far[at]) for middle, far in (self._x, self._y, self._d))
        return at, [], varied(self, size=at.size, _x=x, _y=y, _d=d)

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        value, size = self.most(rows)
        total.add(value.sum(axis=0), size.sum(axis=0), len(value) + EDGES)
        return []

    def most(self, rows: Rows) -> tuple[Floats, Floats]:
        """Per element, and magnitudes. Two of x, y, d determine the third: per element the best two."""
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
        return value, size


class Moved:
    """Elements at flat positions of the input; -1 reads padding."""

    def __init__(self, read: int, index: Ints, before: Box, pad: Pad) -> None:
        outside = Root(Box(*(np.full(1, end) for end in (pad.x, pad.x, *pad.y, *pad.d))))
        self._set(read, index.ravel(), reach(before), outside)

    def _set(self, read: int, flat: Ints, sizes: Floats, pad: Root) -> None:
        self.reads: tuple[int, ...] = (read,)
        self.flat, self._reach, self._pad, self.count = flat, sizes, pad, sizes.size
        self.silent = not self._pad.far
        self.work, self.size = flat.size, max(flat.size, self.count)
        self._outside = np.flatnonzero(flat < 0)
        inside = np.flatnonzero(flat >= 0)
        self._order = inside[np.argsort(flat[inside], kind="stable")]
        self._targets, self._starts, counts = np.unique(
            flat[self._order], return_index=True, return_counts=True
        )
        sizes = np.append(self._reach, 0.0)[flat]  # -1: padding
        self._more = slack(int(counts.max(initial=1)), sizes)

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Moved]:
        flat = self.flat[at]
        used = np.zeros(self.count, bool)
        used[flat[flat >= 0]] = True
        read, place = np.flatnonzero(used), np.cumsum(used) - 1
        part = copy(self)
        part._set(self.reads[0], np.where(flat >= 0, place[flat], -1), self._reach[read], self._pad)  # noqa: SLF001 -- its own class
        return at, [read], part

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        if self._outside.size:
            self._pad.back(rows.at(self._outside), total)
        size = np.abs(rows.x) if rows.d is None else np.abs(rows.x) + np.abs(rows.d)
        total.pay(self._more @ size)
        return [Rows(self._sums(rows.x), None if rows.d is None else self._sums(rows.d))]

    def _sums(self, part: Floats) -> Floats:
        """Of an element's coefficients, over all the places that read it."""
        out = np.zeros((self.count, part.shape[1]))
        if self._targets.size:
            out[self._targets] = np.add.reduceat(part[self._order], self._starts, axis=0)
        return out


class Blurred:
    """x + e and d - e, whatever e is, up to `by`: y does not move."""

    def __init__(self, read: int, by: Floats) -> None:
        self.reads: tuple[int, ...] = (read,)
        self.size = self.work = by.size
        self._by = by.ravel()

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Blurred]:
        return at, [at], Blurred(self.reads[0], self._by[at])

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        lost = self._by @ np.abs(rows.x if rows.d is None else rows.x - rows.d)
        total.add(lost, lost, len(self._by) + EDGES)
        return [rows]


class Joined:
    """Tensors one after the other; `places`: where each input's elements lie."""

    def __init__(self, reads: Sequence[int], places: Sequence[Ints]) -> None:
        self.reads, self._places, self.work = tuple(reads), places, 0
        self.size = sum(place.size for place in places)

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Joined]:
        which = np.full(self.size, -1)
        which[at] = np.arange(at.size)
        reads = [np.flatnonzero(which[place] >= 0) for place in self._places]
        places = [which[place[read]] for place, read in zip(self._places, reads, strict=True)]
        return at, reads, Joined(self.reads, places)

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
        self._carried = np.broadcast_to(carried, full).ravel()
        self._more = slack(rows + EDGES, self._carried)
        self._offset = np.broadcast_to(terms.offset, full).ravel()

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Linear]:
        """All rows of the groups and places that are touched."""
        _, rows, inner, places = self._shape
        group, place = np.unique(at // (rows * places)), np.unique(at % places)
        here, read = (
            ((group[:, None] * n + np.arange(n))[..., None] * places + place).ravel() for n in (rows, inner)
        )
        part = varied(
            self,
            _shape=(group.size, rows, inner, place.size),
            work=group.size * rows * inner * place.size,
            size=group.size * place.size * max(rows, inner),
            _w=self._w[group],
            _v=self._v[group],
            **{key: getattr(self, key)[here] for key in ("_b", "_shift", "_more", "_offset", "_carried")},
        )
        return here, [read], part

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

    def dense(self, patches: Moved) -> Linear | None:
        """Both as one matrix a group, from the places that the patches read to those of the sums; None where
        groups share elements, or patches read padding that is not 0."""
        groups, rows, inner, places = self._shape
        flat, count = patches.flat.reshape(groups, inner, places), patches.count
        each = count // groups
        owner = np.where(flat >= 0, flat // max(each, 1), np.arange(groups)[:, None, None])
        if rows > 1 or groups == 1 or each * groups != count or not patches.silent:
            return None
        if (owner != np.arange(groups)[:, None, None]).any():
            return None
        group, tap, place = np.nonzero(flat >= 0)
        at = flat[group, tap, place] - group * each
        w, v = np.zeros((2, groups, each, places))
        np.add.at(w, (group, at, place), self._w[group, tap, 0])
        np.add.at(v, (group, at, place), self._v[group, tap, 0])
        return varied(
            self, reads=patches.reads, _shape=(groups, places, each, 1), _w=w, _v=v,
            _more=slack(places + EDGES, self._carried), work=w.size, size=groups * max(each, places),
        )  # fmt: skip

    def _times(self, matrix: Floats, part: Floats) -> Floats:
        groups, rows, inner, places = self._shape
        return np.asarray(matrix @ part.reshape(groups, rows, -1)).reshape(groups * inner * places, -1)


class Patches:
    """Sums over patches: an affine pair on what was moved. Of a window whose groups have one row each, both
    ways are one matrix a group."""

    def __init__(self, sums: Linear, patches: Moved) -> None:
        self.reads = patches.reads
        self.work, self.size = sums.work + patches.work, max(sums.size, patches.size)
        self._sums, self._patches = sums, patches

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Back]:
        here, (read,), sums = self._sums.window(at)
        _, below, patches = self._patches.window(read)
        dense = sums.dense(patches)
        return here, below, Patches(sums, patches) if dense is None else dense

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        (patches,) = self._sums.back(rows, total)
        return self._patches.back(patches, total)


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

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Scaled]:
        factors = [tuple(each[at] for each in triple) for triple in self._factors]
        part = varied(self, size=at.size, work=at.size, _factors=factors, _more=self._more[at])
        return at, [at] * len(self.reads), part

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        total.pay(self._more @ (np.abs(rows.x) if rows.d is None else np.abs(rows.x) + np.abs(rows.d)))
        if rows.d is None:
            return [Rows(real * rows.x, None) for real, _, _ in self._factors]
        return [Rows(real * rows.x + e * rows.d, v * rows.d) for real, v, e in self._factors]
