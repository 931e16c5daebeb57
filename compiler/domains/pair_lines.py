# SPDX-License-Identifier: Apache-2.0
"""Lines around what is not linear, chosen per row: x <= pu x_in + ru, and d <= P d_in + Q x_in + s x + R.

s = -1 bounds y instead of d and leaves the rest to the line of x, whose coefficient then is A_x - A_d: what
the row has of x cancels before it is relaxed. Slopes are advice, intercepts are proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pair_back import EDGES, Rows, Total, reach
from .pair_box import Box
from .pair_float import TINY, Floats, Ints, U, down, slack, up
from .pair_interval import stepped
from .pair_joint import Joint
from .pair_table import Pointwise
from .pair_vertex import Envelope, Slopes, Vertices

AWAY = (
    0.375  # of the way from the middle of an element's ranges to its worst corner lies what a choice looks at
)
BETTER = 1e-9  # of the magnitudes involved: no choice hangs on the last bit


@dataclass(frozen=True)
class Line:
    """slope * x_in + [low, high] holds x."""

    slope: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Plane:
    """p * d_in + q * x_in + s * x + [low, high] holds d."""

    p: Floats
    q: Floats
    s: Floats
    low: Floats
    high: Floats


class Bent:
    """Each element of x and d by lines over the same element of the input."""

    joint: Joint | None = None

    def __init__(
        self, read: int, before: Box, after: Box, lines: Sequence[Line], planes: Sequence[Plane]
    ) -> None:
        self.after = after
        self.reads: tuple[int, ...] = (read,)
        self.size = before.lx.size
        self.work = 16 * self.size * len(planes)
        self._mx = (0.5 * before.lx + 0.5 * before.ux).reshape(-1, 1)
        self._md = (0.5 * before.ld + 0.5 * before.ud).reshape(-1, 1)
        self._rx = (0.5 * before.ux - 0.5 * before.lx).reshape(-1, 1)
        self._rd = (0.5 * before.ud - 0.5 * before.ld).reshape(-1, 1)
        highs = np.stack([(line.slope * _like(self._mx, line) + line.high).ravel() for line in lines])
        lows = np.stack([(line.slope * _like(self._mx, line) + line.low).ravel() for line in lines])
        size = reach(before)
        margin = BETTER * size
        best_high, best_low = _first_best(highs, margin), _first_best(-lows, margin)
        slopes, each = np.stack([line.slope.ravel() for line in lines]), np.arange(size.size)
        high, low = (np.stack([getattr(line, end).ravel() for line in lines]) for end in ("high", "low"))
        self._upper = slopes[best_high, each][:, None], high[best_high, each][:, None]
        self._lower = slopes[best_low, each][:, None], low[best_low, each][:, None]
        keys = ("p", "q", "s", "low", "high")
        self._planes = np.stack([np.stack([getattr(each, key).ravel() for each in planes]) for key in keys])
        most = np.abs(self._planes).max(axis=1)  # p, q, s, low, high
        steep = np.maximum(np.abs(self._upper[0]), np.abs(self._lower[0])).ravel()
        self._rest = np.maximum(np.abs(self._upper[1]), np.abs(self._lower[1])).ravel()
        self._offset = self._rest * (1 + most[2]) + np.maximum(most[3], most[4])
        self._size = (steep * (1 + most[2]) + most[0] + most[1]) * size + self._offset
        self._more = slack(EDGES, self._size)

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        """Per row and element the plane that is best AWAY from the middle of the ranges."""
        if rows.d is None:
            total.pay(self._more @ np.abs(rows.x))
            return [Rows(self._across(rows.x, total), None)]
        size = np.abs(rows.x) + np.abs(rows.d)
        total.pay(self._more @ size)
        up, down = np.maximum(rows.d, 0.0), np.minimum(rows.d, 0.0)
        best, chosen = np.full(rows.x.shape, np.inf), np.zeros(rows.x.shape, np.int64)
        margin = BETTER * self._size[:, None] * size
        tops = self._upper[0] * self._mx + self._upper[1]
        bottoms = self._lower[0] * self._mx + self._lower[1]
        for j in range(self._planes.shape[1]):
            p, q, s, low, high = (part[:, None] for part in self._planes[:, j])
            middle = p * self._md + q * self._mx
            score = up * (middle + high) + down * (middle + low)
            of_x = rows.x + s * rows.d
            above, below = np.maximum(of_x, 0.0), np.minimum(of_x, 0.0)
            score += above * tops + below * bottoms
            sway = above * self._upper[0] + below * self._lower[0] + q * rows.d
            score += AWAY * (np.abs(p * rows.d) * self._rd + np.abs(sway) * self._rx)
            wins = score < best - margin
            best[wins], chosen[wins] = score[wins], j
        each = np.arange(len(chosen))[:, None]
        p, q, s, low, high = (part[chosen, each] for part in self._planes)
        if self.joint is None or not total.joint:
            constant = up * high + down * low
            total.add(constant.sum(axis=0), self._offset @ np.abs(rows.d), len(chosen) + EDGES)
            x = self._across(rows.x + s * rows.d, total)
            return [Rows(x + q * rows.d, p * rows.d)]
        together = self._together(self.joint, rows, best - margin)
        self.joint.take(together, total)
        alone = rows.d.copy()
        alone[self.joint.at] -= together
        constant = np.maximum(alone, 0.0) * high + np.minimum(alone, 0.0) * low
        total.add(constant.sum(axis=0), self._offset @ np.abs(alone), len(chosen) + EDGES)
        d = p * alone
        d[self.joint.at] += 0.5 * together
        return [Rows(self._across(rows.x + s * alone, total) + q * alone, d)]

    def _together(self, joint: Joint, rows: Rows, alone: Floats) -> Floats:
        """Coefficients of d of the elements at joint.at, 0 where one is expected to be better alone."""
        assert rows.d is not None
        x, d, at = rows.x[joint.at], rows.d[joint.at], joint.at
        above, below = np.maximum(x, 0.0), np.minimum(x, 0.0)
        score = above * (self._upper[0] * self._mx + self._upper[1])[at]
        score += below * (self._lower[0] * self._mx + self._lower[1])[at]
        sway = above * self._upper[0][at] + below * self._lower[0][at]
        score += 0.5 * d * self._md[at] + np.abs(d) * joint.guess[:, None]
        score += AWAY * (np.abs(sway) * self._rx[at] + 0.5 * np.abs(d) * self._rd[at])
        return np.where(score < alone[at], d, 0.0)

    def _across(self, part: Floats, total: Total) -> Floats:
        """The line of x for a coefficient of either sign."""
        up, down = np.maximum(part, 0.0), np.minimum(part, 0.0)
        value = self._upper[1].ravel() @ up + self._lower[1].ravel() @ down
        total.add(value, self._rest @ np.abs(part), len(part) + EDGES)
        return up * self._upper[0] + down * self._lower[0]


def _like(middle: Floats, line: Line) -> Floats:
    return middle.reshape(line.slope.shape)


def _first_best(values: Floats, margin: Floats) -> Ints:
    """Position of the least value per element, the first of those that are as good."""
    best, chosen = values[0], np.zeros(values.shape[1], np.int64)
    for j in range(1, len(values)):
        wins = values[j] < best - margin
        best, chosen = np.where(wins, values[j], best), np.where(wins, j, chosen)
    return chosen


def bent_step(read: int, box: Box, envelope: Envelope, limits: tuple[float, float]) -> Bent:
    """x = clip(xhat, limits) beside the step function of `envelope` on yhat."""
    corners = Vertices(box, envelope, limits)
    zero = np.zeros_like(box.lx)
    return Bent(read, box, stepped(box, envelope, limits), _clips(box, limits), [
        Plane(p, q, s, *corners.spread(Slopes(p, q, s), zero, zero)) for p, q, s in _slopes(box, envelope)
    ])  # fmt: skip


def largest(read: int, box: Box, single: NDArray[np.bool_]) -> Bent:
    """A maximum that was put together from pairs: where it is not a `single` tap, its difference is bounded
    by ranges. It is never above all the differences of the taps, as pairs of planes would have it."""
    zero, one = np.zeros_like(box.lx), np.where(single, 1.0, 0.0)
    low, high = np.where(single, zero, box.ld), np.where(single, zero, box.ud)
    planes = [Plane(one, zero, zero, low, high), Plane(zero, zero, zero - 1, box.ly, box.uy)]
    return Bent(read, box, box, [Line(zero + 1, zero, zero)], planes)


def _clips(box: Box, limits: tuple[float, float]) -> list[Line]:
    """X - slope * xhat for the chord, 0 and 1: its extremes lie at the kinks."""
    ends = [box.lx, box.ux, *(np.clip(limit, box.lx, box.ux) for limit in limits)]
    first, last, width = np.clip(box.lx, *limits), np.clip(box.ux, *limits), box.ux - box.lx
    chord = np.clip(np.divide(last - first, width, out=np.zeros_like(width), where=width > 0), 0.0, 1.0)
    error = (32 * U) * np.maximum.reduce([np.abs(end) for end in (box.lx, box.ux, first, last)])
    lines = []
    for slope in (chord, np.zeros_like(chord), np.ones_like(chord)):
        rests = np.stack([np.clip(end, *limits) - slope * end for end in ends])
        lines.append(Line(slope, rests.min(axis=0) - error, rests.max(axis=0) + error))
    return lines


def _slopes(box: Box, envelope: Envelope) -> list[tuple[Floats, Floats, Floats]]:
    zero = np.zeros_like(box.lx)
    one = zero + 1
    low, high = box.ld - envelope.lower, box.ud + envelope.upper
    width = np.maximum(high - low, TINY)
    share = np.clip(high, 0.0, width) / width
    chord = np.clip((envelope.ku - envelope.kl) / np.maximum(box.uy - box.ly, TINY), 0.0, 1.0)
    return [
        (one, zero, zero), (share, zero, zero), (one - share, zero, zero), (zero, zero, zero),
        (zero, zero, -one), (chord, chord, -one), (one, one, -one),
    ]  # fmt: skip


def bent_table(read: int, box: Box, terms: Pointwise) -> Bent:
    """A function beside its table, y_out = entries[q]."""
    zero, width = np.zeros_like(box.lx), box.ux - box.lx
    rise = terms.value(box.ux) - terms.value(box.lx)
    lam = np.clip(np.divide(rise, width, out=np.zeros_like(width), where=width > 0), *terms.slope)
    lines = [Line(slope, *terms.rest(box, slope)) for slope in (lam, zero)]
    steepest, noise, after = np.maximum(np.abs(box.ld), np.abs(box.ud)), terms.noise(box), terms.box(box)
    far = up(0.5 * (terms.slope[1] - terms.slope[0]) * steepest)
    middle = zero + 0.5 * (terms.slope[0] + terms.slope[1])
    return Bent(read, box, after, lines, [
        Plane(middle, zero, zero, down(noise[0] - far), up(noise[1] + far)),
        *(Plane(al, al, zero - 1, *terms.against(box, al)) for al in (lam, zero)),
        Plane(zero, zero, zero, after.ld, after.ud),
    ])  # fmt: skip
