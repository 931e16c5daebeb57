# SPDX-License-Identifier: Apache-2.0
"""Layers of powers of two as sums per exponent (firmware/tb_buckets.h says what the operations do)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MOST = 255  # activations of either sign that fit half a word, from its middle: 255 * 128 < 2^15
MIDDLE = 32_768
TAPS = 16  # of a block, within which taps are paired
ONE_FUNCTION = 8  # filters
WORTH = 3  # filters that must use the sum or difference of two taps
REACH = 32  # words that a load reaches


@dataclass(frozen=True)
class Layer:
    """words: of all taps and twins, which are made in front of the window at word `at`, block by block;
    starts: what buckets' middles add to each filter's sums."""

    taps: list[str]
    words: int
    at: int
    functions: list[list[str]]
    starts: list[int]


@dataclass
class _Word:
    """A word of the window: the taps in it, with their signs relative to the first."""

    taps: tuple[int, ...]
    sign: int = 1


@dataclass
class _Chunk:
    """Words that a filter adds before its buckets are emptied: (word, exponent, positive)."""

    terms: list[tuple[int, int, bool]] = field(default_factory=list)
    held: Counter[int] = field(default_factory=Counter)


def layer(rows: NDArray[np.int64]) -> Layer:
    """The code of a layer of (outputs, taps) integers 0, +-1, +-2 ... +-64."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % TAPS)))
    taps, words, at = _paired(padded)
    functions, starts = [], []
    for first in range(0, len(rows), ONE_FUNCTION):
        lines: list[str] = []
        for q, row in enumerate(padded[first : first + ONE_FUNCTION]):
            chunks = _chunks(row, words)
            starts.append(0)
            for i, chunk in enumerate(chunks):
                starts[-1] += _add(chunk, q, i > 0, lines)
        functions.append(lines)
    return Layer(taps, len(words), at, functions, starts)


def _paired(rows: NDArray[np.int64]) -> tuple[list[str], list[_Word], int]:
    """How words are made of taps, block by block; what each is; where the window must be not to be lost."""
    lines: list[str] = []
    words: list[_Word] = []
    at = 0
    for first in range(0, rows.shape[1], TAPS):
        block = rows[:, first : first + TAPS]
        size = np.abs(block)
        equal = ((size[:, :, None] == size[:, None, :]) & (size[:, :, None] > 0)).sum(axis=0)
        ranked = sorted(((-int(equal[i, j]), i, j) for i in range(TAPS) for j in range(i)), key=lambda r: r)
        left = set(range(TAPS))
        code = []
        for found, i, j in ranked:
            if {i, j} <= left:
                left -= {i, j}
                a, b = first + j, first + i
                words += [_Word((a,)), _Word((b,))]
                if -found >= WORTH:
                    words += [_Word((a, b)), _Word((a, b), -1)]
                code.append(f"{'TBB_TWINS' if -found >= WORTH else 'TBB_PAIR'}({j}, {i})")
        lines.append(" ".join([*code, f"TBB_STEP({TAPS})"]))
        at = max(at, len(words) - first)
    return lines, words, at


def _chunks(row: NDArray[np.int64], words: list[_Word]) -> list[_Chunk]:
    chunks = [_Chunk()]
    pairs = {word.taps for word in words if len(word.taps) == 2}
    twins = {pair for pair in pairs if row[pair[0]] and abs(row[pair[0]]) == abs(row[pair[1]])}
    in_twins = {tap for taps in twins for tap in taps}
    for at, word in enumerate(words):
        value = int(row[word.taps[0]])
        if len(word.taps) == 1:
            if value == 0 or word.taps[0] in in_twins:
                continue
        elif word.taps not in twins or (int(row[word.taps[1]]) == value) != (word.sign > 0):
            continue
        exponent = abs(value).bit_length() - 1
        if chunks[-1].held[exponent] + len(word.taps) > MOST:
            chunks.append(_Chunk())
        chunks[-1].held[exponent] += len(word.taps)
        chunks[-1].terms.append((at, exponent, value > 0))
    return chunks


def joined(held: Counter[int]) -> list[list[int]]:
    """Exponents whose buckets fit one half word together, from the largest down."""
    groups: list[list[int]] = []
    for e in sorted((e for e in held if held[e]), reverse=True):
        if groups and sum(held[each] << (each - e) for each in [*groups[-1], e]) <= MOST:
            groups[-1].append(e)
        else:
            groups.append([e])
    return groups or [[0]]


def gathered(groups: list[list[int]], prefix: str) -> list[str]:
    """Operations that leave both positions' sums of groups of buckets, read from the largest down."""
    code = [f"{prefix}JOIN({e}, {lower}, {e - lower})" for group in groups for e, lower in pairwise(group)]
    code.append(f"{prefix}PART({groups[0][-1]})")
    code += [f"{prefix}NEXT({group[-1]}, {last[-1] - group[-1]})" for last, group in pairwise(groups)]
    rest = groups[-1][-1]
    return [*code, f"{prefix}UP({rest})"] if rest else code


def _add(chunk: _Chunk, q: int, more: bool, lines: list[str]) -> int:
    """Adds the operations of a filter's chunk; what its middles add to the sums."""
    groups = joined(chunk.held)
    ends = {group[-1] for group in groups}
    begin = [f"{'TBB_MIDDLE' if e in ends else 'TBB_ZERO'}({e})" for group in groups for e in group]
    code = ["TBB_REWIND", *begin]
    base = 0
    for at, exponent, positive in chunk.terms:
        while at - base >= REACH:
            step = min(at - base, 63)
            code.append(f"TBB_STEP({step})")
            base += step
        code.append(f"{'TBB_PLUS' if positive else 'TBB_MINUS'}({at - base}, {exponent})")
    code += [*gathered(groups, "TBB_"), f"{'TBB_MORE' if more else 'TBB_STORE'}({q})"]
    lines += [" ".join(code[i : i + 12]) for i in range(0, len(code), 12)]
    return sum(MIDDLE << group[-1] for group in groups)
