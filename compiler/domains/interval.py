# SPDX-License-Identifier: Apache-2.0
"""Ranges, element by element: (lo, hi) arrays. Exact on integers when a word's inputs are independent.

On floats nothing is rounded outwards: good for choosing scales, not for a certificate (see the pair domains).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .exact import Exact
from .exponentials import ends_of_shares, probabilities
from .extremes import between

Box = tuple[NDArray[Any], NDArray[Any]]
_EXACT = Exact()


class Interval:
    """Each word on boxes of numbers."""

    def gather(self, x: Box, index: NDArray[np.int64], pad: float) -> Box:
        return _EXACT.gather(x[0], index, pad), _EXACT.gather(x[1], index, pad)

    def reshape(self, x: Box, shape: tuple[int, ...]) -> Box:
        return x[0].reshape(shape), x[1].reshape(shape)

    def concat(self, xs: Sequence[Box], axis: int) -> Box:
        return np.concatenate([x[0] for x in xs], axis), np.concatenate([x[1] for x in xs], axis)

    def truncate(self, x: Box, bits: int) -> Box:
        return _EXACT.truncate(x[0], bits), _EXACT.truncate(x[1], bits)

    def affine(self, x: Box, weights: NDArray[Any], bias: NDArray[Any], zero: int) -> Box:
        lo, hi = x[0] - zero, x[1] - zero
        up, down = np.maximum(weights, 0), np.minimum(weights, 0)
        none = np.zeros_like(bias)
        return (
            _EXACT.affine(lo, up, bias, 0) + _EXACT.affine(hi, down, none, 0),
            _EXACT.affine(hi, up, bias, 0) + _EXACT.affine(lo, down, none, 0),
        )

    def add(self, a: Box, b: Box, ma: int, mb: int, za: int, zb: int) -> Box:
        ends = [((x[0] - z) * m, (x[1] - z) * m) for x, m, z in ((a, ma, za), (b, mb, zb))]
        (a_lo, a_hi), (b_lo, b_hi) = ((np.minimum(*pair), np.maximum(*pair)) for pair in ends)
        return a_lo + b_lo, a_hi + b_hi

    def multiply(self, a: Box, b: Box, za: int, zb: int) -> Box:
        ends = np.stack([(x - za) * (y - zb) for x in a for y in b])
        return ends.min(axis=0), ends.max(axis=0)

    def clip(self, x: Box, lo: float, hi: float) -> Box:
        return np.clip(x[0], lo, hi), np.clip(x[1], lo, hi)

    def function(self, x: Box, fn: Any) -> Box:
        ends = fn(x[0]), fn(x[1])
        if fn.monotone:
            return np.minimum(*ends), np.maximum(*ends)
        middle, reach = fn((x[0] + x[1]) / 2), fn.lipschitz * (x[1] - x[0]) / 2
        return middle - reach, middle + reach

    def requantise(self, x: Box, *how: Any) -> Box:
        return _EXACT.requantise(x[0], *how), _EXACT.requantise(x[1], *how)  # every mode is monotone

    def max(self, x: Box, axis: int) -> Box:
        return x[0].max(axis=axis), x[1].max(axis=axis)

    def table(self, x: Box, entries: NDArray[np.int64], first: int) -> Box:
        low, high = between(x[0] - first, x[1] - first, (entries, entries))
        return low, high

    def softmax(self, x: Box, table: NDArray[np.int64], *how: int) -> Box:
        return ends_of_shares(x, table, *how) if table.size else probabilities(*x)

    def argmax(self, x: Box, last: int, offset: int) -> Box:
        """First and last index that can win: at its top, with all others at their bottom."""
        wins = np.empty(x[0].shape, bool)
        for i in range(x[0].shape[-1]):
            corner = x[0].copy()
            corner[..., i] = x[1][..., i]
            wins[..., i] = (_EXACT.argmax(corner, last, 0) == i).reshape(x[0].shape[:-1])
        return _EXACT.argmax(wins, 0, 0) + offset, _EXACT.argmax(wins, 1, 0) + offset
