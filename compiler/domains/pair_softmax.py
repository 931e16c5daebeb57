# SPDX-License-Identifier: Apache-2.0
"""Softmax beside its integer twin, inside a network.

y_out - x_out = (y_out - p(y)) + (p(y) - p(x)), p the function itself. The first part is what the law of the
integers costs. Of the second: odds p_i / (1 - p_i) are exp(x_i) over the sum of the other exponentials, so
their logarithm moves by d_i less a mean of the other d_j, by g between d_i - max d_j and d_i - min d_j, and p
to p / (p + (1 - p) exp(-g)). That moves p most where p is 1 / (1 + exp(g / 2)), or at an end of its range.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ..errors import CompileError
from .exponentials import largest_other, probabilities
from .pair import Step
from .pair_back import EDGES, Root, Rows, Total
from .pair_box import Box
from .pair_float import Floats, Ints, above, below, down, lattice, scaled, up

SHIFTS = (-1.0, 0.5, 0.75, 1.0)  # nothing; or quantiles of a row's coefficients
FAR = 700.0  # exp of it is a float; of what is further nothing but 0 and 1 is said


class Law:
    """How far an integer probability is from the softmax of what it reads, rows of n elements.

    `near`: unless it is cut at `top`, the largest one: half a step; exponentials within 1/2 of 2^15 or more
    (of two rows: within 1 + 1/16 of 2^24), the largest exactly; the divisor, made larger by a factor of 24
    bits and rounded.
    """

    def __init__(self, step: float, top: float, n: int, *, rows: int, plain: bool) -> None:
        table = 0.51 * n / (1 << 15) if rows == 1 else 1.07 * n / (1 << 24)
        divisor = 0.0 if plain else 2.0**-24 + 2.0 ** (-16 if rows == 1 else -25)
        self.near, self.top = step / 2 + table + divisor, top

    @property
    def error(self) -> float:
        """The cut included."""
        return max(self.near, 1 - self.top)

    @classmethod
    def of(cls, table: Ints, how: tuple[int, ...], scale: Fraction, n: int) -> Law:
        """From the arguments of an integer softmax."""
        bits, extra, zero, top = how
        plain = extra == 0 and scale * (1 << bits) == 1
        return cls(above(scale), below(scale * (top - zero)), n, rows=table.ndim, plain=plain)


class Itself:
    """The function on both sides: x and y are its values at x and at y."""

    def box(self, box: Box) -> Box:
        """Ranges after it."""
        return self._after(box, probabilities(box.lx, box.ux), probabilities(box.ly, box.uy))

    off = 0.0  # how far a sum of y may be from 1

    def _after(self, box: Box, x: tuple[Floats, Floats], y: tuple[Floats, Floats]) -> Box:
        g = down(box.ld - largest_other(box.ud)), up(box.ud + largest_other(-box.ld))
        (least, most), (fall, rise) = moved(x, g), moved(y, (-g[1], -g[0]))
        return Box(*x, *y, np.maximum(least, -rise), np.minimum(most, -fall)).tighten()


class Shares(Itself):
    """One softmax ~ integer softmax pair."""

    def __init__(self, step: Step) -> None:
        table, *how = step.integer
        if step.real[0].size or how[2] != step.units.zero:
            raise CompileError(step.node, f"zero point {how[2]}", f"that of its value, {step.units.zero}")
        self.units, self.scale = step.units, step.units.scale
        self.law = Law.of(table, tuple(how), self.scale, step.shape[-1])
        self.off = step.shape[-1] * self.law.near + (
            max(0.0, 1 - self.law.top) if self.law.top > 0.5 else 1.0
        )

    def box(self, box: Box) -> Box:
        x, y = probabilities(box.lx, box.ux), probabilities(box.ly, box.uy)
        after, law = self._after(box, x, y), self.law
        low = np.minimum(down(y[0] - law.near), law.top)
        high = np.minimum(up(y[1] + law.near), up(np.full_like(y[1], law.top)))
        span = self.units.span[0] - self.units.zero, self.units.span[1] - self.units.zero
        first, last = lattice(low, high, self.units.steps(), span)
        cut = down(np.minimum(law.top - y[1], -law.near))
        ly, uy = scaled(first, self.scale)[0], scaled(last, self.scale)[1]
        return Box(*x, ly, uy, down(after.ld + cut), up(after.ud + law.near)).tighten()


class Sums(Root):
    """Rows of probabilities on the tape: x adds up to 1, and d to 0 within `off`. So a number may be taken
    off all coefficients of such a row, and paid for once."""

    def __init__(self, box: Box, off: float) -> None:
        super().__init__(box)
        self._count, self._off, self.work = box.lx.shape[-1], off, len(SHIFTS) * box.lx.size

    def window(self, at: Ints) -> tuple[Ints, list[Ints], Sums]:
        """Whole rows."""
        rows = np.unique(at // self._count)
        here, _, part = super().window((rows[:, None] * self._count + np.arange(self._count)).ravel())
        assert isinstance(part, Sums)
        part.work = len(SHIFTS) * here.size
        return here, [], part

    def back(self, rows: Rows, total: Total) -> list[Rows]:
        x, d = self._rows(rows.x), rows.d
        best, sizes = np.full((1, 1, 1), np.inf), np.zeros((1, 1, 1))
        for share in SHIFTS:
            t = np.quantile(x, share, axis=1, keepdims=True) if share >= 0 else np.zeros_like(x[:, :1])
            s, less = np.zeros_like(t), None
            if d is not None:
                s = np.median(self._rows(d), axis=1, keepdims=True) * (share >= 0)
                less = (self._rows(d) - s).reshape(d.shape)
            value, size = self.most(Rows((x - t).reshape(rows.x.shape), less))
            paid = t + np.abs(s) * self._off
            best = np.minimum(best, (self._rows(value).sum(axis=1, keepdims=True) + paid))
            sizes = np.maximum(sizes, self._rows(size).sum(axis=1, keepdims=True) + np.abs(t) + np.abs(paid))
        total.add(best.sum(axis=(0, 1)), sizes.sum(axis=(0, 1)), 4 * len(rows.x) + EDGES)
        return []

    def _rows(self, part: Floats) -> Floats:
        return part.reshape(-1, self._count, part.shape[1])


def moved(p: tuple[Floats, Floats], g: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Range of p / (p + (1 - p) exp(-g)) - p over ranges of p and g, outward; it rises with g."""
    ends = []
    for sign, by in ((-1.0, g[0]), (1.0, g[1])):
        inside = np.clip(by, -FAR, FAR)
        worst = np.clip(1 / (1 + np.exp(0.5 * inside)), *p)
        moves = [at / (at + (1 - at) * np.exp(-inside)) - at for at in (*p, worst)]
        most = sign * np.max([sign * move for move in moves], axis=0)
        most = most + sign * (16 + np.abs(inside)) * 2.0**-49
        beyond = -p[1] if sign < 0 else 1 - p[0]
        ends.append(np.where(sign * by > FAR, beyond, most))
    return ends[0], ends[1]
