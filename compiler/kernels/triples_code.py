# SPDX-License-Identifier: Apache-2.0
"""Layers of powers of two as sums per exponent, of taps in order (firmware/tb_triples.h)."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from .buckets_code import MIDDLE, MOST, ONE_FUNCTION, Layer, gathered, joined

AT_ONCE = 3  # taps that one instruction loads
TWICE = 3  # exponents below have two buckets: of weights above 0 and below
FARTHEST = 63  # words that one instruction goes on by
PER_LINE = 12


def layer(rows: NDArray[np.int64]) -> Layer:
    """The code of a layer of (outputs, taps) integers 0, +-1, +-2 ... +-64; the window's words stay."""
    functions, starts = [], []
    for first in range(0, len(rows), ONE_FUNCTION):
        lines: list[str] = []
        for q, row in enumerate(rows[first : first + ONE_FUNCTION]):
            code, start = _filter(row, q)
            lines += [" ".join(code[i : i + PER_LINE]) for i in range(0, len(code), PER_LINE)]
            starts.append(start)
        functions.append(lines)
    return Layer([], rows.shape[1], 0, functions, starts)


def _filter(row: NDArray[np.int64], q: int) -> tuple[list[str], int]:
    """The operations of a filter, and what buckets' middles add to its sums."""
    code: list[str] = []
    start, at = 0, 0
    while True:
        held, end = _chunk(row, at)
        groups = joined(held)
        ends = {group[-1] for group in groups}
        code += ["TBT_START", *_added(row, at, end, held, ends), *gathered(groups, "TBT_")]
        code.append(f"TBT_{'MORE' if at else 'STORE'}({q})")
        start += sum(MIDDLE << e for e in ends)
        at = end
        if not row[at:].any():
            return code, start


def _chunk(row: NDArray[np.int64], first: int) -> tuple[Counter[int], int]:
    """What each bucket takes from tap `first` on until one is full, and the tap after that."""
    held: Counter[int] = Counter()
    for at in range(first, len(row), AT_ONCE):
        more = held + Counter(abs(int(w)).bit_length() - 1 for w in row[at : at + AT_ONCE] if w)
        if max(more.values(), default=0) > MOST:
            return held, at
        held = more
    return held, len(row)


def _added(row: NDArray[np.int64], first: int, end: int, held: Counter[int], ends: set[int]) -> list[str]:
    """Operations on the taps of a chunk. Buckets of `ends` begin in their middle, the others with a tap."""
    code: list[str] = []
    begun = {(e, 0) for e in ends}
    done = 0  # taps before it are loaded or passed over
    for at in range(first, end, AT_ONCE):
        taps = [int(w) for w in row[at : at + AT_ONCE]]
        if any(taps):
            code += [*_steps(at - done), f"TBT_TAKE{len(taps)}"]
            done = at + len(taps)
        for j, w in enumerate(taps, 1):
            if w:
                e = abs(w).bit_length() - 1
                place = e, int(w < 0 and e < TWICE)
                first_one, later = ("BEGIN", "PLUS") if w > 0 else ("LESS", "MINUS")
                code.append(f"TBT_{later if place in begun else first_one}({j}, {e})")
                begun.add(place)
    begin = [f"TBT_MIDDLE({e})" for e in sorted(ends)]
    needed = {(e, side) for e in {*held, *ends} for side in range(1 + (e < TWICE))}
    begin += [f"TBT_{'NONE' if side else 'ZERO'}({e})" for e, side in sorted(needed - begun)]
    return begin + code


def _steps(words: int) -> list[str]:
    return [f"TBT_STEP({min(FARTHEST, words - done)})" for done in range(0, words, FARTHEST)]
