# SPDX-License-Identifier: Apache-2.0
"""Softmax in numbers: the integer law, its exact ranges, and ranges of the function itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
PART = 1 << 20  # numbers in one array


def exponential(table: Ints, below: Ints) -> Ints:
    """exp of minus so many steps, as an integer; two rows are factors of the upper and the lower byte."""
    if table.ndim == 1:
        return np.asarray(table[below])
    return np.asarray((table[0][below >> 8] * table[1][below & 255]) >> 32)


def shares(weights: Ints, total: Ints, bits: int, extra: int, zero: int, top: int) -> Ints:
    """min(rhe(2^bits * weight / d) + zero, top), d the total, larger by extra / 2^24; within 63 bits."""
    total = total + ((extra * total + (1 << 23)) >> 24)
    quotient, rest = np.divmod(weights << bits, total)
    up = (2 * rest > total) | ((2 * rest == total) & (quotient % 2 == 1))
    return np.asarray(np.minimum(quotient + up + zero, top))


def ends_of_shares(x: tuple[Ints, Ints], table: Ints, *how: int) -> tuple[Ints, Ints]:
    """The least and the largest result per element over a box of integers, rows on the last axis.

    A share is not monotone: where the largest element rises, the others' exponentials are rounded anew. For
    one largest element m it is, so all of them are tried: an element is largest at its top with all others at
    their bottom, but for the one that is m. Exact for 8 bits. The exponentials of 16 bits can be off by one
    in either direction: there each is taken as the least (the largest) from its place on (up to it).
    """
    low, high = (end.reshape(-1, end.shape[-1]) for end in x)
    every = exponential(table, np.arange(256 if table.ndim == 1 else 1 << 16))
    both = np.minimum.accumulate(every), np.maximum.accumulate(every[::-1])[::-1]
    rows, back = np.unique(np.concatenate([low, high], axis=1), axis=0, return_inverse=True)
    ends = np.array([_row(row[: low.shape[1]], row[low.shape[1] :], both, how) for row in rows])
    found = ends[back.ravel()]
    return found[:, 0].reshape(x[0].shape), found[:, 1].reshape(x[0].shape)


def _row(low: Ints, high: Ints, both: tuple[Ints, Ints], how: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Elements of equal ends are one, counted so often."""
    (least_at, most_at), one = both, int(both[0][0])
    (low, high), back, count = np.unique(
        np.stack([low, high]), axis=1, return_inverse=True, return_counts=True
    )
    bottom, top = np.full(low.size, np.iinfo(np.int64).max), np.full(low.size, np.iinfo(np.int64).min)
    chunk = max(1, PART // low.size)
    for first in range(int(low.max()), int(high.max()) + 1, chunk):
        m = np.arange(first, min(first + chunk, int(high.max()) + 1))[:, None]
        least, most, can = least_at[m - low], most_at[np.maximum(m - high, 0)], high >= m
        one_more = np.where(can, one - least, one).min(axis=1, keepdims=True)
        total = (least @ count)[:, None] - least + most + np.where(can, 0, one_more)
        top = np.maximum(top, shares(most, total, *how).max(axis=0))
        own = np.where(can & ((can @ count)[:, None] == 1), one, least)
        total = (most @ count)[:, None] - most + own
        bottom = np.minimum(bottom, shares(own, total, *how).min(axis=0))
    return bottom[back.ravel()], top[back.ravel()]


def probabilities(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Ranges of exp(x[i]) / sum exp(x) over a box of real numbers, outward, rows on the last axis."""
    ends = []
    for own, others in ((low, high), (high, low)):
        rest, top = _others(others)
        with np.errstate(over="ignore", invalid="ignore"):
            odds = np.where(rest > 0, rest * np.exp(top - own), 0.0)
        ends.append(1 / (1 + odds))
    more = 2.0**-43 + low.shape[-1] * 2.0**-51  # wider than the checker's, which adds in another order
    return np.maximum(ends[0] - more, 0.0), np.minimum(ends[1] + more, 1.0)


def _others(x: Floats) -> tuple[Floats, Floats]:
    """sum exp(x[j] - top) over all j but one's own, nothing subtracted; and top, the largest x."""
    top = x.max(axis=-1, keepdims=True)
    powers = np.exp(x - top)
    before, after = (np.zeros_like(powers) for _ in range(2))
    before[..., 1:] = np.cumsum(powers, axis=-1)[..., :-1]
    after[..., :-1] = np.cumsum(powers[..., ::-1], axis=-1)[..., -2::-1]
    return before + after, top


def largest_other(x: Floats) -> Any:
    """The largest element but one's own; the own one where it is alone."""
    order = np.sort(x, axis=-1)
    return np.where(x == order[..., -1:], order[..., max(-2, -x.shape[-1])][..., None], order[..., -1:])
