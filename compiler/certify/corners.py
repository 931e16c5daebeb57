# SPDX-License-Identifier: Apache-2.0
"""Ranges of sums over maxima (peaks.py), by the corners of the few inputs that each of these depends on.

Maxima of the same inputs with positive weights are one convex function of them: it is largest in a corner,
and all corners are looked at. For the others lines below do. What groups have in common are inputs: each may
gain a slope that the rest loses, so that they agree on a corner (docs/certificate-pieces.md).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Entry
from ..domains.pair_box import Box, centre
from ..domains.pair_float import Floats, Ints, slack
from ..domains.pair_forms import unknown
from .lockstep import Lockstep
from .peaks import SUPPORT, Sums, Taps, sums_over_maxima

INPUTS = 16  # of one group: 65,536 corners
WORK = 1 << 34  # corners, times what is added up there: what the checker looks at
KEPT, TAPS = 1 << 23, 1 << 12  # numbers of corners, and taps, that are remembered
ROUNDS, STEP, LESS, TURN = 40, 0.02, 0.95, 0.6  # of the search for multipliers
FINE = (1 << 15) - 1  # multipliers are written as so many parts of the largest
WIDE = 8  # times the roundings that there can be: a checker that rounds otherwise stays inside


@dataclass(frozen=True)
class Side:
    """An upper (or lower) end of one element, and the multipliers that prove it, as they are written."""

    element: int
    upper: bool
    end: float
    scale: float
    split: bytes  # int16 per group and input
    lines: bytes  # uint8 per maximum with a negative weight and tap
    work: int  # of a checker

    def written(self) -> list[Any]:
        """Without the end: the checker finds it."""
        parts = (b64encode(part).decode() for part in (self.split, self.lines))
        return [self.element, "upper" if self.upper else "lower", self.scale, *parts]


Ends = dict[str, list[Side]]


def narrowed(
    both: Lockstep, at: Mapping[int, Entry], boxes: Mapping[int, Box], over: Callable[[], bool]
) -> Ends:
    """Ends of elements that may bend, as far as `boxes` tell; the most bent first, until `over`, or until a
    checker would have looked at too much."""
    found, room = Ends(), WORK
    for value, sums in sums_over_maxima(both):
        position = both.values[value]
        kinks = [
            limit
            for step in both.steps
            if step.word == "requantise" and step.inputs == (position,)
            for limit in step.real
            if np.isfinite(limit)
        ]
        box, corners = boxes[position], Corners(sums, at[both.values[both.inputs[0]]].box())
        low, high = box.lx.flatten(), box.ux.flatten()
        bent = np.max([np.minimum(high - kink, kink - low) for kink in kinks] or [0 * low], axis=0)
        for element in map(int, np.argsort(-bent, kind="stable")[: int((bent > 0).sum())]):
            for upper in (True, False):
                if over():
                    return found
                side = corners.side(element, upper=upper)
                end = (high if upper else low)[element]
                if side is not None and (side.end < end if upper else side.end > end):
                    room -= side.work
                    if room < 0:
                        return found
                    found.setdefault(value, []).append(side)
                    (high if upper else low)[element] = side.end
    return found


def promising(both: Lockstep) -> bool:
    """Whether there may be ends, as no maximum depends on too many inputs."""
    return any(sums.taps.reads.shape[1] <= INPUTS for _, sums in sums_over_maxima(both))


def known(both: Lockstep, ends: Ends) -> dict[int, Box]:
    """What the ends say of their steps."""
    boxes = {}
    for value, sides in ends.items():
        position = both.values[value]
        box = unknown(both.steps[position].shape)
        low, high = box.lx.flatten(), box.ux.flatten()
        for side in sides:
            (high if side.upper else low)[side.element] = side.end
        boxes[position] = replace(box, lx=low.reshape(box.lx.shape), ux=high.reshape(box.lx.shape))
    return boxes


class Corners:
    """Bounds on rows of sums over a box of the input."""

    def __init__(self, sums: Sums, box: Box) -> None:
        self.sums = sums
        self.middle, self.radius = (part.ravel() for part in centre(box.lx, box.ux))
        self._seen, self._taps = dict[int, Floats](), dict[Any, tuple[Floats, Floats, Floats]]()

    def side(self, element: int, *, upper: bool) -> Side | None:
        """None where a maximum with a positive weight depends on too many inputs."""
        at, w, b = self.sums.row(element)
        return self.end(element, at, w if upper else -w, b if upper else -b, upper=upper)

    def end(self, element: int, at: Ints, w: Floats, b: float, *, upper: bool) -> Side | None:
        """The element (of a lower end, its negative) is at most w @ maxima at `at`, plus b."""
        row = _Row(self, at, w, b)
        if max(map(len, row.groups), default=0) > INPUTS:
            return None
        split, lines = row.chosen()
        scale = max((float(np.abs(part).max(initial=0.0)) for part in split), default=0.0) / FINE or 1.0
        whole = [np.rint(part / scale).astype("<i2") for part in split]
        counts = np.rint(255 * lines / lines.max(axis=1, initial=0.0, keepdims=True)).astype(np.uint8)
        top = row.proven([scale * part for part in whole], counts)
        packed = b"".join(part.tobytes() for part in whole), counts.tobytes()
        return Side(element, upper, top if upper else -top, scale, *packed, row.work)

    def inputs(self, element: int) -> tuple[int, ...]:
        """That one maximum depends on in the box, ascending."""
        reads = self.sums.taps.reads[element]
        return tuple(sorted({int(i) for i in reads[reads >= 0] if self.radius[i] > 0}))

    def taps(self, element: int, over: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
        """slope @ e + middle for e in [-1, 1] per input of `over`, and magnitudes; the floor is the last."""
        taps: Taps = self.sums.taps
        if (element, over) in self._taps:
            return self._taps[element, over]
        if len(self._taps) > TAPS:
            self._taps.clear()
        reads, coef, const = taps.reads[element], taps.coef[element], taps.const[element]
        held = reads >= 0
        middle = coef[:, held] @ self.middle[reads[held]] + const
        reach = np.abs(self.middle[reads[held]]) + self.radius[reads[held]]
        size = np.abs(coef[:, held]) @ reach + np.abs(const)
        slope = np.zeros((len(const), len(over)))
        where = {read: i for i, read in enumerate(over)}
        for column, read in enumerate(reads.tolist()):
            if read in where:
                slope[:, where[read]] += coef[:, column] * self.radius[read]
        if taps.floor == 0:
            middle, size = np.append(middle, 0.0), np.append(size, 0.0)
            slope = np.concatenate([slope, np.zeros((1, len(over)))])
        self._taps[element, over] = slope, middle, size
        return slope, middle, size

    def everywhere(self, element: int, over: tuple[int, ...]) -> Floats:
        """The maximum in every corner of its inputs."""
        if element not in self._seen:
            if sum(each.size for each in self._seen.values()) > KEPT:
                self._seen.clear()
            slope, middle, _ = self.taps(element, over)
            each = (at_corners(s, m) for s, m in zip(slope, middle, strict=True))
            self._seen[element] = np.maximum.reduce(list(each))
        return self._seen[element]


def at_corners(slope: Floats, start: float) -> Floats:
    """start + slope @ e for e in {-1, 1}^n; of corner k, e_j = 1 where k has bit j."""
    out = np.array([start])
    for part in slope:
        out = np.concatenate([out - part, out + part])
    return out


class _Row:
    """Upper bounds of weights @ maxima + b."""

    def __init__(self, corners: Corners, at: Ints, w: Floats, b: float) -> None:
        self.corners, self.b = corners, b
        self.members: dict[tuple[int, ...], list[int]] = {}
        reads = [corners.inputs(int(each)) for each in at]
        for k in np.flatnonzero(w > 0):
            self.members.setdefault(reads[k], []).append(int(k))
        self.at, self.w, self.groups = at, w, list(self.members)
        self.under = np.flatnonzero(w < 0)
        self.all = tuple(sorted({i for each in reads for i in each}))
        self.places = [np.searchsorted(self.all, group) for group in self.groups]
        parts = [corners.taps(int(at[k]), self.all) for k in self.under]
        taps = corners.sums.taps.const.shape[1] + (corners.sums.taps.floor == 0)
        self.slope = np.array([part[0] for part in parts]).reshape(len(parts), taps, len(self.all))
        self.middle, self.size = (
            np.array([part[i] for part in parts]).reshape(len(parts), taps) for i in (1, 2)
        )

    @property
    def work(self) -> int:
        """Corners of each group, for its members and what it gains."""
        return sum((len(members) + 1) << len(inputs) for inputs, members in self.members.items())

    def chosen(self) -> tuple[list[Floats], Floats]:
        """Multipliers: per group the slopes it is to gain, per line the shares of its taps (n, T). Steps down
        the gradient: each group says in which corner it is largest, and so do the inputs."""
        tops = [self._top(group).astype(np.float32) for group in self.groups]
        split = [-self._slope(group) for group in self.groups]
        start = self.middle + np.abs(self.slope).sum(axis=2)
        can = start >= self.middle.max(axis=1, initial=-np.inf, keepdims=True)
        first = self.middle == self.middle.max(axis=1, initial=-np.inf, keepdims=True)
        depth = np.where(can, np.log(np.where(first, 0.9, 0.1)), -np.inf)
        weights, unit = self.w[self.under][:, None], np.abs(self.w).max(initial=0.0) or 1.0
        speed, turn, far = [0.0 * part for part in split], np.zeros_like(self.middle), self.middle * 0.0
        best, kept = np.inf, (split, _shares(depth))
        for r in range(ROUNDS):
            lines = _shares(depth)
            rest = np.einsum("kt,kti->i", weights * lines, self.slope)
            value, ends = float((weights * lines * self.middle).sum()), list[Floats]()
            for top, part, place in zip(tops, split, self.places, strict=True):
                most, corner = _highest(top, part)
                value += most
                ends.append(corner)
                rest[place] -= part
            value += float(np.abs(rest).sum())
            if value < best:
                best, kept = value, (list(split), lines)
            sign, step = np.sign(rest), unit * STEP * LESS**r
            for i, place in enumerate(self.places):
                speed[i] = 0.8 * speed[i] + 0.2 * (ends[i] - sign[place])
                split[i] = split[i] - step * speed[i]
            gain = weights * (self.middle + self.slope @ sign)
            slope = lines * (gain - (lines * gain).sum(axis=1, keepdims=True))
            turn, far = 0.9 * turn + 0.1 * slope, 0.95 * far + 0.05 * slope**2
            depth = depth - TURN * LESS**r * turn / (np.sqrt(far) + 1e-12)
        return kept

    def proven(self, split: list[Floats], counts: Ints) -> float:
        """The bound that multipliers prove, rounded outward: any `split`, and counts of which one per line is
        not 0."""
        lines = counts / counts.sum(axis=1, dtype=np.float64, keepdims=True)
        weights = self.w[self.under][:, None]
        rest = np.einsum("kt,kti->i", weights * lines, self.slope)
        value, size = self.b + float((weights * lines * self.middle).sum()), abs(self.b)
        for group, part, place in zip(self.groups, split, self.places, strict=True):
            value += float((self._top(group) + at_corners(part, 0.0)).max())
            rest[place] -= part
            size += 2 * float(np.abs(part).sum())
        sizes = [self.corners.taps(int(at), ())[2].max() for at in self.at]
        size += float(np.abs(self.w) @ np.array(sizes)) if sizes else 0.0
        terms = WIDE * (len(self.at) * (self.middle.shape[1] + 1) + 8 * SUPPORT + len(self.corners.middle))
        return value + float(np.abs(rest).sum()) + float(slack(terms, np.array(size)))

    def _top(self, group: tuple[int, ...]) -> Floats:
        """What the group amounts to in every corner."""
        members = self.members[group]
        each = np.stack([self.corners.everywhere(int(self.at[k]), group) for k in members])
        return np.asarray(self.w[members] @ each)

    def _slope(self, group: tuple[int, ...]) -> Floats:
        """Of the taps that win in the middle."""
        total = np.zeros(len(group))
        for k in self.members[group]:
            slope, middle, _ = self.corners.taps(int(self.at[k]), group)
            total += self.w[k] * slope[middle.argmax()]
        return total


def _shares(depth: Floats) -> Floats:
    raised = np.exp(depth - depth.max(axis=1, initial=-np.inf, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _highest(top: NDArray[np.float32], part: Floats) -> tuple[float, Floats]:
    """How large top + part @ e is, and where: by a row and a column of the corners, in single precision."""
    half = len(part) // 2
    low, high = (at_corners(each, 0.0).astype(np.float32) for each in (part[:half], part[half:]))
    sums = top.reshape(len(high), len(low)) + low
    sums += high[:, None]
    corner = int(sums.argmax())
    signs = np.asarray(2 * ((corner >> np.arange(len(part))) & 1) - 1, np.float64)
    return float(sums.ravel()[corner]), signs
