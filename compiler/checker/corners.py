# SPDX-License-Identifier: Apache-2.0
"""Ends of sums of the float network that the certificate's multipliers prove: w @ h + b, where each h is
the largest of affine functions of a few inputs, hence convex. Those of the same inputs with w > 0 are looked
at in every corner; for the others a mean of their functions is a line below."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from .backward import Tape
from .envelopes import Entry, centre
from .files import Rejected, integer, mapping, need, sequence, text
from .pairs import Affine, Step
from .rounding import Floats, Ints, above, below, slack

WIDE = 64  # inputs of one h
INPUTS = 16  # of a group whose corners are looked at
NUMBERS = 1 << 22  # of one tensor
WORK = 1 << 34  # corners, times what is added up there
KEPT = 1 << 23
FEW = 16  # elements of a tensor behind, at most
MOVES = ("Reshape", "Take", "Transpose")
Weighted = tuple[Ints, Floats, float]


@dataclass(frozen=True)
class Peaks:
    """Elements `at` (-1: 0) of tensors whose elements are max(slopes @ inputs[reads] + starts, floor), reads
    (n, S) with -1 for none; or (no slopes) of the input."""

    at: Ints
    reads: Ints
    slopes: Floats | None = None
    starts: Floats | None = None
    floor: bool = False


class Ends:
    """What a certificate says of ends. `boxes`: of sums of maxima, as its multipliers prove them; those of a
    few sums behind these need rows of theirs on the maxima, which the tape has when it comes to them."""

    def __init__(self, said: Any, steps: list[Step], entries: dict[str, Entry]) -> None:
        need(len(entries) == 1, "corners: of several inputs")
        (self._entry,), self._work = entries.values(), [WORK]
        sums, shapes = dict(_sums(steps, entries)), {step.layer.output: step.shape for step in steps}
        self._sources = {source: peaks for _, _, (source, peaks) in sums.values()}
        self._last: tuple[Peaks, int] | None = None  # maxima, and their place on the tape
        self._behind, self.boxes = dict[str, Any](), dict[str, Floats]()
        for value, rows in mapping(said, "corners").items():
            if value in sums:
                step, read, _ = sums[value]
                self.boxes[value] = self._box(rows, step.shape, read, partial(_signed, step.data, read.at))
            else:
                few = prod(shapes.get(value, (FEW + 1,))) <= FEW
                need(few, f"corners: {value!r} is neither a sum of maxima of the input nor one of few behind")
                self._behind[value] = rows

    def behind(self, name: str, shape: tuple[int, ...], place: int, tape: Tape) -> Floats | None:
        """Ranges of a value at a place on the tape; None if nothing is said."""
        if name in self._sources:
            self._last = self._sources[name], place
        if name not in self._behind:
            return None
        need(self._last is not None, f"corners: {name!r} is in front of all maxima")
        assert self._last is not None
        peaks, before = self._last
        found = {sign: tape.on(place, before, sign * np.eye(prod(shape))) for sign in (1.0, -1.0)}

        def row(i: int, sign: float) -> Weighted:
            both = found[sign]
            need(both is not None, f"corners: {name!r} reads more than maxima")
            assert both is not None
            w, at = both[0][:, i], peaks.at.ravel()
            used = np.flatnonzero((at >= 0) & (w != 0))
            return at[used], w[used], float(both[1][i])

        return self._box(self._behind[name], shape, peaks, row)

    def _box(
        self, rows: Any, shape: tuple[int, ...], peaks: Peaks, row_of: Callable[[int, float], Weighted]
    ) -> Floats:
        box = np.stack([np.full(shape, sign * 1e300).ravel() for sign in (-1, 1) * 3])
        at = _Corners(peaks, self._entry, self._work)
        need(len(sequence(rows, "corners")) <= 2 * box[0].size, "corners: too many ends")
        for row in rows:
            place, side, scale, split, lines = sequence(row, "corners", 5)
            need(side in ("upper", "lower"), "corners: neither upper nor lower")
            need(type(scale) in (int, float) and 0 < scale < 1e30, "corners: scale")
            i, sign = integer(place, "corners", 0, box[0].size - 1), 1.0 if side == "upper" else -1.0
            parts = scale * _packed(split, "<i2").astype(np.float64), _packed(lines, "u1")
            top = at.most(*row_of(i, sign), *parts)
            box[int(sign > 0), i] = min(top, box[1, i]) if sign > 0 else max(-top, box[0, i])
        return box.reshape(6, *shape)


def _packed(said: Any, kind: str) -> Ints:
    try:
        data = b64decode(text(said, "corners").encode(), validate=True)
    except ValueError as error:
        raise Rejected("corners: not base64") from error
    need(len(data) % np.dtype(kind).itemsize == 0, "corners: half a number")
    return np.frombuffer(data, kind).astype(np.int64)


def _sums(
    steps: list[Step], entries: dict[str, Entry]
) -> Iterator[tuple[str, tuple[Step, Peaks, tuple[str, Peaks]]]]:
    """Sums of peaks, the peaks at (G, K, P), and the tensor of these before they are moved."""
    known = {}
    origin = {name: name for name in entries}
    for name, entry in entries.items():
        n = len(entry.lower)
        known[name] = Peaks(np.arange(n).reshape(entry.shape), np.arange(n)[:, None])
    for step in steps:
        x = known.get(step.layer.inputs[0]) if len(step.layer.inputs) == 1 else None
        if x is None:
            continue
        source, t, out = origin[step.layer.inputs[0]], step.data, step.layer.output
        if isinstance(t, Affine):
            if t.lost or not (t.pad.x == 0 or (t.index >= 0).all()):
                continue
            read = _moved(x, t.index)
            if x.slopes is not None:
                yield out, (step, read, (source, known[source]))
                continue
            after = _linear(t, read, step.shape)
        else:
            after = _after(step, x)
        if after is not None:
            known[out], origin[out] = after, source if step.layer.op in MOVES else out


def _after(step: Step, x: Peaks) -> Peaks | None:
    t, op = step.data, step.layer.op
    if op == "Requantise" and x.slopes is not None and t.limits in ((0.0, np.inf), (-np.inf, np.inf)):
        return replace(x, floor=x.floor or t.limits[0] == 0)
    if op == "MaxPool" and x.slopes is not None:
        return _pooled(t, x, step.shape)
    if op == "Reshape":
        return replace(x, at=x.at.reshape(step.shape))
    if op in MOVES and (t[1].x == 0 or (t[0] >= 0).all()):
        return _moved(x, t[0])
    return None


def _moved(x: Peaks, index: Ints) -> Peaks:
    return replace(x, at=np.where(index >= 0, x.at.ravel()[index], -1))


def _linear(t: Affine, x: Peaks, shape: tuple[int, ...]) -> Peaks | None:
    groups, rows, inner = t.w.shape
    places = x.at.shape[2]
    if groups * rows * places * inner > NUMBERS:
        return None
    reads = np.stack([x.at[g, :, p] for g in range(groups) for _ in range(rows) for p in range(places)])
    slopes = np.repeat(t.w.reshape(-1, 1, inner), places, axis=0)
    starts = np.repeat(t.b.reshape(-1, 1), places, axis=0)
    return Peaks(np.arange(len(reads)).reshape(shape), reads, slopes, starts)


def _pooled(index: Ints, x: Peaks, shape: tuple[int, ...]) -> Peaks | None:
    """The taps (C, taps, places) side by side, as functions of all their inputs."""
    assert x.slopes is not None and x.starts is not None
    if (x.at < 0).any():
        return None
    windows = x.at.ravel()[index.transpose(0, 2, 1).reshape(-1, index.shape[1])]
    inputs = [sorted({int(i) for i in x.reads[taps].ravel()} - {-1}) for taps in windows]
    width, each = max(map(len, inputs)), x.slopes.shape[1]
    if width > WIDE or windows.size * each * width > NUMBERS:
        return None
    reads = np.full((len(windows), width), -1)
    slopes = np.zeros((len(windows), windows.shape[1], each, width))
    for n, (taps, own) in enumerate(zip(windows, inputs, strict=True)):
        reads[n, : len(own)] = own
        for j, tap in enumerate(taps):
            for column, read in enumerate(x.reads[tap]):
                if read >= 0:
                    slopes[n, j, :, own.index(int(read))] += x.slopes[tap, :, column]
    starts = x.starts[windows].reshape(len(windows), -1)
    flat = slopes.reshape(len(windows), -1, width)
    return Peaks(np.arange(len(windows)).reshape(shape), reads, flat, starts, x.floor)


def _signed(t: Affine, at: Ints, element: int, sign: float) -> Weighted:
    own, w, b = _row(t, at, element)
    return own, sign * w, sign * b


def _row(t: Affine, at: Ints, element: int) -> Weighted:
    """Peaks, weights and bias of one sum."""
    group, row, place = np.unravel_index(element, (*t.w.shape[:2], at.shape[2]))
    own, w = at[group, :, place], t.w[group, row]
    held = np.flatnonzero((own >= 0) & (w != 0))
    return own[held], w[held], float(np.broadcast_to(t.b, (*t.w.shape[:2], 1))[group, row, 0])


class _Corners:
    """Upper bounds of sums of peaks over the box."""

    def __init__(self, peaks: Peaks, entry: Entry, work: list[int]) -> None:
        low, high = np.array([below(v) for v in entry.lower]), np.array([above(v) for v in entry.upper])
        self.middle, self.radius = centre(low, high)
        self.peaks, self.work, self.seen = peaks, work, dict[int, Floats]()

    def most(self, at: Ints, w: Floats, b: float, split: Floats, counts: Ints) -> float:
        """split: slopes that the groups gain, one after the other, each by its inputs in order; counts: of
        each peak with w < 0 the shares of its functions, the floor last."""
        groups: dict[tuple[int, ...], list[int]] = {}
        value, size, rest, taps = b, abs(b), np.zeros(self.middle.size), 0
        under = list[int]()
        for k, peak in enumerate(at.tolist()):
            inputs, slopes, starts, most = self._functions(peak)
            size, taps = size + abs(w[k]) * most, len(starts)
            if w[k] > 0:
                groups.setdefault(inputs, []).append(k)
            else:
                under.append(k)
        need(counts.size == len(under) * taps, "corners: shares of lines")
        for k, shares in zip(under, counts.reshape(len(under), taps), strict=True):
            need(shares.any(), "corners: a line of nothing")
            inputs, slopes, starts, _ = self._functions(int(at[k]))
            part = w[k] * shares / shares.sum()
            value += float(part @ starts)
            rest[list(inputs)] += part @ slopes
        need(split.size == sum(map(len, groups)), "corners: slopes of groups")
        for inputs, members in groups.items():
            own, split = split[: len(inputs)], split[len(inputs) :]
            need(len(inputs) <= INPUTS, "corners: a group of too many inputs")
            self.work[0] -= (len(members) + 1) << len(inputs)
            need(self.work[0] >= 0, "corners: too much to look at")
            each = [w[k] * self._everywhere(int(at[k])) for k in members]
            value += float(np.sum([*each, _over(own, 0.0)], axis=0).max())
            rest[list(inputs)] -= own
            size += 2 * float(np.abs(own).sum())
        value += float(np.abs(rest).sum())
        return value + float(slack(len(at) * (taps + 1) + 8 * WIDE + self.middle.size, np.array(size)))

    def _functions(self, peak: int) -> tuple[tuple[int, ...], Floats, Floats, float]:
        """Inputs that move, slopes per unit in [-1, 1] of these, values in the middle, and a magnitude."""
        p = self.peaks
        assert p.slopes is not None and p.starts is not None
        read, slopes = p.reads[peak], p.slopes[peak]
        own = read[read >= 0]
        slopes = slopes[:, read >= 0]
        starts = p.starts[peak] + slopes @ self.middle[own]
        most = np.abs(p.starts[peak]) + np.abs(slopes) @ (np.abs(self.middle) + self.radius)[own]
        inputs = sorted({int(i) for i in own if self.radius[i] > 0})
        moving = np.zeros((len(starts), len(inputs)))
        for column, i in enumerate(own.tolist()):
            if self.radius[i] > 0:
                moving[:, inputs.index(i)] += slopes[:, column] * self.radius[i]
        if p.floor:
            moving, starts = np.vstack([moving, 0 * moving[:1]]), np.append(starts, 0.0)
        return tuple(inputs), moving, starts, float(most.max())

    def _everywhere(self, peak: int) -> Floats:
        if peak not in self.seen:
            if sum(found.size for found in self.seen.values()) > KEPT:
                self.seen.clear()
            _, slopes, starts, _ = self._functions(peak)
            found = _over(slopes[0], starts[0])
            for slope, start in zip(slopes[1:], starts[1:], strict=True):
                found = np.maximum(found, _over(slope, start))
            self.seen[peak] = found
        return self.seen[peak]


def _over(slope: Floats, start: float) -> Floats:
    """start + slope @ e in all corners e of [-1, 1]^n, the first input's sign changing slowest."""
    if not slope.size:
        return np.array([start])
    rest = _over(slope[1:], start)
    return np.concatenate([rest - slope[0], rest + slope[0]])
