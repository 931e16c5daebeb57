# SPDX-License-Identifier: Apache-2.0
"""The integer network of a chain on many boxes of cells of the same sides, in float64 where that is exact."""

from __future__ import annotations

import numpy as np

from .chain import Chain, Pair
from .files import need
from .rounding import Floats, Ints, rounded

WHOLE = 2.0**53


class Laws:
    """Integers are less the zero point that they are read with, one row for each; a last row of ones in front
    of the biases. Two blocks of memory take turns: fresh memory takes longer than sums."""

    def __init__(self, chain: Chain, first: Floats, last: Floats) -> None:
        zeros = [*(p.zero for p in chain.pairs[1:]), chain.out.zero]
        self.laws = list[Law]()
        for p, zero in zip(chain.pairs, zeros, strict=True):
            self.laws.append(Law(p, first, last, zero))
            first, last = self.laws[-1].ends
        self.reach = np.maximum(np.abs(first - zeros[-1]), np.abs(last - zeros[-1]))
        self.space = [np.empty(0), np.empty(0)]

    def __call__(self, first: Ints, sides: Ints) -> Floats:
        """Outputs (outputs, boxes, cells) of the cells from `first` (boxes, inputs) on, the last input
        fastest; until the next call."""
        law, *more = self.laws
        grid = np.indices(tuple(sides)).reshape(len(sides), -1).astype(np.float64)
        start = law.w[:, :-1] @ (first.T - law.zero_in) + law.w[:, -1:]
        count = len(first) * grid.shape[1]
        x = self._room(0, law, count)
        out = x[:-1].reshape(len(law.w), len(first), -1)
        np.add(start[:, :, None], (law.w[:, :-1] @ grid)[:, None], out=out)
        law.settle(x[:-1])
        for k, law in enumerate(more, 1):
            to = self._room(k, law, count)
            np.matmul(law.w, x, out=to[:-1])
            law.settle(to[:-1])
            x = to
        return x[:-1].reshape(len(law.w), len(first), -1)

    def _room(self, k: int, law: Law, count: int) -> Floats:
        numbers = (len(law.w) + 1) * count
        if self.space[k % 2].size < numbers:
            self.space[k % 2] = np.empty(numbers)
        room = self.space[k % 2][:numbers].reshape(-1, count)
        room[-1] = 1.0
        return room


class Law:
    """A layer: sums of whole numbers, times m / 2^s where the products are exact too, then rounded. A neuron
    that cannot move in the box is a constant: its bias may be enormous."""

    def __init__(self, p: Pair, low: Floats, high: Floats, zero: int) -> None:
        self.then, self.zero, self.zero_in, t = p.then, zero, p.zero, p.then
        a, b, plus, minus = low - p.zero, high - p.zero, np.maximum(p.counts, 0.0), np.minimum(p.counts, 0.0)
        most = 2 * (np.abs(p.counts) @ np.maximum(np.abs(a), np.abs(b)) + np.abs(p.bias))
        need(float(most.max()) < WHOLE, "leaves by cells: too large sums")
        sums = plus @ a + minus @ b + p.bias, plus @ b + minus @ a + p.bias
        self.ends = self._of(sums[0]), self._of(sums[1])
        still = self.ends[0] == self.ends[1]
        self.exact = t.mode == "half-even" and bool((most * t.m < WHOLE)[~still].all())
        self.w = np.concatenate([p.counts, p.bias[:, None]], axis=1)
        if self.exact:
            self.w *= np.ldexp(t.m.astype(np.float64), -t.s)[:, None]
            self.w[still] = 0.0
            self.w[still, -1] = self.ends[0][still] - t.zero

    def _of(self, sums: Floats) -> Floats:
        t = self.then
        whole = rounded(sums.astype(np.int64), t.m, t.s, t.mode, t.zero) + t.zero
        return np.clip(whole, t.lo, t.hi).astype(np.float64)

    def settle(self, x: Floats) -> None:
        """Sums (neurons, cells) become integers."""
        t = self.then
        if not self.exact:
            x[:] = rounded(x.T.astype(np.int64), t.m, t.s, t.mode, t.zero).T
        else:
            np.rint(x, out=x)
        if t.zero != self.zero:
            x += t.zero - self.zero
        np.clip(x, t.lo - self.zero, t.hi - self.zero, out=x)
