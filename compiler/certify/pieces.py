# SPDX-License-Identifier: Apache-2.0
"""Pieces of the input box: all inputs' elements in a row, cut at exact rationals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, prod
from typing import TypeVar

import numpy as np

from ..domains.pair import Entry
from .lockstep import Lockstep

Item = TypeVar("Item")
Cut = tuple[str, int, Fraction] | tuple[str, int, str, Fraction] | None  # a certificate's; None: a leaf
HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Neuron:
    """An element of a sum: `side` x of the float network or y of the integer one, in real units."""

    value: str
    element: int
    side: str


@dataclass(frozen=True)
class Limit:
    """What holds in a piece: the neuron is at most `place`, or (`over`) at least."""

    neuron: Neuron
    place: Fraction
    over: bool


@dataclass(frozen=True)
class Piece:
    """Inputs with lower <= x <= upper that the quantisers take to first ... last, element by element, at
    which the limits hold."""

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]
    limits: tuple[Limit, ...] = ()

    @property
    def count(self) -> int:
        """Cells of the quantisers."""
        return prod(b - a + 1 for a, b in zip(self.first, self.last, strict=True))


class Whole:
    """The box: how its pieces are cut, and what they are to a pair domain."""

    def __init__(self, both: Lockstep, at: Mapping[int, Entry]) -> None:
        self.at, self.names = at, both.inputs
        self.entries = [at[both.values[name]] for name in both.inputs]
        self.positions = [both.values[name] for name in both.inputs]
        self.owner = [i for i, entry in enumerate(self.entries) for _ in entry.lower]
        ends = [tuple(q.ravel().tolist() for q in entry.integers()) for entry in self.entries]
        first, last = (tuple(n for end in ends for n in end[i]) for i in (0, 1))
        lower = tuple(v for entry in self.entries for v in entry.lower)
        upper = tuple(v for entry in self.entries for v in entry.upper)
        self.root = Piece(lower, upper, first, last)

    def cut(self, piece: Piece, element: int | Neuron, place: Fraction) -> tuple[Piece, Piece]:
        """Both halves; a cut on a border of cells gives each cell to one of them (docs/certificate.md)."""
        if isinstance(element, Neuron):
            halves = [(*piece.limits, Limit(element, place, over)) for over in (False, True)]
            return replace(piece, limits=halves[0]), replace(piece, limits=halves[1])
        entry = self.entries[self.owner[element]]
        t, zero = place / entry.units.scale, entry.units.zero
        last = min(max(ceil(t - HALF) + zero, entry.lo), entry.hi)
        first = min(max(floor(t + HALF) + zero, entry.lo), entry.hi)
        ends = [entry.units.scale * (n - zero) for n in (last, first)] if entry.grid else [place] * 2
        under, over = _with(piece.upper, element, ends[0]), _with(piece.lower, element, ends[1])
        return (
            replace(piece, upper=under, last=_with(piece.last, element, last)),
            replace(piece, lower=over, first=_with(piece.first, element, first)),
        )

    def by_score(self, piece: Piece, score: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Place:
        """Cut the element with the highest score, at the border of cells nearest to its middle or, inside one
        cell, there. None for a point."""
        wide = [b > a for a, b in zip(piece.lower, piece.upper, strict=True)]
        if not any(wide):
            return None
        element = int(np.argmax(np.where(wide, score, -1.0)))
        low, high = piece.lower[element], piece.upper[element]
        middle, scale = (low + high) / 2, self.entries[self.owner[element]].units.scale
        border = (floor(middle / scale) + HALF) * scale
        inside = low < border < high and piece.first[element] < piece.last[element]
        return element, border if inside else middle

    def by_width(self, piece: Piece) -> Place:
        """Cut the element that is widest relative to the box in the middle. None for a point."""
        best, place = Fraction(0), None
        for i, (low, high) in enumerate(zip(piece.lower, piece.upper, strict=True)):
            whole = self.root.upper[i] - self.root.lower[i]
            if whole > 0 and (high - low) / whole > best:
                best, place = (high - low) / whole, (i, (low + high) / 2)
        return place

    def named(self, element: int | Neuron, place: Fraction) -> Cut:
        """A cut as certificates write it."""
        if isinstance(element, Neuron):
            return element.value, element.element, element.side, place
        owner = self.owner[element]
        return self.names[owner], element - self.owner.index(owner), place

    def of(self, piece: Piece) -> dict[int, Entry]:
        """A piece as boxes of the inputs."""
        found, start = {}, 0
        for position, entry in zip(self.positions, self.entries, strict=True):
            end = start + len(entry.lower)
            found[position] = replace(entry, lower=piece.lower[start:end], upper=piece.upper[start:end])
            start = end
        return found


Place = tuple[int | Neuron, Fraction] | None  # element, where


def _with(items: tuple[Item, ...], at: int, new: Item) -> tuple[Item, ...]:
    return (*items[:at], new, *items[at + 1 :])
