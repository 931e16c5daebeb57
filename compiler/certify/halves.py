# SPDX-License-Identifier: Apache-2.0
"""Boxes of cells of a shallow network, halved until each part is bounded as a whole or so small that its
cells are counted off; cells whose form is too loose are looked at alone.

A leaf is such a box: the checker halves it again, so that a certificate has no part in it. halves.c does the
same, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..domains.pair_float import Floats, Ints
from .between import Sums, bounds_of
from .blocks import forms_from, integers
from .cells import Cells, ends_of
from .compiled import Compiled
from .compiled_halves import by_c
from .gaps import by_states
from .pieces import Piece

SMALL, LEAST = 1 << 12, 1 << 7  # cells that are counted, and those that are whatever their form is
ROUGH = 2.0**-1  # output steps that a form may be off by where more are counted
DEAR = 1 << 9  # cells that a part, or a cell alone, is as much work as
LOOSE = 1 << 14  # cells of a box that are looked at alone


@dataclass(frozen=True)
class Halved:
    """Of one box the bound per output of all but the cells `above` the limit; the largest of counted cells,
    and that cell (-1: none); the work that it was, in cells."""

    bound: Floats
    worst: float
    cell: Ints
    above: Ints  # (cells, inputs)
    work: int


@dataclass(frozen=True)
class Closed:
    """Of one box the bound per output, the work, and an input with a large difference with this."""

    bound: Floats
    work: int
    near: Floats
    gap: float


def closed(
    cells: Cells, sums: Sequence[Sums], pieces: Sequence[Piece], limit: float, room: int, attack: float
) -> list[Closed | None]:
    """None where that is more work than there is room for. Only differences above the attack are wanted."""
    if not pieces:
        return []
    boxes = boxes_of(pieces)
    found, (_, _, lower, upper) = halved(cells, sums, boxes, limit, room), boxes
    result = list[Closed | None]()
    for k, item in enumerate(found):
        if item is None:
            result.append(None)
            continue
        large = item.cell[None][: int(item.worst > attack)]
        q = np.concatenate([item.above, large])
        bound, near, gap = item.bound, np.zeros(q.shape[1]), 0.0
        if len(q):
            alone = cells.alone(q, lower[k], upper[k])
            bound = np.maximum(bound, alone.bound[: len(item.above)].max(axis=0, initial=0.0))
            near, gap = alone.near[alone.gap.argmax()], float(alone.gap.max())
        result.append(Closed(bound, item.work, near, gap))
    return result


def halved(
    cells: Cells, sums: Sequence[Sums], boxes: tuple[Ints, Ints, Floats, Floats], limit: float, room: int
) -> list[Halved | None]:
    """boxes: first and last integers, lower and upper ends (boxes, inputs)."""
    if isinstance(cells.kernel, Compiled):
        found = by_c(cells.kernel, cells, sums, boxes, limit, rough(cells), (SMALL, LEAST, DEAR, room, LOOSE))
        if found is not None:
            return [None if each is None else Halved(*each) for each in found]
    first, last, lower, upper = boxes
    each = (slice(k, k + 1) for k in range(len(first)))
    return [_halved(cells, sums, first[k], last[k], lower[k], upper[k], limit, room) for k in each]


def wholes(cells: Cells, sums: Sequence[Sums], boxes: tuple[Ints, Ints, Floats, Floats]) -> Floats:
    """|y - x| at most over boxes as a whole (boxes, outputs)."""
    if isinstance(cells.kernel, Compiled):
        found = by_c(cells.kernel, cells, sums, boxes, np.inf, rough(cells), (SMALL, LEAST, DEAR, DEAR, 1))
        if found is not None:
            return np.array([item[0] for item in found if item is not None])
    return bounds_of(cells, sums, *boxes)


def differences(cells: Cells, sums: Sequence[Sums], pieces: Sequence[Piece]) -> Floats:
    """The same of pieces."""
    return wholes(cells, sums, boxes_of(pieces)) if pieces else np.zeros((0, len(sums[-1].half)))


def boxes_of(pieces: Sequence[Piece]) -> tuple[Ints, Ints, Floats, Floats]:
    """First and last integers, lower and upper ends (pieces, inputs)."""
    first, last = (np.array([getattr(piece, end) for piece in pieces], np.int64) for end in ("first", "last"))
    return first, last, *ends_of(pieces)


def _halved(
    cells: Cells,
    sums: Sequence[Sums],
    first: Ints,
    last: Ints,
    lower: Floats,
    upper: Floats,
    limit: float,
    room: int,
) -> Halved | None:
    """Of one box (1, inputs)."""
    outputs, inputs = len(cells.chain.layers[-1].w), first.shape[1]
    bound, work, counted = np.zeros(outputs), 0, list[tuple[Ints, Ints, Floats, Floats]]()
    while len(first):
        low = np.maximum(lower, cells.low[first - cells.start])
        high = np.minimum(upper, cells.high[last - cells.start])
        found, spans = bounds_of(cells, sums, first, last, low, high), last - first + 1
        work += DEAR * len(first)
        enough, count = (found <= limit).all(axis=1), spans.prod(axis=1)
        few = count <= LEAST
        near = np.flatnonzero(~enough & ~few & (count <= SMALL))
        if len(near):
            few[near] = (cells.kernel.linear(low[near], high[near]).r <= rough(cells)).all(axis=0)
        bound = np.maximum(bound, found[enough].max(axis=0, initial=0.0))
        here = ~enough & few
        counted.append((first[here], last[here], low[here], high[here]))
        work += int(count[here].sum())
        if work > room:
            return None
        cut = ~enough & ~few
        first, last, at, each = first[cut], last[cut], spans[cut].argmax(axis=1), np.arange(cut.sum())
        under, over = last.copy(), first.copy()
        under[each, at] = first[each, at] + (last - first)[each, at] // 2
        over[each, at] = under[each, at] + 1
        first, last = np.concatenate([first, over]), np.concatenate([under, last])
    first, last = (np.concatenate([part[end] for part in counted]) for end in (0, 1))
    low, high = (np.concatenate([part[end] for part in counted]) for end in (2, 3))
    worst, cell, above = 0.0, np.full(inputs, -1), [np.zeros((0, inputs), np.int64)]
    forms = forms_from(cells, first, last, low, high, cells.kernel.linear(low, high))
    most = LOOSE
    for k, gaps in enumerate(by_states(cells.kernel.states, cells.chain.units, forms, limit, LOOSE)):
        most -= LOOSE + 1 if gaps is None else len(gaps.above)
        if gaps is None or most < 0:
            return None
        bound = np.maximum(bound, gaps.bound)
        above.append(integers(first[k], last[k], gaps.above))
        if gaps.place >= 0:
            (here,) = integers(first[k], last[k], np.array([gaps.place])).tolist()
            if gaps.worst > worst or (gaps.worst == worst and here < cell.tolist()):
                worst, cell = gaps.worst, np.array(here)
    open_ = np.concatenate(above)
    work += DEAR * len(open_)
    return Halved(bound, worst, cell, _sorted(open_), work) if work <= room else None


def rough(cells: Cells) -> float:
    """In real units."""
    return ROUGH * float(cells.chain.units.scale)


def _sorted(q: Ints) -> Ints:
    return q[np.lexsort(q.T[::-1])]
