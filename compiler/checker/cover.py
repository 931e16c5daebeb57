# SPDX-License-Identifier: Apache-2.0
"""The split tree covers the box: it starts from the whole, and a cut lies strictly inside what it cuts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .analysis import Entry
from .files import integer, need, rational, sequence

MAX_LEAVES = 100_000
Entries = dict[str, Entry]


def leaves(tree: Any, root: Entries) -> list[Entries]:
    """The pieces, from prefix order: null is a leaf, [input, flat element, place] a cut, lower half first."""
    nodes, found, waiting = sequence(tree, "tree"), [], [root]
    need(len(nodes) <= 2 * MAX_LEAVES, "tree: too many pieces")
    for node in nodes:
        need(waiting, "tree: more nodes than pieces")
        piece = waiting.pop()
        if node is None:
            found.append(piece)
            continue
        name, element, place = sequence(node, "cut", 3)
        need(isinstance(name, str) and name in piece, "tree: a cut through no input")
        entry, at = piece[name], rational(place, "cut")
        i = integer(element, "cut", 0, len(entry.lower) - 1)
        need(entry.lower[i] < at < entry.upper[i], "tree: a cut that is not inside its piece")
        upper, lower = list(entry.upper), list(entry.lower)
        upper[i] = lower[i] = at
        waiting.append({**piece, name: replace(entry, lower=tuple(lower))})
        waiting.append({**piece, name: replace(entry, upper=tuple(upper))})
    need(not waiting, "tree: it does not cover the box")
    return found
