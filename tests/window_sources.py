# SPDX-License-Identifier: Apache-2.0
"""Sources of both tapes, and what their windows do to rows beside what the whole does to the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybound.checker import backward, bends, nodes, share_rows
from tinybound.checker.forms import Pad as TheirPad
from tinybound.checker.together import Together
from tinybound.domains import pair_back, pair_joint, pair_lines, pair_softmax, pair_window
from tinybound.domains.pair_box import Box, Pad
from tinybound.domains.pair_itself import Linear
from tinybound.domains.pair_vertex import Envelope

GROUPS, PLACES = 4, 6
N = GROUPS * PLACES
TAPS = np.array(
    [
        [[g * PLACES + p + tap if 0 <= p + tap < PLACES else -1 for p in range(PLACES)] for tap in (-1, 0, 1)]
        for g in range(GROUPS)
    ]
)
SOME = np.array([1, 2, 7, 8, 14])
ROWS = 3


def box(shape: tuple[int, ...] = (GROUPS, 1, PLACES)) -> Box:
    """Ranges on both sides of 0; two elements lie far below it."""
    rng = np.random.default_rng(0)
    middle, wide = rng.normal(size=(2, int(np.prod(shape)))).reshape(2, *shape)
    middle.flat[[1, 8]] = -20.0
    d = 0.1 + 0.2 * rng.random(shape)
    low, high = middle - 0.1 - np.abs(wide), middle + 0.1 + np.abs(wide)
    return Box(low, high, low - d, high + d, -d, d)


def stacked(ranges: Box) -> np.ndarray:
    return np.stack([ranges.lx, ranges.ux, ranges.ly, ranges.uy, ranges.ld, ranges.ud]).reshape(6, -1)


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


def _bend() -> pair_lines.Bent:
    ranges = box()
    rounding = Envelope(0.05, 0.05, np.maximum(ranges.ly, 0), np.maximum(ranges.uy, 0))
    bend = pair_lines.bent_step(0, ranges, rounding, (0.0, np.inf))
    at = bend._open[:8]
    m = 0.001 * _numbers(at.size, 5)
    bend.joint = pair_joint.Joint(at, 0.001 + 0.0 * at, m, np.abs(m).sum(axis=1), 0.0 * at)
    return bend


def sources() -> list[pair_back.Source]:
    """One of each kind of the prover's."""
    ranges, weights = box(), _numbers(2, GROUPS, 1, 3)
    moved = pair_back.Moved(0, TAPS, ranges, Pad())
    padded = pair_back.Moved(0, TAPS, ranges, Pad(0.5, (0.4, 0.6), (-0.1, 0.1)))
    taps = Linear(weights[0], _numbers(GROUPS, 1), weights[1])
    read = ranges.gather(TAPS)
    mixed = Linear(_numbers(1, 4, GROUPS), _numbers(1, 4), _numbers(1, 4, GROUPS) + 0.1)
    flat = ranges.reshape((1, GROUPS, PLACES))
    factors = [tuple(_numbers(3, N) + k) for k in (0, 1)]
    return [
        pair_back.Root(ranges), moved, padded, pair_back.Blurred(0, np.abs(_numbers(N))),
        pair_back.Joined([0, 0], [np.arange(0, N, 2), np.arange(1, N, 2)]),
        pair_back.Linear(0, mixed, flat), pair_back.Scaled([0, 0], factors, [ranges, ranges]),
        pair_back.Patches(pair_back.Linear(0, taps, read), moved),
        pair_back.Patches(pair_back.Linear(0, taps, read), padded),
        _bend(), pair_softmax.Sums(ranges.reshape((GROUPS, PLACES)), 0.01),
    ]  # fmt: skip


def _rows(count: int, *, d: bool) -> pair_back.Rows:
    rng = np.random.default_rng(2)
    return pair_back.Rows(rng.normal(size=(count, ROWS)), rng.normal(size=(count, ROWS)) if d else None)


def prover() -> float:
    """The largest difference between a window and the whole, over all sources and a tape of them."""
    worst = _of_tape()
    for source in sources():
        here, reads, part = source.window(SOME)
        for d in (False, True):
            rows = _rows(here.size, d=d)
            count = 3 * N if isinstance(source, pair_back.Moved) else N
            ends = [pair_back.Total(np.zeros(ROWS), joint=d) for _ in range(2)]
            whole, some = source.back(rows.spread(here, count), ends[0]), part.back(rows, ends[1])
            worst = max(worst, _far(ends[0].bound(), ends[1].bound()))
            for a, b, read in zip(whole, some, reads, strict=True):
                size = len(a.x)
                worst = max(worst, _far(a.x, _placed(b.x, read, size)))
                if a.d is not None and b.d is not None:
                    worst = max(worst, _far(a.d, _placed(b.d, read, size)))
    return worst


def _of_tape() -> float:
    """Two readers of one tensor that read different elements of it, behind a bend with constants."""
    ranges, one = box(), np.ones(N)
    tape: list[Any] = [pair_back.Root(ranges), _bend()]
    tape.append(pair_back.Moved(1, np.roll(np.arange(N), 1), ranges, Pad()))
    tape.append(pair_back.Scaled([1, 2], [(one, one, 0 * one)] * 2, [ranges, ranges]))
    held, parts = pair_window.window(tape, 3, SOME, N)
    rows = _rows(SOME.size, d=True)
    whole = pair_window.upper_bounds(tape, 3, rows.spread(held, N))
    return _far(whole, pair_window.upper_bounds(parts, 3, rows))


def _placed(part: np.ndarray, read: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((size, part.shape[-1]))
    out[read] = part
    return out


def _far(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.nan_to_num(np.abs(a - b), nan=np.inf).max(initial=0.0))


def their_nodes() -> list[nodes.Node]:
    """One of each kind of the checker's."""
    ranges = box()
    flat = stacked(ranges)
    sizes = nodes.magnitude(flat)
    moved = nodes.moved(0, TAPS.ravel(), sizes, TheirPad())
    padded = nodes.moved(0, TAPS.ravel(), sizes, TheirPad(0.5, (0.4, 0.6), (-0.1, 0.1)))
    weights, rest = _numbers(2, GROUPS, 3, 1), np.abs(_numbers(4, N))
    taps = nodes.Sums(weights[0], weights[1], PLACES, *rest)
    mixed = nodes.Sums(_numbers(1, GROUPS, 4), _numbers(1, GROUPS, 4) + 0.1, PLACES, *rest)
    own = _bend()
    lines = np.stack([np.stack([slope * np.ones(N), 0 * sizes, 0 * sizes + 0.1]) for slope in (1.0, 0.0)])
    still = np.isin(np.arange(N), [1, 8])
    lines[0, :, still] = 0.0  # as the chord of what is constant
    assert own.joint is not None
    group = Together(own.joint.at, own.joint.rest, own.joint.m, own.joint.off)
    planes = own._planes.transpose(1, 0, 2)
    free = ~np.isin(np.arange(N), own._shut)
    return [
        nodes.root(flat), moved, padded, nodes.blurred(0, np.abs(_numbers(N))),
        nodes.joined([0, 0], [np.arange(0, N, 2), np.arange(1, N, 2)]), nodes.summed(0, mixed),
        nodes.blended([0, 0], [tuple(_numbers(3, N) + k) for k in (0, 1)], sizes),
        nodes.of_patches(nodes.summed(0, taps), moved, taps),
        nodes.of_patches(nodes.summed(0, taps), padded, taps),
        bends.bent(0, flat, lines, planes, group, free, still),
        share_rows._adding_up(flat[..., None], PLACES, 0.01),
    ]  # fmt: skip


def checker() -> float:
    """As `prover`, of the checker's."""
    worst = _of_their_tape()
    for node in their_nodes():
        here, reads, part = node.part(SOME)
        for kinds in (1, 2):
            a = np.random.default_rng(2).normal(size=(kinds, here.size, ROWS))
            full = np.zeros((kinds, 3 * N if node.moves else N, ROWS))
            full[:, here] = a
            ends = [nodes.Sum(ROWS, joint=kinds == 2) for _ in range(2)]
            whole, some = node.back(full, ends[0]), part.back(a, ends[1])
            worst = max(worst, _far(ends[0].value, ends[1].value))
            for one, other, read in zip(whole, some, reads, strict=True):
                spread = np.zeros_like(one)
                spread[:, read] = other
                worst = max(worst, _far(one, spread))
    return worst


def _of_their_tape() -> float:
    tape, ranges, one = backward.Tape(), box(), np.ones(N)
    flat = stacked(ranges)
    tape.root(flat)
    tape.put(their_nodes()[-2])
    tape.moved(1, np.roll(np.arange(N), 1), flat, TheirPad())
    tape.blended([1, 2], [(one, one, 0 * one)] * 2, [flat, flat])
    held, parts = tape.window(3, SOME, N)
    a = np.random.default_rng(2).normal(size=(2, SOME.size, ROWS))
    full = np.zeros((2, N, ROWS))
    full[:, held] = a
    return _far(backward.upper(dict(enumerate(tape.nodes)), 3, full), backward.upper(parts, 3, a))
