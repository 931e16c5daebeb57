# SPDX-License-Identifier: Apache-2.0
"""Cuts by what a neuron is, for boxes of many inputs: halves of one input's range are all but the whole box.

A piece is where some sums lie on one side of a number, in the float network (x) or in the integer one (y).
Whatever the number is, both sides together are everything. At the kink of an activation each side has a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..domains.pair import Entry
from ..domains.pair_back import Rows
from ..domains.pair_box import Box
from ..domains.pair_crown import PairCrown, Traced
from ..domains.pair_float import Floats, above, below
from ..domains.pair_forms import unknown
from .branch import Bounds, largest
from .effort import Ended, never
from .lockstep import Lockstep, walk
from .pieces import Limit, Neuron, Place

BELOW = 0.2  # what a cut is worth where a row takes the line below x, of what it is above


@dataclass(frozen=True)
class Sighted:
    """Bounds on a piece, the cut that is expected to lower the worst of them most, ranges of all values."""

    bound: Bounds
    place: Place
    boxes: Mapping[int, Box]


def bounded(
    both: Lockstep,
    at: Mapping[int, Entry],
    limits: Sequence[Limit],
    outputs: list[str],
    known: Mapping[int, Box],
    *,
    only_x: bool = False,
    over: Callable[[], bool] = never,
) -> Sighted:
    """By crown, with the limits met where their sums are computed, and what is known of each step. Nothing
    differs where there is no input. `only_x`: of y and d nothing but that is known. Ended when it is `over`
    before."""
    domain, shapes = (
        PairCrown(only_x=only_x, at_once=False),
        {name: both.steps[both.values[name]].shape for name in outputs},
    )
    ranges = _ranges(both, limits)
    seen: dict[int, tuple[Box, int]] = {}

    def held(position: int, state: Traced) -> Traced:
        if over():
            raise Ended
        for more in (known, ranges):
            state = domain.within(state, more[position]) if position in more else state
        return state

    for position, state in walk(both, domain, at, held):
        box = domain.ranges(state)
        if limits and _empty(box):
            return Sighted({name: np.zeros(shape) for name, shape in shapes.items()}, None, {})
        seen[position] = box, state.place
    boxes = {i: seen[i][0] for i in both.values.values() if both.steps[i].word != "input"}
    return Sighted(largest(both, boxes, outputs), _cut(both, domain, seen, outputs), boxes)


def unsaturated(both: Lockstep, seen: Sighted, outputs: Sequence[str]) -> float:
    """The largest difference that is left where no output stops at its largest or smallest integer; infinite
    where a Requantise is not the last step. Pieces that are worse have to be bounded in x."""
    worst, names = 0.0, {at: value for value, at in both.values.items()}
    for step in (both.steps[both.values[name]] for name in outputs):
        if step.word != "requantise" or step.inputs[0] not in names:
            return np.inf
        box = seen.boxes[step.inputs[0]]
        worst = max(worst, float(np.maximum(box.ud, -box.ld).max()) + 0.5 * float(step.units.scale))
    return worst


def _ranges(both: Lockstep, limits: Sequence[Limit]) -> dict[int, Box]:
    """What the limits say of the steps that they are about."""
    ranges: dict[int, Box] = {}
    for limit in limits:
        position, at = both.values[limit.neuron.value], limit.neuron.element
        end = ("l" if limit.over else "u") + limit.neuron.side
        box = ranges.get(position, unknown(both.steps[position].shape))
        flat = getattr(box, end).flatten()
        flat[at] = max(flat[at], below(limit.place)) if limit.over else min(flat[at], above(limit.place))
        ranges[position] = replace(box, **{end: flat.reshape(box.lx.shape)})
    return ranges


def _empty(box: Box) -> bool:
    """Whether there is no input: ends are outward, so that those which have passed each other are proof."""
    return bool(((box.lx > box.ux) | (box.ly > box.uy) | (box.ld > box.ud)).any())


def _cut(
    both: Lockstep, domain: PairCrown, seen: Mapping[int, tuple[Box, int]], outputs: Sequence[str]
) -> Place:
    """The neuron on whose lines most of the worst bound rests: what its relaxation is off by, times its
    coefficients there. The float side first, as it also says most about the integer one."""
    ends = {both.values[name]: seen[both.values[name]][0] for name in outputs}
    out = max(ends, key=lambda at: max(float(ends[at].ud.max()), float(-ends[at].ld.min())))
    high, low = ends[out].ud.ravel(), -ends[out].ld.ravel()
    sign = 1.0 if high.max() >= low.max() else -1.0
    one = np.zeros((high.size, 3))  # rows of x, of d and of y: where outputs stop, the last d says little
    one[np.maximum(high, low).argmax()] = sign
    last = both.steps[out].inputs[0] if both.steps[out].word == "requantise" else out
    rows = domain.rows_behind(seen[last][1], Rows(one * (-1.0, 0.0, 1.0), one * (0.0, 1.0, 1.0)))
    names, best, found = {at: value for value, at in both.values.items()}, 0.0, None
    for position, (_, bend) in seen.items():
        step = both.steps[position]
        if step.word != "requantise" or bend not in rows or rows[bend].d is None:
            continue
        before, here = seen[step.inputs[0]][0], rows[bend]
        for kink in (limit for limit in step.real if np.isfinite(limit)):
            for side, score in _scores(before, kink, here, only_x=domain.only_x):
                element = int(score.argmax())
                if score[element] > best:
                    best = float(score[element])
                    found = Neuron(names[step.inputs[0]], element, side), Fraction(kink)
    return found


def _scores(box: Box, kink: float, rows: Rows, *, only_x: bool) -> list[tuple[str, Floats]]:
    """Per element, of a cut of x, and of y where x lies on one side."""
    assert rows.d is not None
    b = np.abs(rows.d).sum(axis=1)
    a = np.abs(rows.x).sum(axis=1)
    if only_x:  # the first row; where it takes the line below x, a cut may cost what others balance
        a, b = np.maximum(rows.x[:, 0], -BELOW * rows.x[:, 0]), 0.0 * b
    under, over = np.maximum(kink - box.lx, 0.0).ravel(), np.maximum(box.ux - kink, 0.0).ravel()
    both_sides = (under > 0) & (over > 0)
    bend = under * over / np.maximum(under + over, np.finfo(float).tiny)
    noise = 0.5 * np.maximum(np.minimum(box.ud, -box.ld), 0.0).ravel()
    less, more = np.maximum(kink - box.ly, 0.0).ravel(), np.maximum(box.uy - kink, 0.0).ravel()
    return [
        ("x", np.where(both_sides, a * bend + b * noise, 0.0)),
        ("y", np.where(both_sides, 0.0, 0.5 * b * np.minimum(less, more))),
    ]
