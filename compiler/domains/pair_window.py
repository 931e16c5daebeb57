# SPDX-License-Identifier: Apache-2.0
"""Backward passes of a few elements, through what these are computed from and no more.

An element of a convolution reads a window, and what its rows are elsewhere is 0. A window of the tape is the
same sources with the elements that are read alone, so that rules know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .pair_back import Back, Rows, Source, Total
from .pair_float import Floats, Ints

BUDGET = 1 << 34  # multiply-adds of all backward passes, unless more are asked for
SMALL = 64  # what part of all is next to nothing: outputs are bounded in any case
ROWS = 64  # elements at least whose passes share a window


@dataclass
class Passes:
    """What backward passes may cost: multiply-adds of all of them, of which one takes a quarter of what is
    left at most; the sums narrowed by them at most, but for those that cost next to nothing and for x alone;
    when to `stop`, and when to `end` those of x too. `heard`: of the share that is spent."""

    budget: int
    most: float = np.inf
    stop: Callable[[], bool] = lambda: False
    end: Callable[[], bool] = lambda: False
    heard: Callable[[float], None] = lambda _share: None
    done: int = 0
    spent: int = 0

    def admit(self, work: float, beside: int = 0, *, of_x: bool = False) -> bool:
        """Whether a pass may cost so much, beside what is spent then."""
        late = not of_x and self.done >= self.most and work > self.budget // SMALL
        return not late and work <= (self.budget - self.spent - beside) // 4

    def stopped(self, work: float, done: float, *, of_x: bool) -> bool:
        """Whether to leave a pass that costs so much, of which this share is done."""
        self.heard(min((self.spent + done * work) / self.budget, 1.0))
        if of_x:
            return self.end()
        if self.done < self.most and self.stop():
            self.most = self.done
        return self.done >= self.most and work > self.budget // SMALL

    def again(self) -> Passes:
        """The same for another analysis, no further than this one came."""
        return Passes(self.budget, self.most)

    @property
    def unusual(self) -> bool:
        """Whether a checker has to be told."""
        return self.budget != BUDGET or np.isfinite(self.most)

    def described(self) -> dict[str, int | None]:
        """`passes` of a certificate: `sums` is null unless it was stopped."""
        return {"work": self.budget, "sums": None if np.isinf(self.most) else int(self.most)}


class Seen:
    """A source of some elements, beside others that read the same tensors: where its rows go. Of what it
    reads no element of, nobody hears."""

    def __init__(self, source: Back, reads: Sequence[Ints], held: Mapping[int, Ints]) -> None:
        self.work, self.size, self._source = source.work, source.size, source
        self._used = [i for i, places in enumerate(reads) if places.size]
        self.reads = tuple(source.reads[i] for i in self._used)
        self._into: list[tuple[Ints | None, int]] = []
        for read, places in ((source.reads[i], reads[i]) for i in self._used):
            all_of_it = held[read].size == places.size
            into = None if all_of_it else np.searchsorted(held[read], places)
            self._into.append((into, held[read].size))

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        found = self._source.back(rows, total)
        parts = zip((found[i] for i in self._used), self._into, strict=True)
        return [part if into is None else part.spread(into, size) for part, (into, size) in parts]


def behind(tape: Sequence[Source], place: int) -> set[int]:
    """Positions that a tensor is computed from, its own among them."""
    seen: set[int] = set()
    todo = [place]
    while todo:
        position = todo.pop()
        if position not in seen:
            seen.add(position)
            todo += tape[position].reads
    return seen


def window(tape: Sequence[Source], start: int, at: Ints, count: int) -> tuple[Ints, Mapping[int, Back]]:
    """What some of a tensor's `count` elements are computed from, and no more, and which elements the first
    of these has."""
    if at.size == count:
        return at, {position: tape[position] for position in behind(tape, start)}
    wanted, held, found = {start: at}, dict[int, Ints](), dict[int, tuple[list[Ints], Back]]()
    for position in range(start, -1, -1):
        if position not in wanted:
            continue
        source = tape[position]
        held[position], reads, part = source.window(wanted.pop(position))
        found[position] = reads, part
        for read, places in zip(source.reads, reads, strict=True):
            if not places.size:
                continue
            wanted[read] = np.union1d(wanted[read], places) if read in wanted else places
    parts = {position: Seen(part, reads, held) for position, (reads, part) in found.items()}
    return held[start], parts


def upper_bounds(
    tape: Sequence[Back] | Mapping[int, Back],
    start: int,
    rows: Rows,
    *,
    joint: bool = False,
    seen: dict[int, Rows] | None = None,
) -> Floats:
    """Upper bounds of rows on the tensor at position `start`; `seen` takes the rows of every tensor."""
    total, waiting = Total(np.zeros(rows.x.shape[1]), joint), {start: rows}
    for position in range(start, -1, -1):
        here = waiting.pop(position, None)
        if here is None:
            continue
        if seen is not None:
            seen[position] = here
        source = tape[position]
        for read, part in zip(source.reads, source.back(here, total), strict=True):
            waiting[read] = waiting[read].plus(part) if read in waiting else part
    return total.bound()


def blocks(size: int, places: int) -> Iterator[Ints]:
    """Elements of a tensor whose last axis are `places`, those of one place together."""
    near = np.arange(size).reshape(-1, places).T
    few = max(1, -(-ROWS // near.shape[1]))
    for first in range(0, places, few):
        yield np.sort(near[first : first + few].ravel())
