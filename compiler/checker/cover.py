# SPDX-License-Identifier: Apache-2.0
"""The split tree covers the box: it starts from the whole, and a cut lies strictly inside what it cuts, or is
one by a neuron: whatever the number, what is at most it and what is at least it are everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

from .envelopes import Entry
from .files import integer, need, rational, sequence

MAX_LEAVES = 100_000
MAX_NUMBERS = 1 << 25  # elements of all pieces of a tree; limits of all of them
HALF = Fraction(1, 2)
LARGE = 1 << 200
Entries = dict[str, Entry]


@dataclass(frozen=True)
class Limit:
    """Element `at` of a tensor `value` is at most `place`, or (`over`) at least: x, or (`whole`) y."""

    value: str
    at: int
    whole: bool
    place: Fraction
    over: bool


@dataclass(frozen=True)
class Leaf:
    """A piece of the box, with the integers first ... last per element (inputs in a row) that it answers for,
    where the limits hold.

    An input whose integer is n lies below a cut at (n + 1/2) S or on it, one with n + 1 above it or on it: so
    both sides share the cut, and each integer belongs to one of them.
    """

    entries: Entries
    first: tuple[int, ...]
    last: tuple[int, ...]
    limits: tuple[Limit, ...] = ()

    @property
    def count(self) -> int:
        """Cells."""
        return prod(b - a + 1 for a, b in zip(self.first, self.last, strict=True))


def leaves(tree: Any, root: Entries, sizes: dict[str, int]) -> list[Leaf]:
    """The pieces, from prefix order: null is a leaf, [input, flat element, place] a cut, lower half first;
    [value, flat element, "x" or "y", place] one by a neuron. `sizes`: how many elements each value has."""
    nodes, found = sequence(tree, "tree"), []
    waiting = [Leaf(root, _quantised(root, 0), _quantised(root, 1))]
    starts, at, limits = {}, 0, 0
    for name, entry in root.items():
        starts[name], at = at, at + len(entry.lower)
    need(len(nodes) <= min(2 * MAX_LEAVES, max(MAX_NUMBERS // at, 1)), "tree: too many pieces")
    for node in nodes:
        need(waiting, "tree: more nodes than pieces")
        piece = waiting.pop()
        if node is None:
            found.append(piece)
            continue
        if isinstance(node, list) and len(node) == 4:
            limits += 2 * len(piece.limits) + 2
            need(limits <= MAX_NUMBERS, "tree: too many cuts by neurons, one in the other")
            waiting += _by_neuron(piece, node, sizes)
            continue
        name, element, place = sequence(node, "cut", 3)
        need(isinstance(name, str) and name in root, "tree: a cut through no input")
        entry, where = piece.entries[name], rational(place, "cut")
        i = integer(element, "cut", 0, len(entry.lower) - 1)
        need(entry.lower[i] < where < entry.upper[i], "tree: a cut that is not inside its piece")
        last, first = ceil(where / entry.scale - HALF), floor(where / entry.scale + HALF)
        ends = [entry.scale * n for n in (last, first)] if entry.grid else [where] * 2
        upper = replace(entry, upper=_put(entry.upper, i, ends[0]))
        lower = replace(entry, lower=_put(entry.lower, i, ends[1]))
        k = starts[name] + i
        waiting.append(
            replace(
                piece,
                entries={**piece.entries, name: lower},
                first=_put(piece.first, k, _within(first, entry)),
            )
        )
        waiting.append(
            replace(
                piece,
                entries={**piece.entries, name: upper},
                last=_put(piece.last, k, _within(last, entry)),
            )
        )
    need(not waiting, "tree: it does not cover the box")
    return found


def _by_neuron(piece: Leaf, node: list[Any], sizes: dict[str, int]) -> list[Leaf]:
    """The upper half, then the lower one."""
    name, element, side, place = node
    need(isinstance(name, str) and name in sizes, "tree: a cut through no value")
    need(side in ("x", "y"), "tree: a cut of neither side")
    at, where = integer(element, "cut", 0, sizes[name] - 1), rational(place, "cut")
    need(abs(where) < LARGE, "tree: a cut beyond every float32")
    each = (Limit(name, at, side == "y", where, over) for over in (True, False))
    return [replace(piece, limits=(*piece.limits, limit)) for limit in each]


def _put(items: tuple[Any, ...], i: int, value: Any) -> tuple[Any, ...]:
    return (*items[:i], value, *items[i + 1 :])


def _within(steps: int, entry: Entry) -> int:
    return min(max(steps + entry.zero, entry.ends[0]), entry.ends[1])


def _quantised(root: Entries, end: int) -> tuple[int, ...]:
    return tuple(entry.quantised(v) for entry in root.values() for v in (entry.lower, entry.upper)[end])
