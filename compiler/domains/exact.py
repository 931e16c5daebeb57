# SPDX-License-Identifier: Apache-2.0
"""Numbers: the golden model (int64, exact) and the float reference (float64), by the same meanings.

Values are arrays without batch axis; integer arrays are int64. Sums that int64 could not hold never get
here: the range of every accumulator is checked when the graph is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..rounding import AVERAGE, DOUBLE, HALF_EVEN, MEAN, MEAN_BITS
from .exponentials import exponential, shares

Array = NDArray[Any]


def half_even_shift(product: NDArray[np.int64], shift: NDArray[np.int64] | np.int64) -> NDArray[np.int64]:
    """round(product / 2^shift) with ties to even; product int64, 0 <= shift <= 62, exact."""
    quotient = product >> shift
    rest = product - (quotient << shift)
    twice = rest > ((np.int64(1) << shift) - rest)
    tie = (rest == ((np.int64(1) << shift) - rest)) & (shift > 0)
    up: NDArray[np.int64] = quotient + (twice | (tie & ((quotient & 1) == 1)))
    return up


def half_up_shift(product: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """round(product / 2^shift) with ties towards +infinity; |product| <= 2^62, 0 <= shift <= 62, exact."""
    return np.asarray((product + ((np.int64(1) << shift) >> 1)) >> shift)


def half_away_shift(product: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """round(product / 2^shift) with ties away from 0; |product| <= 2^62, 0 <= shift <= 62, exact."""
    return np.asarray(np.sign(product) * half_up_shift(np.abs(product), shift))


def rounded(product: NDArray[np.int64], shift: NDArray[np.int64], mode: str) -> NDArray[np.int64]:
    """product / 2^shift as a Requantise of this mode rounds it."""
    if mode == HALF_EVEN:
        return half_even_shift(product, shift)
    if mode == AVERAGE:
        return half_away_shift(product, shift)
    if mode == MEAN:
        return half_even_shift(half_up_shift(product, shift - MEAN_BITS), np.int64(MEAN_BITS))
    first = np.minimum(shift, 31) if mode == DOUBLE else shift
    return half_away_shift(half_up_shift(product, first), shift - first)


class Exact:
    """Each word on numbers; the same code serves integers and floats, dtype decides."""

    def gather(self, x: Array, index: NDArray[np.int64], pad: float) -> Array:
        return np.append(x, np.asarray(pad, x.dtype)).take(index)  # -1 is what was appended

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return x.reshape(shape)

    def concat(self, xs: Sequence[Array], axis: int) -> Array:
        return np.concatenate(xs, axis=axis)

    def truncate(self, x: Array, bits: int) -> Array:
        mask = (1 << (8 - bits)) - 1
        return x & ~np.int64(mask)

    def affine(self, x: Array, weights: Array, bias: Array, zero: int) -> Array:
        if x.dtype.kind != "i":
            return np.asarray(np.matmul(weights, x - zero) + bias[..., None])
        # BLAS is exact here: no partial sum, in whatever order, exceeds the reach, and a float32 holds every
        # integer up to 2^24. Doubles hold the others: accumulators fit in 32 bits.
        ends = int(x.min(initial=0)), int(x.max(initial=0)), 0
        largest = max(abs(end - shift) for end in ends for shift in (0, zero))
        reach = max(int(np.abs(weights).sum(axis=-1).max(initial=0)), 1) * largest
        kind = np.float32 if reach <= 1 << 24 else np.float64
        terms = np.subtract(x, zero, dtype=kind, casting="unsafe")  # no copy of all the patches for each step
        sums = np.matmul(weights.astype(kind), terms)
        return np.asarray(sums.astype(np.int64) + bias[..., None])

    def add(self, a: Array, b: Array, ma: int, mb: int, za: int, zb: int) -> Array:
        return np.asarray((a - za) * ma + (b - zb) * mb)

    def multiply(self, a: Array, b: Array, za: int, zb: int) -> Array:
        return np.asarray((a - za) * (b - zb))

    def clip(self, x: Array, lo: float, hi: float) -> Array:
        return np.asarray(np.clip(x, lo, hi))

    def requantise(
        self,
        x: Array,
        m: NDArray[np.int64],
        s: NDArray[np.int64],
        zero_in: int,
        zero: int,
        lo: int,
        hi: int,
        mode: str,
    ) -> Array:
        each = (-1, *(1,) * (x.ndim - 1))  # one multiplier per channel of axis 0
        m, s = m.reshape(each), s.reshape(each)
        if mode == AVERAGE:  # of the stored integers: the sum of `taps` of them, zero points included
            taps = -((-1 << s) // m)
            return np.clip(rounded((x - zero_in + taps * zero) * m, s, mode), lo, hi)
        return np.clip(rounded((x - zero_in) * m, s, mode) + zero, lo, hi)

    def max(self, x: Array, axis: int) -> Array:
        return np.asarray(x.max(axis=axis))

    def function(self, x: Array, fn: Any) -> Array:
        return np.asarray(fn(x))

    def table(self, x: Array, entries: NDArray[np.int64], first: int) -> Array:
        return np.asarray(entries[x - first])

    def softmax(self, x: Array, table: NDArray[np.int64], *how: int) -> Array:
        below = x.max(axis=-1, keepdims=True) - x
        if not table.size:
            powers = np.exp(-below)
            return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
        weights = exponential(table, below)
        return shares(weights, weights.sum(axis=-1, keepdims=True), *how)

    def argmax(self, x: Array, last: int, offset: int) -> Array:
        found = x.shape[-1] - 1 - x[..., ::-1].argmax(axis=-1) if last else x.argmax(axis=-1)
        rows = np.asarray(found).reshape(x.shape[:-1] or (1,))
        return np.asarray(rows + np.asarray(offset, x.dtype))


def run(graph: Graph, inputs: Mapping[str, Any], domain: Any | None = None) -> dict[str, Any]:
    """Every value of the graph for one input (no batch axis), in a domain (numbers by default)."""
    d = Exact() if domain is None else domain
    values = dict(inputs)
    for node in graph.nodes:
        values[node.output] = node.op.meaning(d, *(values[name] for name in node.inputs))
    return values
