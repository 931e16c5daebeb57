# SPDX-License-Identifier: Apache-2.0
"""Which of several planes around a difference a row takes, element by element: any choice is sound."""

from __future__ import annotations

import numpy as np

from .pair_float import Floats, Ints

AWAY = (
    0.375  # of the way from the middle of an element's ranges to its worst corner lies what a choice looks at
)
BETTER = 1e-9  # of the magnitudes involved: no choice hangs on the last bit
Side = tuple[Floats, Floats]


def first_best(values: Floats, margin: Floats) -> Ints:
    """Position of the least value per element, the first of those that are as good."""
    best, chosen = values[0], np.zeros(values.shape[1], np.int64)
    for j in range(1, len(values)):
        wins = values[j] < best - margin
        best, chosen = np.where(wins, values[j], best), np.where(wins, j, chosen)
    return chosen


class Choice:
    """What each plane is expected to cost a row: an index, and the least of the costs.

    A plane of d alone (s = q = 0) costs the same whatever the coefficient of x is, so that the best of these
    is known for either sign of that of d, before there is a row.
    """

    def __init__(self, planes: Floats, sides: list[Side], ranges: tuple[Floats, ...], margins: Side) -> None:
        """planes (5, k, n); the lines above and below x, each (slope, rest), (n, 1); middle and radius of x
        and of d, (n, 1); what is no better of lines, and per unit of a row's coefficients, (n)."""
        (self._above, high), (self._below, low) = sides
        self._mx, self._rx, self._md, self._rd = ranges
        self._top, self._bottom = self._above * self._mx + high, self._below * self._mx + low
        self._margin = margins[1][:, None]
        plain = ~planes[1:3].any(axis=(0, 2))
        self._plain = np.flatnonzero(plain)
        self._others = [(int(j), *planes[:, j, :, None]) for j in np.flatnonzero(~plain)]
        p, _, _, low, high = planes[:, plain]
        middle, far = p * self._md.T, AWAY * np.abs(p) * self._rd.T
        self._signs = [] if not self._plain.size else [
            (self._plain[best][:, None], np.take_along_axis(cost, best[None], axis=0).T)
            for cost in (middle + high + far, far - middle - low)
            for best in [first_best(cost, margins[0])]
        ]  # fmt: skip

    def best(self, x: Floats, d: Floats) -> tuple[Floats, Ints]:
        """Costs, less what is no better, and indices, of rows x, d (elements, rows)."""
        size, positive = np.abs(d), d > 0
        margin = self._margin * (np.abs(x) + size)
        score, chosen = np.full(x.shape, np.inf), np.zeros(x.shape, np.int64)
        if self._signs:
            (first, gain), (second, loss) = self._signs
            chosen = np.where(positive, first, second)
            value, sway = self._of_x(x)
            score = value + np.where(positive, gain, loss) * size + AWAY * np.abs(sway) * self._rx
        for j, p, q, s, low, high in self._others:
            middle = p * self._md + q * self._mx
            value, sway = self._of_x(x + s * d)
            mine = np.where(positive, middle + high, -(middle + low)) * size + value
            mine += AWAY * (np.abs(p) * self._rd * size + np.abs(sway + q * d) * self._rx)
            wins = mine < score - margin
            score[wins], chosen[wins] = mine[wins], j
        return score - margin, chosen

    def _of_x(self, part: Floats) -> Side:
        """What the line of x makes of its coefficients, at the middle, and their slope."""
        above, below = np.maximum(part, 0.0), np.minimum(part, 0.0)
        return above * self._top + below * self._bottom, above * self._above + below * self._below
