# SPDX-License-Identifier: Apache-2.0
"""A table beside the function f it stands for.

With rho(q) = y_out(q) - f(y(q)) over the entries that y can read, d_out = rho + f(y) - f(x), and
f(y) - f(x) = t d with t between the least and the greatest slope of f. Where f jumps, rho is y_out - f(x), by
their ranges, and t is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .forms import tighten
from .pairs import Table
from .rounding import Floats, down, lattice, up

CELLS = 256


class Pointwise:
    """Ranges after the function; linear forms when they are asked for."""

    def __init__(self, t: Table, box: Floats) -> None:
        self.t, self.before, self.slopes = t, box, t.function.slopes
        low, high = lattice(box[2], box[3], np.full(box[0].shape, float(t.scale)), t.span)
        count = len(t.out[0])
        self.first, self.last = (np.clip(n + t.zero, 0, count - 1) for n in (low, high))
        at: Floats = (np.arange(count) - np.float64(t.zero)) * np.float64(t.scale)
        value, steep = self.value(at), max(map(abs, self.slopes))
        error = _error(value, at) + 2.0**-50 * steep * np.abs(at)
        self.reals = at
        rho = down(t.out[0] - value) - error, up(t.out[1] - value) + error
        self.rho = self._over(rho)
        xs, out = self.rest(np.zeros_like(box[0])), self._over(t.out)
        if t.function.jumps:
            self.rho = down(out[0] - xs[1]), up(out[1] - xs[0])
        moves = [(down(s * end), up(s * end)) for s in self.slopes for end in (box[4], box[5])]
        low_d = down(self.rho[0] + np.min([m[0] for m in moves], axis=0))
        high_d = up(self.rho[1] + np.max([m[1] for m in moves], axis=0))
        self.box = tighten(np.stack([*xs, *out, low_d, high_d]))

    def value(self, x: Floats) -> Floats:
        """f in float64."""
        return self.t.function.value(x)

    def _over(self, ends: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Least and greatest over first..last, per element."""
        pairs, back = np.unique(
            np.stack([self.first.ravel(), self.last.ravel()]), axis=1, return_inverse=True
        )
        low = np.array([ends[0][a : b + 1].min() for a, b in pairs.T])
        high = np.array([ends[1][a : b + 1].max() for a, b in pairs.T])
        return low[back].reshape(self.first.shape), high[back].reshape(self.first.shape)

    def chord(self) -> Floats:
        """The slope of f from end to end, within its own slopes."""
        low, high = self.before[0], self.before[1]
        width, rise = high - low, self.value(high) - self.value(low)
        share = np.divide(rise, width, out=np.zeros_like(width), where=width > 0)
        return np.asarray(np.clip(share, *self.slopes))

    def forms(self) -> tuple[Floats, Floats, Floats, list[Any]]:
        """lam, mid, half of x_out = lam x + mid + half ex, and offers (p, q, s, spread)."""
        box, (t0, t1), lam = self.before, self.slopes, self.chord()
        zero = np.zeros_like(box[0])
        low, high = self.rest(lam)
        mid = 0.5 * low + 0.5 * high
        half = up(np.maximum(high - mid, mid - low))
        far = up(0.5 * (t1 - t0) * np.maximum(np.abs(box[4]), np.abs(box[5])))
        offers: list[Any] = [
            (zero + 0.5 * (t0 + t1), zero, zero, (down(self.rho[0] - far), up(self.rho[1] + far)))
        ]
        for slope in (lam, zero):
            low, high = self.against(slope)
            offers.append((slope, slope - lam, zero - 1, (down(low - mid), up(high - mid))))
        offers.append((zero, zero, zero, (self.box[4], self.box[5])))
        return lam, mid, half, offers

    def rest(self, lam: Floats) -> tuple[Floats, Floats]:
        """Range of f(x) - lam x over the range of x: cells, each by its middle and its steepest slope."""
        lx, ux = self.before[0], self.before[1]
        width, size = (ux - lx) / CELLS, np.maximum(np.abs(lx), np.abs(ux))
        steep = np.maximum(np.abs(self.slopes[0] - lam), np.abs(self.slopes[1] - lam))
        if not lam.any() and self.t.function.monotone:
            ends = self.value(lx), self.value(ux)
            error = _error(np.maximum(np.abs(ends[0]), np.abs(ends[1])), size)
            return np.minimum(*ends) - error, np.maximum(*ends) + error
        low, high = np.full_like(lam, np.inf), np.full_like(lam, -np.inf)
        for i in range(CELLS):
            x = lx + (i + 0.5) * width
            value = self.value(x) - lam * x
            error = _error(value, size) + 2.0**-48 * (np.abs(lam) + steep) * size
            far = 0.5000001 * steep * width + error
            low, high = np.minimum(low, value - far), np.maximum(high, value + far)
        return low, high

    def against(self, slope: Floats) -> tuple[Floats, Floats]:
        """Range of y_out - slope y over the entries that y can read."""
        found = np.empty((2, slope.size))
        for i, (a, b, steep) in enumerate(zip(self.first.flat, self.last.flat, slope.flat, strict=True)):
            line = steep * self.reals[a : b + 1]
            error = 2.0**-50 * np.abs(line)
            found[0, i] = np.min(down(self.t.out[0][a : b + 1] - line) - error)
            found[1, i] = np.max(up(self.t.out[1][a : b + 1] - line) + error)
        return found[0].reshape(slope.shape), found[1].reshape(slope.shape)


def _error(value: Floats, x: Floats) -> Floats:
    """Far more than the error of f in float64."""
    return np.asarray(2.0**-44 * (1 + np.abs(value) + np.abs(x)))
