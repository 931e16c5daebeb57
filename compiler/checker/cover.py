# SPDX-License-Identifier: Apache-2.0
"""The split tree covers the box: it starts from the whole, and a cut lies strictly inside what it cuts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

from .envelopes import Entry
from .files import integer, need, rational, sequence

MAX_LEAVES = 100_000
MAX_NUMBERS = 1 << 25  # elements of all pieces of a tree
HALF = Fraction(1, 2)
Entries = dict[str, Entry]


@dataclass(frozen=True)
class Leaf:
    """A piece of the box, with the integers first ... last per element (inputs in a row) that it answers for.

    An input whose integer is n lies below a cut at (n + 1/2) S or on it, one with n + 1 above it or on it: so
    both sides share the cut, and each integer belongs to one of them.
    """

    entries: Entries
    first: tuple[int, ...]
    last: tuple[int, ...]

    @property
    def count(self) -> int:
        """Cells."""
        return prod(b - a + 1 for a, b in zip(self.first, self.last, strict=True))


def leaves(tree: Any, root: Entries) -> list[Leaf]:
    """The pieces, from prefix order: null is a leaf, [input, flat element, place] a cut, lower half first."""
    nodes, found = sequence(tree, "tree"), []
    waiting = [Leaf(root, _quantised(root, 0), _quantised(root, 1))]
    starts, at = {}, 0
    for name, entry in root.items():
        starts[name], at = at, at + len(entry.lower)
    need(len(nodes) <= min(2 * MAX_LEAVES, max(MAX_NUMBERS // at, 1)), "tree: too many pieces")
    for node in nodes:
        need(waiting, "tree: more nodes than pieces")
        piece = waiting.pop()
        if node is None:
            found.append(piece)
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
            Leaf({**piece.entries, name: lower}, _put(piece.first, k, _within(first, entry)), piece.last)
        )
        waiting.append(
            Leaf({**piece.entries, name: upper}, piece.first, _put(piece.last, k, _within(last, entry)))
        )
    need(not waiting, "tree: it does not cover the box")
    return found


def _put(items: tuple[Any, ...], i: int, value: Any) -> tuple[Any, ...]:
    return (*items[:i], value, *items[i + 1 :])


def _within(steps: int, entry: Entry) -> int:
    return min(max(steps + entry.zero, entry.ends[0]), entry.ends[1])


def _quantised(root: Entries, end: int) -> tuple[int, ...]:
    return tuple(entry.quantised(v) for entry in root.values() for v in (entry.lower, entry.upper)[end])
