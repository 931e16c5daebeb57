# SPDX-License-Identifier: Apache-2.0
"""Large differences of a shallow network, sought by its cells before the box is cut: what is found moves the
goal of the whole search. Boxes of cells that may hold large ones are enumerated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..domains.pair_float import Floats, Ints
from .between import Sums
from .blocks import forms_from
from .cells import Cells
from .gaps import Forms
from .halves import wholes
from .pieces import Piece

SLICE = 1 << 10  # boxes looked at between looks at the clock
STARTS = 1 << 8, 1 << 16  # boxes looked at, by
CELLS = 1 << 14  # the cells that there are for one
TAKEN = 1 / 8  # of them, those with the largest bounds, are enumerated
SIZE = 1 << 12  # cells of a box
ROUNDS = 4  # then, around the worst cells
TOGETHER = 64  # boxes enumerated between looks at the clock


def hunt(
    cells: Cells, sums: Sequence[Sums], root: Piece, over: Callable[[], bool] = lambda: False
) -> Iterator[tuple[float, Floats]]:
    """Inputs with large differences, and these; of what was looked at until it was `over`."""
    rng, ends = np.random.default_rng(0), (np.array(root.first), np.array(root.last))
    starts = min(max(root.count // CELLS, STARTS[0]), STARTS[1])
    middle, most = rng.integers(ends[0], ends[1] + 1, (starts, len(ends[0]))), list[Floats]()
    for i in range(0, starts, SLICE):
        if over():
            return
        most.append(_most(cells, sums, ends, middle[i : i + SLICE]))
    taken = int(TAKEN * starts)
    middle = middle[np.argsort(-np.concatenate(most), kind="stable")[:taken]]
    for r in range(ROUNDS + 1):
        gaps, near, at = list[Floats](), list[Floats](), list[Ints]()
        for i in range(0, len(middle), TOGETHER):
            if over():
                break
            forms, q = _around(cells, ends, middle[i : i + TOGETHER])
            gap, x = _reached(cells, forms, q)
            gaps.append(gap)
            near.append(x)
            at.append(q)
        if not gaps:
            return  # no box is left, or no time
        order = np.argsort(-np.concatenate(gaps), kind="stable")
        yield float(np.concatenate(gaps)[order[0]]), np.concatenate(near)[order[0]]
        middle = np.concatenate(at)[order[: taken >> (2 * r + 2)]]


def _boxes(cells: Cells, ends: tuple[Ints, Ints], middle: Ints) -> tuple[Ints, Ints, Floats, Floats]:
    """Around these cells: first and last integers, and the ends of x."""
    reach = int(0.5 * SIZE ** (1 / middle.shape[1]))
    first, last = np.maximum(middle - reach, ends[0]), np.minimum(middle + reach, ends[1])
    outer = cells.low[first - cells.start], cells.high[last - cells.start]
    lower, upper = (np.clip(side, *cells.ends) for side in outer)
    return first, last, lower, upper


def _most(cells: Cells, sums: Sequence[Sums], ends: tuple[Ints, Ints], middle: Ints) -> Floats:
    """How large differences in boxes around these cells may be."""
    return np.asarray(wholes(cells, sums, _boxes(cells, ends, middle)).max(axis=1))


def _around(cells: Cells, ends: tuple[Ints, Ints], middle: Ints) -> tuple[Forms, Ints]:
    """Of a box around each cell its form, and the cell with the largest difference, about."""
    first, last, lower, upper = _boxes(cells, ends, middle)
    forms = forms_from(cells, first, last, lower, upper, cells.kernel.linear(lower, upper))
    line = replace(forms, rest=np.zeros_like(forms.rest))  # what is sought is no bound
    found = [each for each in cells.kernel.gaps(line, np.inf, 0) if each is not None]
    place = np.array([max(each.place, 0) for each in found])
    spans, q = last - first + 1, np.empty_like(first)
    for i in reversed(range(q.shape[1])):
        q[:, i] = first[:, i] + place % spans[:, i]
        place = place // spans[:, i]
    return forms, q


def _reached(cells: Cells, forms: Forms, q: Ints) -> tuple[Floats, Floats]:
    """The corner of each cell that takes the float network away from the integers, just inside, and the
    difference there."""
    low = np.maximum(forms.lower, cells.low[q - cells.start])
    high = np.minimum(forms.upper, cells.high[q - cells.start])
    p, most, near = 0.5 * low + 0.5 * high, np.zeros(len(q)), np.zeros(q.shape)
    real, y = cells.at(p, q)
    for output in range(real.shape[1]):
        sign = np.sign(real - y)[:, output, None] * forms.slope[:, output]
        x = np.nextafter(np.where(sign > 0, high, np.where(sign < 0, low, p)), p)
        one, other = cells.at(x, q)
        gap = np.abs(one - other).max(axis=1)
        near = np.where((gap > most)[:, None], x, near)
        most = np.maximum(most, gap)
    return most, near
