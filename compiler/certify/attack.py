# SPDX-License-Identifier: Apache-2.0
"""A lower bound on the largest difference, with the input that shows it (notes section 7).

Random points, corners and cell borders, then hill climbing per output. What is reported is proven: the
integer side comes from the golden model, the float side from an outward-rounded enclosure at the point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import run
from ..domains.pair import Entry
from ..domains.pair_float import above, below, down, scaled
from ..domains.pair_interval import PairInterval
from ..errors import PromiseError
from ..graph import Graph
from .batch import evaluate
from .lockstep import Lockstep, walk

Floats = NDArray[np.float64]
POOL, PROPOSALS = 32, 4
WORK = 50_000_000  # elements computed: larger networks get fewer evaluations
UNIFORM = 33  # inputs whose elements lie at one share of their ranges
PROVEN = 64  # inputs evaluated exactly


@dataclass(frozen=True)
class Attack:
    """Per output value: a proven lower bound per element, and the input that shows it."""

    found: dict[str, Floats]
    witness: dict[str, list[dict[str, Floats]]]

    @property
    def largest(self) -> float:
        """The largest difference of any output element."""
        return max(float(gaps.max()) for gaps in self.found.values())


class _Search:
    """Differences of both networks on batches of flat inputs."""

    def __init__(
        self, whole: Graph, both: Lockstep, at: Mapping[int, Entry], outputs: Mapping[str, str], real: Graph
    ) -> None:
        self.real, self.whole, self.outputs = real, whole, outputs
        self.entries = [(name, at[both.values[name]]) for name in both.inputs]
        self.step = np.concatenate(
            [np.full(entry.units.channel.size, float(entry.units.scale)) for _, entry in self.entries]
        )
        self.low, self.high = self._inside()

    def _inside(self) -> tuple[Floats, Floats]:
        """The floats inside the box: its ends may be rationals between floats."""
        lower = [v for _, entry in self.entries for v in entry.lower]
        upper = [v for _, entry in self.entries for v in entry.upper]
        low = np.array([above(v) for v in lower])
        return low, np.maximum(np.array([below(v) for v in upper]), low)

    def split(self, flat: Floats) -> dict[str, Floats]:
        """Flat inputs (N, all elements) as one array per network input."""
        out, start = {}, 0
        for name, entry in self.entries:
            shape = entry.units.channel.shape
            size = entry.units.channel.size
            out[name] = flat[:, start : start + size].reshape(len(flat), *shape)
            start += size
        return out

    def quantise(self, x: Mapping[str, Floats]) -> dict[str, NDArray[np.int64]]:
        """In float64: near a rounding border the search may be wrong, the report is not."""
        out = {}
        for name, entry in self.entries:
            q = np.rint(x[name] / float(entry.units.scale)) + entry.units.zero
            out[name] = np.clip(q, entry.lo, entry.hi).astype(np.int64)
        return out

    def gaps(self, flat: Floats) -> Floats:
        """|difference| (N, all output elements)."""
        x = self.split(flat)
        reals = evaluate(self.real, x, sorted(set(self.outputs.values())))
        wholes = evaluate(self.whole, self.quantise(x), list(self.outputs))
        parts = []
        for name, twin in self.outputs.items():
            quant = self.whole.values[name].quant
            assert quant is not None
            y = float(quant.scale[0]) * (wholes[name] - quant.zero)
            parts.append(np.abs(y - reals[twin]).reshape(len(flat), -1))
        return np.concatenate(parts, axis=1)

    def borders(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Each coordinate on a border of its rounding cell, or one float beside it."""
        border = (np.floor(x / self.step) + 0.5 + rng.integers(-1, 1, x.shape)) * self.step
        return np.asarray(np.nextafter(border, border + rng.integers(-1, 2, x.shape)))

    def clip(self, x: Floats) -> Floats:
        return np.clip(x, self.low, self.high)


def attack(
    real: Graph,
    whole: Graph,
    both: Lockstep,
    at: Mapping[int, Entry],
    outputs: Mapping[str, str],
    *,
    seed: int,
    budget: int = 20_000,
) -> Attack:
    """Largest differences found in about `budget` evaluations; `outputs`: integer -> float value."""
    rng, search = np.random.default_rng(seed), _Search(whole, both, at, outputs, real)
    budget = max(min(budget, WORK // sum(value.size for value in whole.values.values())), 4 * POOL)
    first = max(budget // 4, 64)
    xs, gaps = _start(search, rng, first)
    champions = _Champions(xs, gaps)
    targets = np.argsort(-gaps.max(axis=0), kind="stable")[:16]
    rounds = (budget - first) // (len(targets) * POOL * PROPOSALS)
    for k in targets:
        top = np.argsort(-gaps[:, k], kind="stable")[:POOL]
        _climb(search, rng, champions, int(k), xs[top].copy(), gaps[top, k].copy(), rounds)
    return _proven(search, both, at, champions)


class _Champions:
    """The largest difference seen per output element, and where."""

    def __init__(self, xs: Floats, gaps: Floats) -> None:
        self.gap = np.full(gaps.shape[1], -1.0)
        self.x = np.repeat(xs[:1], gaps.shape[1], axis=0)
        self.see(xs, gaps)

    def see(self, xs: Floats, gaps: Floats) -> None:
        """Keep what is better than before."""
        at = gaps.argmax(axis=0)
        new = gaps[at, np.arange(len(at))]
        better = new > self.gap
        self.gap[better], self.x[better] = new[better], xs[at[better]]


def _climb(
    search: _Search,
    rng: np.random.Generator,
    champions: _Champions,
    k: int,
    pool: Floats,
    score: Floats,
    rounds: int,
) -> None:
    """Hill climbing for output element k from a pool of inputs."""
    n = pool.shape[1]
    for r in range(rounds):
        moves = _propose(search, rng, pool, 0.3 * 0.95**r, min(1.0, max(0.3, 2 / n)))
        gaps = search.gaps(moves.reshape(-1, n))
        champions.see(moves.reshape(-1, n), gaps)
        mine = gaps[:, k].reshape(len(pool), PROPOSALS)
        pick, each = mine.argmax(axis=1), np.arange(len(pool))
        better = mine[each, pick] > score
        pool[better], score[better] = moves[each, pick][better], mine[each, pick][better]
        if r % 25 == 24:  # the better half twice
            keep = np.argsort(-score, kind="stable")[: max(1, len(pool) // 2)]
            pool, score = np.concatenate([pool[keep]] * 2), np.concatenate([score[keep]] * 2)


def _start(search: _Search, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Random points, cell borders and corners, mixed per coordinate; and inputs that move as one.

    What averages or smooths is saturated by the latter only: independent coordinates cancel.
    """
    share = np.linspace(0.0, 1.0, UNIFORM)[:, None]
    xs = [search.clip(search.low + share * (search.high - search.low))]
    gaps = [search.gaps(xs[0])]
    for start in range(0, count, 256):
        shape = (min(256, count - start), search.low.size)
        inside = search.low + rng.random(shape) * (search.high - search.low)
        kind = rng.random(shape) * rng.random((shape[0], 1)) * 1.5
        corner = np.where(rng.random(shape) < 0.5, search.low, search.high)
        border = search.borders(inside, rng)
        x = search.clip(np.where(kind < 0.25, inside, np.where(kind < 0.5, border, corner)))
        xs.append(x)
        gaps.append(search.gaps(x))
    return np.concatenate(xs), np.concatenate(gaps)


def _propose(search: _Search, rng: np.random.Generator, pool: Floats, size: float, share: float) -> Floats:
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


def _proven(search: _Search, both: Lockstep, at: Mapping[int, Entry], best: _Champions) -> Attack:
    """Evaluate the best inputs again: integers by the golden model, reals enclosed.

    Elements beyond the PROVEN largest keep what those inputs show for them.
    """
    outputs = list(search.outputs)

    points: dict[bytes, Floats] = {}
    for k in np.argsort(-best.gap, kind="stable"):
        if len(points) < PROVEN:
            points.setdefault(best.x[k].tobytes(), best.x[k])
    xs = [{key: part[0] for key, part in search.split(x[None]).items()} for x in points.values()]
    seen = [difference(search.whole, both, at, outputs, x) for x in xs]
    found, witness = {}, {}
    for name in outputs:
        gaps = np.stack([result[name].ravel() for result in seen])
        found[name] = gaps.max(axis=0).reshape(search.whole.values[name].shape)
        witness[name] = [xs[i] for i in gaps.argmax(axis=0)]
    return Attack(found, witness)


def improved(
    known: Attack, whole: Graph, both: Lockstep, at: Mapping[int, Entry], more: Sequence[Floats]
) -> Attack:
    """With further flat inputs (of a network with one input) that show larger differences, proven."""
    name, outputs = both.inputs[0], list(known.found)
    for flat in more:
        x = {name: flat.reshape(whole.values[name].shape)}
        for value, gaps in difference(whole, both, at, outputs, x).items():
            better = gaps > known.found[value]
            known.found[value][better] = gaps[better]
            for i in np.flatnonzero(better):
                known.witness[value][i] = x
    return known


def difference(
    whole: Graph, both: Lockstep, at: Mapping[int, Entry], outputs: list[str], x: Mapping[str, Any]
) -> dict[str, Floats]:
    """|integer - float| at one input, rounded down: a true lower bound per output element."""
    point, q = {}, {}
    for name in both.inputs:
        entry = at[both.values[name]]
        exact = tuple(Fraction(v) for v in np.ravel(x[name]).tolist())
        point[both.values[name]] = Entry(exact, exact, entry.units, entry.lo, entry.hi)
        q[name] = point[both.values[name]].integers()[0]
    numbers, result = run(whole, q), {}
    where = {both.values[name]: name for name in outputs}
    for position, box in walk(both, PairInterval(), point):
        if position in where:
            value = whole.values[where[position]]
            units = both.steps[position].units
            low, high = scaled(numbers[value.name] - units.zero, units.scale)
            if not ((box.ly <= high) & (low <= box.uy)).all():
                raise PromiseError(value.name, "the bound's integers differ from the golden model's")
            gap = np.maximum(down(low - box.ux), down(box.lx - high))
            result[value.name] = np.maximum(gap, 0.0)
    return result
