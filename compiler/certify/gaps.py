# SPDX-License-Identifier: Apache-2.0
"""How far the affine form of the float network can be from the integers of each cell of a piece.

Of shallow networks gaps.c does it cell by cell, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..domains.pair import Units
from ..domains.pair_float import Floats, Ints, down, scaled, up
from .linear import RHO

States = Callable[[Ints, Ints], tuple[Ints, Ints]]


@dataclass(frozen=True)
class Forms:
    """N(x) = c + slope (x - middle) +- rest of pieces (axis 0) from `lower` to `upper`, cells first ... last;
    `under`, `over`: ends of all cells of an input, from the integer `begin` on."""

    first: Ints
    last: Ints
    lower: Floats
    upper: Floats
    middle: Floats
    slope: Floats  # (pieces, outputs, inputs)
    c: Floats
    rest: Floats
    begin: int
    under: Floats
    over: Floats

    def each(self, k: int) -> tuple[Floats, Floats]:
        """Least and largest value in every cell of a piece (cells, outputs)."""
        at, wide = self.c[k][None], self.rest[k][None]
        for i, (a, b) in enumerate(zip(self.first[k], self.last[k], strict=True)):
            q = slice(a - self.begin, b - self.begin + 1)
            low = np.maximum(self.lower[k, i], self.under[q])
            high = np.minimum(self.upper[k, i], self.over[q])
            p = 0.5 * low + 0.5 * high
            r = up(np.maximum(high - p, p - low))
            along = np.outer(p - self.middle[k, i], self.slope[k, :, i])
            at = (at[:, None] + along).reshape(-1, self.c.shape[1])
            wide = (wide[:, None] + np.outer(r, np.abs(self.slope[k, :, i]))).reshape(at.shape)
        wide = wide * (1 + RHO)
        return at - wide, at + wide


@dataclass(frozen=True)
class Gaps:
    """Of one piece the `bound` per output and the `worst` of all over cells with no gap above the limit, and
    where the worst is (-1: nowhere); the other cells. Cells are numbered, the last input fastest."""

    bound: Floats
    worst: float
    place: int
    above: Ints


def gap(real: tuple[Floats, Floats], low: Floats, high: Floats) -> Floats:
    """Largest |y - x| for x between `real` and y between low and high."""
    return np.maximum(up(up(real[1]) - low), up(high - down(real[0])))


def by_states(states: States, units: Units, forms: Forms, limit: float, most: int) -> Iterator[Gaps | None]:
    """Piece by piece; None where more than `most` cells are above the limit."""
    for k, (first, last) in enumerate(zip(forms.first, forms.last, strict=True)):
        whole, which = states(first, last)
        low, high = scaled(whole - units.zero, units.scale)
        each = gap(forms.each(k), low[which], high[which])
        largest = each.max(axis=1)
        closed = largest <= limit
        if np.count_nonzero(~closed) > most:
            yield None
            continue
        kept = np.where(closed, largest, 0.0)
        worst, bound = float(kept.max()), np.where(closed[:, None], each, 0.0).max(axis=0)
        yield Gaps(bound, worst, int(kept.argmax()) if worst > 0 else -1, np.flatnonzero(~closed))
