# SPDX-License-Identifier: Apache-2.0
"""A lower bound on the largest difference, with the input that shows it (notes section 7).

Random points, corners and cell borders, then hill climbing per output, with moves along the float side's
gradient: to corners of the box, and to the ends of rounding cells. What is reported is proven: the integer
side comes from the golden model, the float side from an outward-rounded enclosure at the point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import run
from ..domains.pair import Entry, PairDomain
from ..domains.pair_float import down, scaled, slack, up
from ..domains.pair_interval import PairInterval
from ..domains.pair_product import PairProduct
from ..errors import PromiseError
from ..graph import Graph
from .effort import never
from .lockstep import Lockstep, walk
from .search import Search
from .steer import Steering

Floats = NDArray[np.float64]
POOL, PROPOSALS = 32, 4
WORK = 50_000_000  # elements computed: larger networks get fewer evaluations
UNIFORM = 33  # inputs whose elements lie at one share of their ranges
POLISH = 4  # rounds of climbing between two moves to the ends of cells
FEW = 8  # input elements: of more, climbing moves few at a time
CREW, TRIES, SETTLE = 4, 32, 8  # then: inputs that climb, moves of each per round, rounds between POLISHes
AGAIN = 3  # outputs on which half of these moves are spent: those with the largest differences so far
CROWD, LEAST = 32, 10  # before these: inputs that are drawn to ties (steer.py), rounds that are worth it
COMBINED = "combined"
Enclose = Callable[[Mapping[str, Any]], dict[str, tuple[Floats, Floats]]]
PROVEN = 64  # inputs evaluated exactly
EACH = 400  # evaluations, gradients counted, that one output of a network of many inputs takes at least
SMALL = 1 << 11  # elements of all values: networks whose forms at one point take no time


@dataclass(frozen=True)
class Attack:
    """Per output value: a proven lower bound per element, and the input that shows it."""

    found: dict[str, Floats]
    witness: dict[str, list[dict[str, Floats]]]

    @property
    def largest(self) -> float:
        """The largest difference of any output element."""
        return max(float(gaps.max()) for gaps in self.found.values())


def attack(
    real: Graph,
    whole: Graph,
    both: Lockstep,
    at: Mapping[int, Entry],
    outputs: Mapping[str, str],
    *,
    seed: int,
    budget: int = 20_000,
    times: int = 1,
    weights: Floats | None = None,
    enclose: Enclose | None = None,
    brief: bool = False,
    over: Callable[[], bool] = never,
) -> Attack:
    """Largest differences found in about `times` * `budget` evaluations; `outputs`: integer -> float value.

    weights (k, elements of all outputs): of these combinations instead, found under COMBINED. `enclose`: the
    difference at an input, proven; without it as `enclosed` says. `brief`: no more outputs are climbed on,
    and no more inputs proven, than `budget` pays for. Once it is `over`, what has been found is proven.
    """
    rng, search = np.random.default_rng(seed), Search(whole, both, at, outputs, real, weights)
    most = WORK // sum(value.size for value in whole.values.values())
    budget = max(times * min(budget, most), 4 * POOL)
    many = search.low.size > FEW
    first = max(budget // (8 if many else 4), 64)
    xs, gaps = starts(search, rng, first, over)
    hunt = _Hunt(search, rng, xs, gaps, over)
    targets = [int(k) for k in np.argsort(-gaps.max(axis=0), kind="stable")[:16]]
    most = max(1, (budget - first) // EACH) if brief and many else PROVEN
    targets = targets[:most]
    rounds = (budget - first) // (len(targets) * POOL * PROPOSALS)
    for k in targets:
        top = np.argsort(-gaps[:, k], kind="stable")[:POOL]
        more = search.corners(xs[top[: POOL // 4]], k)
        wide, each = np.concatenate([xs[top], more]), np.concatenate([gaps[top, k], hunt.tried(more)[:, k]])
        best = np.argsort(-each, kind="stable")[:POOL]
        pool, score = hunt.moved(k, wide[best], each[best])
        if many:
            hunt.settle(k, pool, score, (budget - first) // (2 * len(targets)))
        else:
            hunt.climb(k, pool, score, rounds)
    steering = Steering(search) if many else None
    for k in sorted(targets, key=lambda k: -float(hunt.gap[k]))[: AGAIN if many else 0]:
        share = (budget - first) // (2 * min(AGAIN, len(targets)))
        pool, score = hunt.x[k : k + 1], hunt.gap[k : k + 1]
        if steering and share >= LEAST * CROWD:
            pool, score = steering.drawn(np.concatenate([pool, xs[1 - CROWD :]]), k, share // CROWD)
            hunt.tried(pool)
        hunt.settle(k, pool, score, share)
    enclose = enclose or partial(enclosed, whole, both, at, list(outputs))
    return _proven(search, enclose, hunt, min(PROVEN, 2 * most), over)


def contradicted(bound: Mapping[str, Floats], found: Attack) -> None:
    """PromiseError when a difference that was seen is larger than its bound: one of the two is wrong."""
    for name, top in bound.items():
        over = np.flatnonzero(found.found[name].ravel() > top.ravel())
        if over.size:
            k = int(over[0])
            seen, at = found.found[name].ravel()[k], {n: x.ravel() for n, x in found.witness[name][k].items()}
            raise PromiseError(
                f"{name}[{k}]",
                f"a difference of {seen:.9g} at {at}, above the bound {top.ravel()[k]:.9g}",
                "no such input: this is a mistake of tinybound's",
                "reporting the network and the box",
            )


class _Hunt:
    """The largest difference seen per output element, and where; ways to look for larger ones."""

    def __init__(
        self,
        search: Search,
        rng: np.random.Generator,
        xs: Floats,
        gaps: Floats,
        over: Callable[[], bool],
    ) -> None:
        self.search, self.rng, self.over = search, rng, over
        self.gap = np.full(gaps.shape[1], -1.0)
        self.x = np.repeat(xs[:1], gaps.shape[1], axis=0)
        self.see(xs, gaps)

    def see(self, xs: Floats, gaps: Floats) -> None:
        """Keep what is better than before."""
        at = gaps.argmax(axis=0)
        new = gaps[at, np.arange(len(at))]
        better = new > self.gap
        self.gap[better], self.x[better] = new[better], xs[at[better]]

    def tried(self, xs: Floats) -> Floats:
        """Differences (N, all elements) at flat inputs, which count."""
        gaps = self.search.gaps(xs)
        self.see(xs, gaps)
        return gaps

    def climb(self, k: int, pool: Floats, score: Floats, rounds: int) -> None:
        """Hill climbing for output element k from a pool of inputs."""
        n = pool.shape[1]
        for r in range(rounds):
            if self.over():
                return
            if r and r % POLISH == 0:
                pool, score = self.moved(k, pool, score)
            moves = _propose(self.search, self.rng, pool, 0.3 * 0.95**r, min(1.0, max(0.3, 2 / n)))
            pool, score = self._best(k, pool, score, moves)
            if r % 25 == 24:  # the better half twice
                keep = np.argsort(-score, kind="stable")[: max(1, len(pool) // 2)]
                pool, score = np.concatenate([pool[keep]] * 2), np.concatenate([score[keep]] * 2)
        self.moved(k, pool, score)

    def settle(self, k: int, pool: Floats, score: Floats, moves: int) -> None:
        """Hill climbing by single cells of a few elements, from a tenth of all to one of them.

        Moved by one cell, one of many inputs turns few roundings behind it: what was gained there is kept.
        """
        n, rounds, rng = pool.shape[1], max(moves // (CREW * TRIES), 1), self.rng
        best = np.resize(np.argsort(-score, kind="stable"), CREW)
        pool, score = pool[best], score[best]
        for r in range(rounds):
            if self.over():
                return
            share = 0.1 * (10 / n) ** (r / max(rounds - 1, 1))
            shape = (CREW, TRIES, n)
            cells = np.where(rng.random(shape) < share, rng.integers(-1, 2, shape), 0)
            moved = self.search.clip(pool[:, None] + cells * self.search.step)
            pool, score = self._best(k, pool, score, moved)
            if r % SETTLE == SETTLE - 1 or r == rounds - 1:
                pool, score = self.moved(k, pool, score)
            if (r + 1) % max(rounds // 4, 1) == 0:  # the better half twice
                keep = np.resize(np.argsort(-score, kind="stable")[: CREW // 2], CREW)
                pool, score = pool[keep], score[keep]

    def moved(self, k: int, pool: Floats, score: Floats) -> tuple[Floats, Floats]:
        """Inputs at the ends of their cells where the difference is larger; twice, as gradients change."""
        for _ in range(2):
            pool, score = self._best(k, pool, score, self.search.within(pool, k)[:, None])
        return pool, score

    def _best(self, k: int, pool: Floats, score: Floats, moves: Floats) -> tuple[Floats, Floats]:
        """Every input of the pool, or the best of its moves (pool, tries, n) if that is better."""
        mine = self.tried(moves.reshape(-1, pool.shape[1]))[:, k].reshape(moves.shape[:2])
        pick, each = mine.argmax(axis=1), np.arange(len(pool))
        better = mine[each, pick] > score
        return (
            np.where(better[:, None], moves[each, pick], pool),
            np.where(better, mine[each, pick], score),
        )


def starts(
    search: Search, rng: np.random.Generator, count: int, over: Callable[[], bool] = never
) -> tuple[Floats, Floats]:
    """Random points, cell borders and corners, mixed per coordinate; and inputs that move as one, which come
    first, over or not.

    What averages or smooths is saturated by the latter only: independent coordinates cancel.
    """
    share = np.linspace(0.0, 1.0, UNIFORM)[:, None]
    xs = [search.clip(search.low + share * (search.high - search.low))]
    gaps = [search.gaps(xs[0])]
    for start in range(0, count, 256):
        if over():
            break
        shape = (min(256, count - start), search.low.size)
        inside = search.low + rng.random(shape) * (search.high - search.low)
        kind = rng.random(shape) * rng.random((shape[0], 1)) * 1.5
        corner = np.where(rng.random(shape) < 0.5, search.low, search.high)
        border = search.borders(inside, rng)
        x = search.clip(np.where(kind < 0.25, inside, np.where(kind < 0.5, border, corner)))
        xs.append(x)
        gaps.append(search.gaps(x))
    return np.concatenate(xs), np.concatenate(gaps)


def _propose(search: Search, rng: np.random.Generator, pool: Floats, size: float, share: float) -> Floats:
    """(pool, PROPOSALS, n): Gaussian moves, jumps of a few cells, snaps to cell borders."""
    shape = (len(pool), PROPOSALS, pool.shape[1])
    here = np.broadcast_to(pool[:, None], shape)
    wide = here + rng.standard_normal(shape) * (size * (search.high - search.low))
    cells = here + rng.integers(-2, 3, shape) * search.step
    kind = rng.random((*shape[:2], 1))
    moved = np.where(kind < 0.4, wide, np.where(kind < 0.7, cells, search.borders(here, rng)))
    moved = np.where(rng.random(shape) < share, moved, here)
    snap = rng.random((*shape[:2], 1)) < 0.3
    return search.clip(np.where(snap, search.borders(moved, rng), moved))


def _proven(search: Search, enclose: Enclose, best: _Hunt, most: int, over: Callable[[], bool]) -> Attack:
    """Evaluate the best inputs again: integers by the golden model, reals enclosed.

    Elements beyond the `most` largest keep what those inputs show for them; one input is proven in any case.
    """
    names, weights = list(search.outputs), search.weights
    points: dict[bytes, Floats] = {}
    for k in np.argsort(-best.gap, kind="stable"):
        if len(points) < most:
            points.setdefault(best.x[k].tobytes(), best.x[k])
    xs = [{key: part[0] for key, part in search.split(x[None]).items()} for x in points.values()]
    seen = [enclose(x) for i, x in enumerate(xs) if not i or not over()]
    if weights is None:
        gaps = {name: np.stack([largest_of(*result[name]) for result in seen]) for name in names}
    else:
        gaps = {COMBINED: np.stack([_combined(result, names, weights) for result in seen])}
    found, witness = {}, {}
    for name, each in gaps.items():
        flat = each.reshape(len(seen), -1)
        found[name] = each.max(axis=0)
        witness[name] = [xs[i] for i in flat.argmax(axis=0)]
    return Attack(found, witness)


def stronger(a: Attack, b: Attack) -> Attack:
    """Per output element the larger difference of two searches."""
    found, witness = {}, {}
    for name, gaps in a.found.items():
        better = (b.found[name] > gaps).ravel()
        found[name] = np.maximum(gaps, b.found[name])
        each = zip(a.witness[name], b.witness[name], better, strict=True)
        witness[name] = [other if wins else mine for mine, other, wins in each]
    return Attack(found, witness)


def improved(
    known: Attack, whole: Graph, both: Lockstep, at: Mapping[int, Entry], more: Sequence[Floats]
) -> Attack:
    """With further flat inputs (of a network with one input) that show larger differences, proven."""
    name, outputs = both.inputs[0], list(known.found)
    for flat in more:
        x = {name: flat.reshape(whole.values[name].shape)}
        for value, ends in enclosed(whole, both, at, outputs, x).items():
            gaps = largest_of(*ends)
            better = gaps > known.found[value]
            known.found[value][better] = gaps[better]
            for i in np.flatnonzero(better):
                known.witness[value][i] = x
    return known


def largest_of(low: Floats, high: Floats) -> Floats:
    """The least that |d| can be for d in [low, high]."""
    return np.asarray(np.maximum(np.maximum(low, -high), 0.0))


def _combined(seen: Mapping[str, tuple[Floats, Floats]], names: list[str], weights: Floats) -> Floats:
    """The least that |weights @ d| can be, per row."""
    low, high = (np.concatenate([seen[name][side].ravel() for name in names]) for side in (0, 1))
    up_weights, down_weights = np.maximum(weights, 0), np.minimum(weights, 0)
    error = slack(2 * low.size, np.abs(weights) @ (np.abs(low) + np.abs(high)))
    ends = up_weights @ low + down_weights @ high - error, up_weights @ high + down_weights @ low + error
    return largest_of(*ends)


def at_point(
    both: Lockstep, at: Mapping[int, Entry], x: Mapping[str, Any]
) -> tuple[dict[int, Entry], dict[str, NDArray[np.int64]]]:
    """One input as a box, and its integers, exactly."""
    point, q = {}, {}
    for name in both.inputs:
        entry = at[both.values[name]]
        exact = tuple(Fraction(v) for v in np.ravel(x[name]).tolist())
        if entry.grid:  # the float stands for the number on the grid that it is nearest to
            exact = tuple(entry.units.scale * round(v / entry.units.scale) for v in exact)
        point[both.values[name]] = replace(entry, lower=exact, upper=exact)
        q[name] = point[both.values[name]].integers()[0]
    return point, q


def enclosed(
    whole: Graph, both: Lockstep, at: Mapping[int, Entry], outputs: list[str], x: Mapping[str, Any]
) -> dict[str, tuple[Floats, Floats]]:
    """integer - float at one input, between two floats, per output element."""
    point, q = at_point(both, at, x)
    numbers, result = run(whole, q), {}
    where = {both.values[name]: name for name in outputs}
    # What float32 may lose is little only where it can cancel.
    exact = both.single and sum(value.size for value in whole.values.values()) <= SMALL
    domain: PairDomain[Any] = PairProduct() if exact else PairInterval()
    for position, state in walk(both, domain, point):
        if position in where:
            value = whole.values[where[position]]
            units, box = both.steps[position].units, domain.ranges(state)
            low, high = scaled(numbers[value.name] - units.zero, units.scale)
            if not ((box.ly <= high) & (low <= box.uy)).all():
                raise PromiseError(value.name, "the bound's integers differ from the golden model's")
            result[value.name] = down(low - box.ux), up(high - box.lx)
    return result
