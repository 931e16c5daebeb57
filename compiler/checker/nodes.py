# SPDX-License-Identifier: Apache-2.0
"""What is linear on the way back, all of a tensor or some of its elements.

`part` of a node makes the node of some elements (sorted): which ones it holds then (a sum of patches has all
rows of its places), which ones of each input these read, and the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .forms import Pad
from .rounding import Floats, Ints, slack, up
from .together import Together

MORE = 32  # operations of an element beside its inner products
Triple = tuple[Floats, Floats, Floats]
Part = Callable[[Ints], "tuple[Ints, list[Ints], Node]"]


class Sum:
    """What rows have gathered on their way, and the magnitudes that went into it."""

    def __init__(self, rows: int, *, joint: bool = False) -> None:
        self.joint = joint  # elements of a bend may be bounded together
        self.value, self.size, self.terms = np.zeros(rows), np.zeros(rows), MORE

    def add(self, value: Floats, size: Floats, terms: int) -> None:
        """`terms` products whose absolute values sum to `size`."""
        self.value, self.size = self.value + value, self.size + size
        self.terms = max(self.terms, terms + MORE) + 1

    def pay(self, cost: Floats, a: Floats) -> None:
        """An error of `cost` per unit of an element's coefficients."""
        lost = cost @ np.abs(a).sum(axis=0)
        self.add(lost, lost, len(cost))


@dataclass(frozen=True)
class Node:
    """A tensor on the tape: what it reads, multiply-adds and most numbers of a row, the way back, some of
    its elements, what is bounded together there; whether it moves elements, and where from, unless one is
    padding that is not 0."""

    reads: tuple[int, ...]
    work: int
    width: int
    back: Callable[[Floats, Sum], list[Floats]]
    part: Part
    together: Together | None = None
    moves: bool = False
    origin: Ints | None = None


def magnitude(box: Floats) -> Floats:
    """|x| + |d| at most, flat."""
    ends = np.abs(box).reshape(3, 2, -1).max(axis=1)
    return up(ends[0] + ends[2])


def root(box: Floats) -> Node:
    """A tensor of which nothing is known but its ranges (6, n)."""

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        return at, [], root(box[:, at])

    return Node((), 0, box.shape[1], lambda a, out: _at_ranges(box[..., None], a, out), part)


def moved(read: int, flat: Ints, sizes: Floats, pad: Pad) -> Node:
    """Flat positions of a tensor with these magnitudes, -1 for padding."""
    n, held = len(sizes), np.flatnonzero(flat >= 0)
    order = held[np.argsort(flat[held], kind="stable")]
    to, first, count = np.unique(flat[order], return_index=True, return_counts=True)
    outside = np.flatnonzero(flat < 0)
    filled = np.array([pad.x, pad.x, *pad.y, *pad.d]).reshape(6, 1, 1)
    cost = slack(int(count.max(initial=1)), np.append(sizes, 0.0)[flat])

    def back(a: Floats, out: Sum) -> list[Floats]:
        if outside.size:
            _at_ranges(filled, a[:, outside], out)
        out.pay(cost, a)
        new = np.zeros((len(a), n, a.shape[2]))
        if to.size:
            new[:, to] = np.add.reduceat(a[:, order], first, axis=1)
        return [new]

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        used = np.unique(flat[at])
        used = used[used >= 0]
        here = np.where(flat[at] < 0, -1, np.searchsorted(used, flat[at]))
        return at, [used], moved(read, here, sizes[used], pad)

    origin = None if filled.any() and outside.size else flat
    return Node((read,), flat.size, max(flat.size, n), back, part, moves=True, origin=origin)


def joined(reads: Sequence[int], places: Sequence[Ints]) -> Node:
    """Tensors side by side."""
    width = sum(place.size for place in places)

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        own = [np.flatnonzero(np.isin(place, at)) for place in places]
        here = [np.searchsorted(at, place[some]) for place, some in zip(places, own, strict=True)]
        return at, own, joined(reads, here)

    return Node(tuple(reads), 0, width, lambda a, _: [a[:, place] for place in places], part)


def blurred(read: int, by: Floats) -> Node:
    """x + e and d - e with |e| <= by."""

    def back(a: Floats, out: Sum) -> list[Floats]:
        lost = by @ np.abs(a[0] - a[1] if len(a) == 2 else a[0])
        out.add(lost, lost, by.size)
        return [a]

    return Node((read,), by.size, by.size, back, lambda at: (at, [at], blurred(read, by[at])))


def blended(reads: Sequence[int], triples: Sequence[Triple], sizes: Floats) -> Node:
    """The sum over the inputs of x' = r x, d' = v d + e x, element by element; sizes: of all terms."""
    cost, n = slack(MORE, sizes), sizes.size

    def back(a: Floats, out: Sum) -> list[Floats]:
        out.pay(cost, a)
        if len(a) == 1:
            return [r[:, None] * a for r, _, _ in triples]
        ways = ([part[:, None] for part in triple] for triple in triples)
        return [np.stack([r * a[0] + e * a[1], v * a[1]]) for r, v, e in ways]

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        some = [(r[at], v[at], e[at]) for r, v, e in triples]
        return at, [at] * len(reads), blended(reads, some, sizes[at])

    return Node(tuple(reads), n, n, back, part)


@dataclass(frozen=True)
class Sums:
    """W^T and V^T (G, K, M) at P places; per sum (flat) b, c - b, the offset's and all terms' magnitudes."""

    w: Floats
    v: Floats
    places: int
    b: Floats
    shift: Floats
    offset: Floats
    size: Floats

    def at(self, sums: Ints) -> tuple[Ints, Ints, Sums]:
        """All sums of the groups and places of some: which these are, which terms they have."""
        (_, k, m), p = self.w.shape, self.places
        groups, places = np.unique(sums // (m * p)), np.unique(sums % p)
        here, terms = (
            np.add.outer(np.add.outer(groups * n * p, np.arange(n) * p), places).ravel() for n in (m, k)
        )
        flat = (part[here] for part in (self.b, self.shift, self.offset, self.size))
        return here, terms, Sums(self.w[groups], self.v[groups], places.size, *flat)

    def folded(self, origin: Ints, read: int) -> Sums | None:
        """Of one sum a group and place: its terms put where they are read, if groups read apart."""
        (g, k, m), p = self.w.shape, self.places
        each = read // g
        if g == 1 or m > 1 or each * g != read:
            return None
        group, term, place = np.nonzero(origin.reshape(g, k, p) >= 0)
        at = origin.reshape(g, k, p)[group, term, place]
        if (at // each != group).any():
            return None
        both = np.zeros((2, g, each, p))
        for new, old in zip(both, (self.w, self.v), strict=True):
            np.add.at(new, (group, at % each, place), old[group, term, 0])
        return replace(self, w=both[0], v=both[1], places=1)


def summed(read: int, t: Sums) -> Node:
    """A pair of affine maps."""
    (g, k, m), p = t.w.shape, t.places
    cost = slack(m + MORE, t.size)

    def times(matrix: Floats, a: Floats) -> Floats:
        return np.asarray((matrix @ a.reshape(g, m, -1)).reshape(g * k * p, a.shape[1]))

    def back(a: Floats, out: Sum) -> list[Floats]:
        out.pay(cost, a)
        value = t.b @ a[0] if len(a) == 1 else t.b @ a[0] + t.shift @ a[1]
        out.add(value, t.offset @ np.abs(a).sum(axis=0), len(t.b))
        if len(a) == 1:
            return [times(t.w, a[0])[None]]
        of_y = times(t.v, a[1])
        return [np.stack([times(t.w, a[0] - a[1]) + of_y, of_y])]

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        here, terms, some = t.at(at)
        return here, [terms], summed(read, some)

    return Node((read,), t.w.size * p, g * p * max(m, k), back, part)


def of_patches(sums: Node, patches: Node, t: Sums) -> Node:
    """Sums of what was moved; some of them, if possible, as one matrix a group."""

    def back(a: Floats, out: Sum) -> list[Floats]:
        (new,) = sums.back(a, out)
        return patches.back(new, out)

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        here, terms, some = t.at(at)
        _, (read,), moving = patches.part(terms)
        dense = None if moving.origin is None else some.folded(moving.origin, read.size)
        (source,) = patches.reads
        if dense is not None:
            return here, [read], summed(source, dense)
        return here, [read], of_patches(summed(source, some), moving, some)

    width = max(sums.width, patches.width)
    return Node(patches.reads, sums.work + patches.work, width, back, part)


def _at_ranges(box: Floats, a: Floats, out: Sum) -> list[Floats]:
    """The rows at ranges (6, elements, 1); of x, y, d two give the third: the best two per element."""
    middle = 0.5 * box[::2] + 0.5 * box[1::2]
    radius = up(np.maximum(box[1::2] - middle, middle - box[::2]))

    def most(k: int, c: Floats) -> Floats:
        return np.asarray(c * middle[k] + np.abs(c) * radius[k])

    value, size = most(0, a[0]), np.abs(a[0]) * (np.abs(middle[0]) + radius[0])
    if len(a) == 2 and box[4:].any():
        value = np.minimum(value + most(2, a[1]), most(0, a[0] - a[1]) + most(1, a[1]))
        value = np.minimum(value, most(2, a[1] - a[0]) + most(1, a[0]))
        size = np.abs(a).sum(axis=0) * (np.abs(middle) + radius).sum(axis=0)
    out.add(value.sum(axis=0), size.sum(axis=0), a.shape[1] + MORE)
    return []
