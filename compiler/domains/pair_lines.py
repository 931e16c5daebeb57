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

from .pair_back import EDGES, Rows, Total, reach, varied
from .pair_box import Box
from .pair_choice import AWAY, BETTER, Choice, first_best
from .pair_float import TINY, Floats, Ints, U, down, slack, up
from .pair_joint import Joint
from .pair_squares import Squares
from .pair_table import Pointwise
from .pair_vertex import Envelope, Slopes, Vertices


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
    squares: Squares | None = None

    def __init__(
        self,
        read: int,
        before: Box,
        lines: Sequence[Line],
        planes: Sequence[Plane],
        certain: NDArray[np.bool_] | None = None,
        gone: NDArray[np.bool_] | None = None,
    ) -> None:
        """`certain`: elements whose first plane is d_in and a rounding, so that no other is looked at;
        `gone`: elements with a constant x and y, whose last plane is a constant."""
        self.reads: tuple[int, ...] = (read,)
        self.size = before.lx.size
        self._mx = (0.5 * before.lx + 0.5 * before.ux).reshape(-1, 1)
        self._md = (0.5 * before.ld + 0.5 * before.ud).reshape(-1, 1)
        self._rx = (0.5 * before.ux - 0.5 * before.lx).reshape(-1, 1)
        self._rd = (0.5 * before.ud - 0.5 * before.ld).reshape(-1, 1)
        highs = np.stack([(line.slope * _like(self._mx, line) + line.high).ravel() for line in lines])
        lows = np.stack([(line.slope * _like(self._mx, line) + line.low).ravel() for line in lines])
        size = reach(before)
        margin = BETTER * size
        best_high, best_low = first_best(highs, margin), first_best(-lows, margin)
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
        sure = np.zeros(self.size, bool) if certain is None else certain.ravel()
        none = np.zeros(self.size, bool) if gone is None else gone.ravel()
        none = none & ~self._planes[:3, -1].any(axis=0) & ~(self._upper[0] + self._lower[0]).any(axis=1)
        sure = sure & ~none
        self._open, self._shut = np.flatnonzero(~sure & ~none), np.flatnonzero(sure)
        self._gone, self._kept = np.flatnonzero(none), np.arange(self.size)
        same = sure & (self._upper[0] == 1).ravel() & (self._lower[0] == 1).ravel()
        self._turned = np.flatnonzero(~same)
        self.work = 8 * self.size + 8 * self._open.size * len(planes)
        self._margins = BETTER * size, BETTER * self._size
        self._choice = self._chooser()

    def _chooser(self) -> Choice:
        at, (planes, rows) = self._open, self._margins
        ranges = tuple(part[at] for part in (self._mx, self._rx, self._md, self._rd))
        sides = [(slope[at], rest[at]) for slope, rest in (self._upper, self._lower)]
        return Choice(self._planes[:, :, at], sides, ranges, (planes[at], rows[at]))

    def together(self, joint: Joint | None) -> None:
        """These elements may be bounded together, where they are open."""
        which = np.full(self.size, -1)
        which[self._open] = self._open
        self.joint = None if joint is None else joint.among(which)

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Bent]:
        which = np.full(self.size, -1)
        which[at] = np.arange(at.size)
        alone = ("_mx", "_md", "_rx", "_rd", "_rest", "_offset", "_more")
        pairs = ("_upper", "_lower", "_margins")
        sets = {key: which[getattr(self, key)] for key in ("_open", "_shut", "_gone", "_turned")}
        sets = {key: places[places >= 0] for key, places in sets.items()}
        here = np.ones(at.size, bool)
        here[sets["_gone"]] = False
        part = varied(
            self,
            size=at.size,
            work=8 * at.size + 8 * sets["_open"].size * self._planes.shape[1],
            joint=None if self.joint is None else self.joint.among(which),
            squares=None,  # of the whole: their places are not the part's
            _planes=self._planes[:, :, at],
            _kept=np.flatnonzero(here),
            **sets,
            **{key: getattr(self, key)[at] for key in alone},
            **{key: tuple(v[at] for v in getattr(self, key)) for key in pairs},
        )
        vars(part).update(_choice=Bent._chooser(part))
        return at, [at[here]], part

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        """Per row and element the plane that is best AWAY from the middle of the ranges."""
        if rows.d is None:
            total.pay(self._more @ np.abs(rows.x))
            return [Rows(self._across(rows.x.copy(), total), None).at(self._kept)]
        total.pay(self._more @ (np.abs(rows.x) + np.abs(rows.d)))
        best, chosen = self._choice.best(rows.x[self._open], rows.d[self._open])
        alone, half = rows.d, np.zeros_like(rows.d[:0])
        if self.joint is not None and total.joint:
            inside = np.searchsorted(self._open, self.joint.at)
            together = self._together(self.joint, rows, best[inside])
            self.joint.take(together, total)
            alone, half = rows.d.copy(), 0.5 * together
            alone[self.joint.at] -= together
        x, d = rows.x.copy(), alone.copy()  # a sure element's first plane has d as it was, and no x
        part = alone[self._shut]
        low, high = self._planes[3:, 0, self._shut]
        constant = high @ np.maximum(part, 0.0) + low @ np.minimum(part, 0.0)
        part = alone[self._open]
        p, q, s, low, high = self._planes[:, chosen, self._open[:, None]]
        constant += (np.maximum(part, 0.0) * high + np.minimum(part, 0.0) * low).sum(axis=0)
        x[self._open] += s * part
        d[self._open], left = p * part, q * part
        part, d[self._gone] = alone[self._gone], 0.0
        low, high = self._planes[3:, -1, self._gone]
        constant += high @ np.maximum(part, 0.0) + low @ np.minimum(part, 0.0)
        total.add(constant, self._offset @ np.abs(alone), len(alone) + EDGES)
        if self.joint is not None and half.size:
            d[self.joint.at] += half
        x = self._across(x, total)
        x[self._open] += left
        return [Rows(x, d).at(self._kept)]

    def squared(self, rows: Rows, total: Total) -> Floats:
        """Upper bounds of rows that have `total` beside, with all elements of `squares` together."""
        assert self.squares is not None and rows.d is not None
        at, alone = self.squares.joint.at, rows.d.copy()
        alone[at] = 0.0
        (before,) = self.back(Rows(rows.x, alone), total)
        assert before.d is not None
        before.d[at] += 0.5 * rows.d[at]
        return self.squares.most(before, rows.d[at], total)

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
        return np.where(score < alone, d, 0.0)

    def _across(self, part: Floats, total: Total) -> Floats:
        """The line of x for a coefficient of either sign, in place."""
        size = np.abs(part)
        lost = self._rest @ size
        at, turned = self._turned, part[self._turned]
        up, down = np.maximum(turned, 0.0), np.minimum(turned, 0.0)
        value = lost - self._rest[at] @ size[at]  # where x stays, but for its error
        value += self._upper[1][at, 0] @ up + self._lower[1][at, 0] @ down
        total.add(value, lost, 2 * len(part) + EDGES)
        part[at] = up * self._upper[0][at] + down * self._lower[0][at]
        return part


def _like(middle: Floats, line: Line) -> Floats:
    return middle.reshape(line.slope.shape)


def bent_step(read: int, box: Box, envelope: Envelope, limits: tuple[float, float]) -> Bent:
    """x = clip(xhat, limits) beside the step function of `envelope` on yhat."""
    corners = Vertices(box, envelope, limits)
    zero = np.zeros_like(box.lx)
    planes = [
        Plane(p, q, s, *corners.spread(Slopes(p, q, s), zero, zero)) for p, q, s in _slopes(box, envelope)
    ]
    whole = (limits[0] <= np.minimum(box.lx, box.ly)) & (np.maximum(box.ux, box.uy) <= limits[1])
    far = np.maximum(envelope.lower, envelope.upper) * (1 + BETTER) + BETTER * np.maximum(
        np.abs(box.ly), np.abs(box.uy)
    )
    plain = (planes[0].high <= far) & (-planes[0].low <= far)
    wide = envelope.ku - envelope.kl > 2 * far + (box.ud - box.ld)
    gone = np.clip(box.lx, *limits) == np.clip(box.ux, *limits)
    gone &= envelope.ku - envelope.kl <= BETTER * np.abs(envelope.ku)
    return Bent(read, box, _clips(box, limits), planes, whole & plain & wide, gone)


def largest(read: int, box: Box, single: NDArray[np.bool_]) -> Bent:
    """A maximum that was put together from pairs: where it is not a `single` tap, its difference is bounded
    by ranges. It is never above all the differences of the taps, as pairs of planes would have it."""
    zero, one = np.zeros_like(box.lx), np.where(single, 1.0, 0.0)
    low, high = np.where(single, zero, box.ld), np.where(single, zero, box.ud)
    planes = [Plane(one, zero, zero, low, high), Plane(zero, zero, zero - 1, box.ly, box.uy)]
    return Bent(read, box, [Line(zero + 1, zero, zero)], planes)


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
        (one, zero, zero), (share, zero, zero), (one - share, zero, zero), (zero, zero, -one),
        (chord, chord, -one), (one, one, -one), (zero, zero, zero),
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
    return Bent(read, box, lines, [
        Plane(middle, zero, zero, down(noise[0] - far), up(noise[1] + far)),
        *(Plane(al, al, zero - 1, *terms.against(box, al)) for al in (lam, zero)),
        Plane(zero, zero, zero, after.ld, after.ud),
    ])  # fmt: skip
