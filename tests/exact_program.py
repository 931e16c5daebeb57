# SPDX-License-Identifier: Apache-2.0
"""Linear programs in rationals whose bounds are proven: HiGHS finds dual variables in floats, and any that
are not negative bound the program (Neumaier and Shcherbina, 2004)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

HALF = Fraction(1, 2)


class Program:
    """maximise objective v + constant over rows v <= right sides and ranges of v, all exact."""

    def __init__(self):
        self.ends, self.rows, self.objective, self.constant = [], [], {}, Fraction(0)

    def variable(self, low, high):
        """Its position."""
        self.ends.append((Fraction(low), Fraction(high)))
        return len(self.ends) - 1

    def ranged(self, terms, offset, low, high):
        """low <= terms + offset <= high, where there are such ends."""
        if high is not None:
            self.rows.append((terms, high - offset))
        if low is not None:
            self.rows.append(({at: -w for at, w in terms.items()}, offset - low))

    def within(self, out, terms, offset, lines):
        """The variable `out` between lines over terms + offset."""
        for slope, rest in lines[0]:
            above = {at: -slope * w for at, w in terms.items()}
            self.rows.append(({**above, out: Fraction(1)}, slope * offset + rest))
        for slope, rest in lines[1]:
            below = {at: slope * w for at, w in terms.items()}
            self.rows.append(({**below, out: Fraction(-1)}, -slope * offset - rest))

    def bound(self):
        """(proven upper bound, HiGHS' solution), or (None, None) where the program is proven to be empty."""
        cost, matrix, right, ends = self._floats()
        found = linprog(-cost, matrix, right, bounds=ends, method="highs")
        if found.status == 0:
            return self.proven(self.objective, -found.ineqlin.marginals) + self.constant, found.x.tolist()
        middle = [0.5 * a + 0.5 * b for a, b in ends]
        if matrix is not None:  # how far the rows must be moved for a solution to exist
            wide = np.hstack([matrix, -np.ones((len(matrix), 1))])
            apart = np.append(np.zeros(len(ends)), 1.0)
            moved = linprog(apart, wide, right, bounds=[*ends, (0, None)], method="highs")
            if moved.status == 0 and self.proven({}, -moved.ineqlin.marginals) < 0:
                return None, None
        return self.proven(self.objective, np.zeros(len(self.rows))) + self.constant, middle

    def proven(self, objective, weights):
        """An upper bound of objective v: rows times weights, and what is left at the ends of v."""
        rest, total = dict(objective), Fraction(0)
        for weight, (terms, right) in zip(weights, self.rows, strict=True):
            if weight > 0:
                exact = Fraction(float(weight))
                total += exact * right
                for at, w in terms.items():
                    rest[at] = rest.get(at, 0) - exact * w
        return total + sum(max(w * end for end in self.ends[at]) for at, w in rest.items())

    def _floats(self):
        cost = np.zeros(len(self.ends))
        for at, w in self.objective.items():
            cost[at] = float(w)
        ends = [(float(a), float(b)) for a, b in self.ends]
        if not self.rows:
            return cost, None, None, ends
        matrix = np.zeros((len(self.rows), len(self.ends)))
        for i, (terms, _) in enumerate(self.rows):
            for at, w in terms.items():
                matrix[i, at] = float(w)
        return cost, matrix, np.array([float(right) for _, right in self.rows]), ends


def hull(low, high, limits, half):
    """Lines (slope, rest) above and below clip(v +- half, limits), over low <= v <= high.

    Slopes are those of pieces and chords, cut to floats; the rests are exact at the kinks: any slopes do.
    """
    sides = []
    for way in (1, -1):  # above: clip(v + half), concave; below: clip(v - half), convex
        kinks = [limit - way * half for limit in limits if limit is not None]
        at = [low, high, *(k for k in kinks if low < k < high)]
        value = [_clip(v + way * half, *limits) for v in at]
        slopes = {Fraction(1)}
        anchor = 0 if way > 0 else 1
        for i in range(len(at)):
            if at[i] != at[anchor]:
                slopes.add(Fraction(float((value[i] - value[anchor]) / (at[i] - at[anchor]))))
        pick = max if way > 0 else min
        rests = [(s, pick(v - s * x for v, x in zip(value, at, strict=True))) for s in sorted(slopes) if s]
        sides.append(rests)
    return sides


def _clip(value, low, high):
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)
