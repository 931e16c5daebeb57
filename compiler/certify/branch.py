# SPDX-License-Identifier: Apache-2.0
"""Bounds over a box: one pass of a pair domain, or the worst of several passes over pieces of the box."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Entry, PairDomain
from ..domains.pair_box import Box
from ..errors import CompileError
from .lockstep import Lockstep, walk

Floats = NDArray[np.float64]
Bounds = dict[str, Floats]
Make = Callable[[], PairDomain[Any]]
Cut = tuple[str, int, Fraction] | None  # input, flat element, place; None is a leaf


def ranges(both: Lockstep, make: Make, at: Mapping[int, Entry], wanted: set[int]) -> dict[int, Box]:
    """Ranges of the steps at these positions."""
    domain = make()
    return {i: domain.ranges(state) for i, state in walk(both, domain, at) if i in wanted}


def bounds(both: Lockstep, make: Make, at: Mapping[int, Entry], outputs: list[str]) -> Bounds:
    """Largest |d| per element of each output, from one pass."""
    return largest(both, ranges(both, make, at, {both.values[name] for name in outputs}), outputs)


def largest(both: Lockstep, found: Mapping[int, Box], outputs: list[str]) -> Bounds:
    """Largest |d| per element of each output, from the ranges of its step."""
    result = {}
    for name in outputs:
        box = found[both.values[name]]
        result[name] = np.maximum(box.ud, -box.ld)
        if not np.isfinite(result[name]).all():
            raise CompileError(name, "no finite bound on the difference", "finite weights and a finite box")
    return result


@dataclass(frozen=True)
class Pieces:
    """The worst bound over all pieces, and the cuts that made them: a tree in prefix order."""

    bound: Bounds
    tree: tuple[Cut, ...]


def divide(
    both: Lockstep, make: Make, at: Mapping[int, Entry], root: Bounds, count: int, until: float = np.inf
) -> Pieces:
    """Halve the worst piece until there are `count` (or it is `until` by time.perf_counter), along the side
    that is widest relative to the box. `root`: the bounds over the whole box."""
    outputs = list(root)
    scale = max(float(b.max()) for b in root.values())
    heap: list[tuple[float, int]] = [(-scale, 0)]
    leaves: dict[int, tuple[Mapping[int, Entry], Bounds]] = {0: (at, root)}
    cuts: dict[int, tuple[Cut, int, int]] = {}
    fresh = 1
    while heap and len(leaves) < count and time.perf_counter() < until:
        _, worst = heapq.heappop(heap)
        entries, before = leaves.pop(worst)
        place = _widest(at, entries)
        if place is None:
            leaves[worst] = entries, before
            continue
        position, element = place
        side = entries[position]
        middle = (side.lower[element] + side.upper[element]) / 2
        for upper in (False, True):
            half = {**entries, position: _half(side, element, middle, upper=upper)}
            bound = bounds(both, make, half, outputs)
            leaves[fresh] = half, bound
            heapq.heappush(heap, (-max(float(b.max()) for b in bound.values()), fresh))
            fresh += 1
        cuts[worst] = ((_name(both, position), element, middle), fresh - 2, fresh - 1)
    worst_of = {name: np.maximum.reduce([leaf[1][name] for leaf in leaves.values()]) for name in outputs}
    return Pieces(worst_of, tuple(_prefix(cuts)))


def _widest(root: Mapping[int, Entry], entries: Mapping[int, Entry]) -> tuple[int, int] | None:
    """(position, element) of the side that is widest relative to the root's; None for a point."""
    best, place = Fraction(0), None
    for position, entry in entries.items():
        for i, (low, high) in enumerate(zip(entry.lower, entry.upper, strict=True)):
            whole = root[position].upper[i] - root[position].lower[i]
            if whole > 0 and (high - low) / whole > best:
                best, place = (high - low) / whole, (position, i)
    return place


def _half(entry: Entry, element: int, middle: Fraction, *, upper: bool) -> Entry:
    sides = list(entry.lower if upper else entry.upper)
    sides[element] = middle
    return replace(entry, lower=tuple(sides)) if upper else replace(entry, upper=tuple(sides))


def _name(both: Lockstep, position: int) -> str:
    return next(name for name in both.inputs if both.values[name] == position)


def _prefix(cuts: Mapping[int, tuple[Cut, int, int]]) -> list[Cut]:
    order: list[Cut] = []
    stack = [0]
    while stack:
        piece = stack.pop()
        if piece not in cuts:
            order.append(None)
            continue
        cut, below, above = cuts[piece]
        order.append(cut)
        stack += [above, below]
    return order
