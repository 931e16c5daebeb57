# SPDX-License-Identifier: Apache-2.0
"""Leaves of many cells: halved again and again, and each part's integers held against the float network's
affine form over that part, as a whole if that confirms the claim, else cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .between import shallow
from .chain import RHO, Chain
from .lines import Lines
from .rounding import Floats, Ints, U, gap, times, up
from .states import reached

PART = 1 << 13  # cells: what a processor holds near


@dataclass(frozen=True)
class Leaf:
    """What every integer of every input element stands for: part of the leaf, low ... high around p, within
    r; `slope`, `steep` (inputs, outputs), `c` and `rest` as of Lines."""

    chain: Chain
    first: Ints
    ends: list[tuple[Floats, Floats]]
    middle: Floats
    slope: Floats
    steep: Floats
    c: Floats
    rest: Floats
    off: Floats

    def parts(self, i: int, a: int, b: int) -> tuple[Floats, Floats]:
        """Middles and radii of the integers a ... b of an element."""
        low, high = (end[a - self.first[i] : b - self.first[i] + 1] for end in self.ends[i])
        p = 0.5 * low + 0.5 * high
        return p, up(np.maximum(high - p, p - low))


def bound(
    chain: Chain,
    form: Lines,
    at: int,
    first: Ints,
    last: Ints,
    ends: list[tuple[Floats, Floats]],
    off: Floats,
    claim: Floats,
) -> Floats:
    """Of leaf number `at` of a form, whose elements' integers stand for the parts `ends`."""
    middle, slope, steep = form.middle[at], form.slope[at], form.steep[at]
    leaf = Leaf(chain, first, ends, middle, slope, steep, form.c[at], form.r[at], off)
    return _worst(leaf, first, last, claim)


def _worst(leaf: Leaf, first: Ints, last: Ints, claim: Floats) -> Floats:
    """Largest |y - x| per output over all cells from first to last: no more precise than the claim needs."""
    spans = last - first + 1
    if np.prod(spans) > PART:
        i = int(spans.argmax())
        middle = (first[i] + last[i]) // 2
        below, above = last.copy(), first.copy()
        below[i], above[i] = middle, middle + 1
        return np.maximum(_worst(leaf, first, below, claim), _worst(leaf, above, last, claim))
    q, which = reached(leaf.chain, first, last, once=not shallow(leaf.chain))
    y = times(q - leaf.chain.out.zero, leaf.chain.out.scales[0])
    most, least, wide = leaf.c, leaf.c, leaf.rest
    tables = []
    for i in range(len(spans)):
        p, r = leaf.parts(i, first[i], last[i])
        tables.append((np.outer(p - leaf.middle[i], leaf.slope[i]), np.outer(r, np.abs(leaf.slope[i]))))
        most, least = most + tables[i][0].max(axis=0), least + tables[i][0].min(axis=0)
        wide = wide + tables[i][1].max(axis=0)
    wide = wide * (1 + RHO)
    found = gap(most + wide, least - wide, y[0].min(axis=0), y[1].max(axis=0))
    if (found <= claim).all():
        return found
    gaps: Floats = np.empty((len(which), len(leaf.c)))
    above = np.zeros(len(which), bool)
    for o in range(len(leaf.c)):  # one after the other: numpy is slow where the last axis is short
        line, apart = leaf.c[o : o + 1], leaf.rest[o : o + 1]
        for along, away in tables:
            line = (line[:, None] + along[:, o]).ravel()
            apart = (apart[:, None] + away[:, o]).ravel()
        apart = apart * (1 + RHO)
        each = gap(line + apart, line - apart, y[0][which, o], y[1][which, o])
        above |= each > claim[o]
        gaps[:, o] = each
    over = np.flatnonzero(above)
    if over.size:
        places, k = np.stack(np.unravel_index(over, spans), axis=-1), which[over]
        gaps[over] = np.minimum(gaps[over], _around(leaf, first, places, (y[0][k], y[1][k])))
    return np.asarray(gaps.max(axis=0))


def _around(leaf: Leaf, first: Ints, places: Ints, y: tuple[Floats, Floats]) -> Floats:
    """The same of some cells, from the value in the middle and the steepest slopes."""
    each = [leaf.parts(i, n, n + int(places[:, i].max())) for i, n in enumerate(first.tolist())]
    p = np.stack([part[0][k] for part, k in zip(each, places.T, strict=True)], axis=-1)
    r = np.stack([part[1][k] for part, k in zip(each, places.T, strict=True)], axis=-1)
    real = leaf.chain.real(p)
    near = ((leaf.steep * r[..., None]).sum(axis=1) + leaf.off + 4 * U * np.abs(real)) * (1 + RHO)
    return gap(real + near, real - near, *y)
