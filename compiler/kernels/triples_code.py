# SPDX-License-Identifier: Apache-2.0
"""Layers of powers of two as sums per exponent, of taps in order (firmware/tb_triples.h)."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from .buckets_code import MIDDLE, MOST, ONE_FUNCTION, Layer, gathered, joined

AT_ONCE = 3  # taps that one instruction loads
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
        terms, held, end = _chunk(row, at)
        groups = joined(held)
        ends = {group[-1] for group in groups}
        code += ["TBT_START", *(f"TBT_{'MIDDLE' if e in ends else 'ZERO'}({e})" for g in groups for e in g)]
        code += [*_steps(at), *terms, *gathered(groups, "TBT_"), f"TBT_{'MORE' if at else 'STORE'}({q})"]
        start += sum(MIDDLE << group[-1] for group in groups)
        at = end
        if not row[at:].any():
            return code, start


def _steps(words: int) -> list[str]:
    return [f"TBT_STEP({min(FARTHEST, words - done)})" for done in range(0, words, FARTHEST)]


def _chunk(row: NDArray[np.int64], first: int) -> tuple[list[str], Counter[int], int]:
    """Operations on taps from `first` on until a bucket is full, what each bucket took, and the tap after."""
    code: list[str] = []
    held: Counter[int] = Counter()
    done = first  # taps before it are loaded or passed over
    for at in range(first, len(row), AT_ONCE):
        taps = [int(w) for w in row[at : at + AT_ONCE]]
        more = Counter(abs(w).bit_length() - 1 for w in taps if w)
        if any(held[e] + count > MOST for e, count in more.items()):
            return code, held, at
        if more:
            code += [*_steps(at - done), f"TBT_TAKE{len(taps)}"]
            done = at + len(taps)
            held.update(more)
        for j, w in enumerate(taps):
            if w:
                code.append(f"TBT_{'PLUS' if w > 0 else 'MINUS'}({j + 1}, {abs(w).bit_length() - 1})")
    return code, held, len(row)
