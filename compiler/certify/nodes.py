# SPDX-License-Identifier: Apache-2.0
"""Leaves of the search, and what is handed to those who cut them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..domains.pair_float import Floats
from .branch import Bounds
from .pieces import Neuron, Piece, Place


@dataclass(frozen=True)
class Node:
    """A leaf: its bound, how it was found, and what to cut it by."""

    piece: Piece
    bound: Bounds
    method: str
    worst: float  # what cutting the piece may lower: not the float network's own rounding
    score: Floats | None
    place: Place = None  # where that is known already
    work: int = 0  # cells that were looked at, and what was as much work as cells


Item = Node | tuple[int | Neuron, Any]  # a leaf, or a cut (element, where), in prefix order


@dataclass(frozen=True)
class Job:
    """Nodes to cut. `attack`: the largest difference known; `ratio`: times that is close enough; `leaves`,
    `cells`: how many more the results may make; `seconds`: what is not done by then is given up."""

    nodes: tuple[Node, ...]
    attack: float
    ratio: float
    leaves: int
    cells: int
    seconds: float


@dataclass(frozen=True)
class Done:
    """Per node what became of it (None: it cannot be cut, or was given up); inputs with differences above the
    attack, ascending."""

    grown: tuple[tuple[Item, ...] | None, ...]
    found: tuple[tuple[float, Floats], ...]


def no_worse(half: tuple[Item, ...] | None, whole: Node) -> tuple[Item, ...] | None:
    """What is said of a piece holds in its halves: a line that fits one better may fit others worse."""
    if half is None or not isinstance(half[0], Node) or half[0].method != "float":
        return half
    if whole.method != "float" and whole.piece.limits:  # bounded in another way, which is not repeated
        return half
    bound = {name: np.minimum(each, whole.bound[name]) for name, each in half[0].bound.items()}
    return (replace(half[0], bound=bound, worst=worst_of(bound)),)


def worst_of(bound: Bounds) -> float:
    return max(float(each.max()) for each in bound.values())


def prefix(tree: Mapping[int, Any], root: int) -> list[int]:
    """Positions of a tree of leaves and (cut, position of the lower half), in prefix order."""
    order, stack = list[int](), [root]
    while stack:
        at = stack.pop()
        order.append(at)
        if not isinstance(tree[at], Node):
            below = tree[at][1]
            stack += [below + 1, below]
    return order
