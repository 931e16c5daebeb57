# SPDX-License-Identifier: Apache-2.0
"""Layers of powers of two as lists of additions (firmware/tb_straight.h says what they do)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LARGEST = 32_767  # how far a half word may go from 0: 128 times the weights added since it began
LANES, SINGLE = 4, 9  # filters that fit the registers
AT_ONCE = 36  # filters between two requantisations, a multiple of both
_TWINS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))  # ways to pair four taps


@dataclass
class Group:
    """Filters that share the loads of taps. lines: operations, a list per four taps."""

    first: int
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Term:
    """A tap added to an accumulator, or subtracted."""

    name: str
    plus: bool
    operands: str


@dataclass(frozen=True)
class Block:
    """What is done with four taps: those that are added alone, then operations on taps and what shares them;
    loads: what all add to each accumulator, in units of an activation."""

    alone: list[Term]
    late: list[Term | str]
    loads: Counter[str]

    def line(self, held: Container[str]) -> str:
        """As text. An accumulator that is not held begins with a tap that is added to it, or with 0."""
        found, begun = ["TBS_FOUR"], set()
        waiting = sorted(self.alone, key=lambda each: each.name not in held and not each.plus)
        for each in [*waiting, *self.late]:
            if isinstance(each, str):
                found.append(each)
                continue
            does = "ADD" if each.plus else "SUB"
            if each.name not in held and each.name not in begun:
                begun.add(each.name)
                does = "SET" if each.plus else f"ZERO({each.name}) TBS_SUB"
            found.append(f"TBS_{does}{each.operands}")
        return " ".join(found)


class _Filters:
    """A few filters, four taps at a time. split: exponents from here on have an accumulator of their own."""

    def __init__(self, rows: NDArray[np.int64], split: int | None) -> None:
        self.rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
        size = np.maximum(np.abs(self.rows), 1)
        self.exponents = np.round(np.log2(size)).astype(np.int64)
        self.split = split

    def _high(self, exponent: int) -> bool:
        return self.split is not None and exponent >= self.split

    def place(self, q: int, exponent: int) -> tuple[str, int]:
        """Accumulator of a weight of filter q, and the shift in it."""
        if self.split is None:
            return f"c{q}", exponent
        return (f"b{q}", exponent - self.split) if self._high(exponent) else (f"a{q}", exponent)

    def blocks(self) -> list[Block]:
        """The operations, four taps at a time."""
        starts = range(0, self.rows.shape[1], 4)
        return [self._block(self.rows[:, k : k + 4], self.exponents[:, k : k + 4]) for k in starts]

    def _block(self, w: NDArray[np.int64], e: NDArray[np.int64]) -> Block:
        alone = {(int(q), int(j)) for q, j in zip(*np.nonzero(w), strict=True)}
        loads: Counter[str] = Counter()
        for q, j in alone:
            name, shift = self.place(q, int(e[q, j]))
            loads[name] += 1 << shift
        late: list[Term | str] = []
        for i, j, more, same, filters in self._twins(w, e):
            late.append(f"{'TBS_ADD' if same else 'TBS_SUB'}({i}, {j}, {more})")
            late += [self._term(q, i, w, e) for q in filters]
            alone -= {(q, tap) for q in filters for tap in (i, j)}
        order = sorted(alone, key=lambda at: (at[1], at[0]))
        return Block([self._term(q, j, w, e) for q, j in order], late, loads)

    def _term(self, q: int, j: int, w: NDArray[np.int64], e: NDArray[np.int64]) -> Term:
        name, shift = self.place(q, int(e[q, j]))
        return Term(name, bool(w[q, j] > 0), f"({name}, {j}, {shift})")

    def _twins(
        self, w: NDArray[np.int64], e: NDArray[np.int64]
    ) -> list[tuple[int, int, int, bool, list[int]]]:
        """Two taps i, j whose weights are in the same ratio in several filters: tap i becomes
        i +- (j << more), once for all of them."""
        best: tuple[int, list[tuple[int, int, int, bool, list[int]]]] = (0, [])
        for pairs in _TWINS:
            saved, found = 0, []
            for i, j in pairs:
                ratios: dict[tuple[int, bool], list[int]] = {}
                for q in range(len(w)):
                    if w[q, i] and w[q, j] and self._high(e[q, i]) == self._high(e[q, j]):
                        ratio = int(e[q, j] - e[q, i]), bool((w[q, i] > 0) == (w[q, j] > 0))
                        ratios.setdefault(ratio, []).append(q)
                if not ratios:
                    continue
                (more, same), filters = max(ratios.items(), key=lambda each: len(each[1]))
                if len(filters) > 1:
                    saved += len(filters) - 1
                    found.append((i, j, more, same, filters) if more >= 0 else (j, i, -more, same, filters))
            best = max(best, (saved, found), key=lambda each: each[0])
        return best[1]


def single(rows: NDArray[np.int64]) -> list[Group]:
    """Groups for one position; the sums of each follow the taps."""
    groups = []
    for first in range(0, len(rows), SINGLE):
        held: set[str] = set()
        group = Group(first)
        for block in _Filters(rows[first : first + SINGLE], None).blocks():
            group.lines.append(block.line(held))
            held |= set(block.loads)
        unused = [f"c{q}" for q in range(SINGLE) if f"c{q}" not in held]
        group.lines += [f"TBS_ZERO({name})" for name in unused]
        group.lines.append(f"TBS_NINE({first % AT_ONCE})")
        groups.append(group)
    return groups


def lanes(rows: NDArray[np.int64]) -> list[Group]:
    """Groups for two positions in a word."""
    split = min(range(2, 6), key=lambda each: _flushes(rows, each))
    return [_lanes(rows[first : first + LANES], first, split) for first in range(0, len(rows), LANES)]


def _flushes(rows: NDArray[np.int64], split: int) -> float:
    """About how often accumulators must be emptied."""
    size = np.abs(rows)
    high = size >= 1 << split
    small, large = (size * ~high).sum(axis=1), (size * high).sum(axis=1) / (1 << split)
    return float((np.ceil(small * 128 / LARGEST) + np.ceil(large * 128 / LARGEST)).sum())


def _lanes(rows: NDArray[np.int64], first: int, split: int) -> Group:
    group = Group(first)
    held: dict[str, int] = {}
    stored: set[int] = set()

    def empty(name: str) -> None:
        q, shift = int(name[1]), split if name[0] == "b" else 0
        group.lines.append(f"{'TBS_MORE' if q in stored else 'TBS_FIRST'}({name}, {q}, {shift})")
        stored.add(q)
        held.pop(name, None)

    for block in _Filters(rows, split).blocks():
        for name, load in sorted(block.loads.items()):
            if 128 * (held.get(name, 0) + load) > LARGEST and name in held:
                empty(name)
        group.lines.append(block.line(held))
        for name, load in block.loads.items():
            held[name] = held.get(name, 0) + load
    group.lines.append("TBS_END")
    for q in range(len(rows)):
        a, b = f"a{q}", f"b{q}"
        if a in held and b in held:
            group.lines.append(f"{'TBS_LAST' if q in stored else 'TBS_ONLY'}({a}, {b}, {q}, {split})")
        elif a in held or b in held:
            empty(a if a in held else b)
        elif q not in stored:  # no weights at all
            group.lines.append(f"TBS_ZERO({a})")
            empty(a)
    return group
