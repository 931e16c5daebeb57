# SPDX-License-Identifier: Apache-2.0
"""A pointwise function beside its table (notes section 11): y_out = entries[q], x_out = f(x).

f is known by its float64 values (a few ulp), its Lipschitz constant and its direction. With
rho_q = y_out(q) - f(y(q)) over the reachable entries, d_out = rho + f(y) - f(x), and f(y) - f(x) = t * d with
t between the least and the greatest slope of f.
"""

from __future__ import annotations

import numpy as np

from .pair import Step, Units
from .pair_box import Box
from .pair_float import Floats, Ints, down, scaled, up

CELLS = 256  # pieces of the x range on which f is enclosed by its middle and its slope


class Pointwise:
    """One function ~ table pair: entries as outward-rounded reals, and their distance to the function."""

    def __init__(self, step: Step, unit: Units) -> None:
        (self.fn,), (entries, self.first) = step.real, step.integer
        self.unit, self.count = unit, len(entries)
        self.out = scaled(np.asarray(entries, np.int64) - step.units.zero, step.units.scale)
        at = (np.arange(self.count) + self.first - unit.zero) * float(unit.scale)
        value, lip = self.value(at), float(self.fn.lipschitz)
        error = function_error(value, at) + 2.0**-50 * lip * np.abs(at)
        self.rho = down(self.out[0] - value) - error, up(self.out[1] - value) + error
        self.slope = (0.0 if self.fn.monotone > 0 else -lip, 0.0 if self.fn.monotone < 0 else lip)

    def value(self, x: Floats) -> Floats:
        """f in float64; an overflow inside (exp of a large number) still gives the right limit."""
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(self.fn(x), np.float64)

    def reach(self, box: Box) -> tuple[Ints, Ints]:
        """Positions of the entries that y in [ly, uy] can read, first and last."""
        low, high = self.unit.integers(box)
        top = self.count - 1
        shift = self.unit.zero - self.first
        return np.clip(low + shift, 0, top), np.clip(high + shift, 0, top)

    def box(self, box: Box) -> Box:
        """Ranges after the function: the interval rule."""
        span = self.reach(box)
        first, last = span
        zero = np.zeros_like(box.lx)
        xs = self.rest(box, zero)
        low, high = between(first, last, self.out)
        rho = self.noise(box)
        moves = np.stack([down(t * end) for t in self.slope for end in (box.ld, box.ud)])
        tops = np.stack([up(t * end) for t in self.slope for end in (box.ld, box.ud)])
        return Box(*xs, low, high, down(rho[0] + moves.min(axis=0)), up(rho[1] + tops.max(axis=0))).tighten()

    def noise(self, box: Box) -> tuple[Floats, Floats]:
        """Range of rho over the entries that y can read."""
        first, last = self.reach(box)
        return between(first, last, self.rho)

    def rest(self, box: Box, lam: Floats) -> tuple[Floats, Floats]:
        """Range of f(x) - lam * x over x in [lx, ux], rounded outward."""
        width = (box.ux - box.lx) / CELLS
        steep = np.maximum(np.abs(self.slope[0] - lam), np.abs(self.slope[1] - lam))
        size = np.maximum(np.abs(box.lx), np.abs(box.ux))
        if self.fn.monotone and not lam.any():
            ends = self.value(box.lx), self.value(box.ux)
            error = function_error(np.maximum(np.abs(ends[0]), np.abs(ends[1])), size)
            return np.minimum(*ends) - error, np.maximum(*ends) + error
        low, high = np.full_like(lam, np.inf), np.full_like(lam, -np.inf)
        for i in range(CELLS):
            x = box.lx + (i + 0.5) * width
            value = self.value(x) - lam * x
            error = function_error(value, size) + 2.0**-48 * (np.abs(lam) + steep) * size
            far = 0.5000001 * steep * width + error
            low, high = np.minimum(low, value - far), np.maximum(high, value + far)
        return low, high

    def against(self, box: Box, slope: Floats) -> tuple[Floats, Floats]:
        """Range of y_out - slope * y over the entries that y can read, rounded outward."""
        first, last = self.reach(box)
        low, high = np.full_like(slope, np.inf), np.full_like(slope, -np.inf)
        for i in range(int(first.min()), int(last.max()) + 1):
            here = (first <= i) & (i <= last)
            line = slope * (float(self.unit.scale) * (i + self.first - self.unit.zero))
            error = 2.0**-50 * np.abs(line)
            low = np.where(here, np.minimum(low, down(self.out[0][i] - line) - error), low)
            high = np.where(here, np.maximum(high, up(self.out[1][i] - line) + error), high)
        return low, high


def function_error(value: Floats, x: Floats) -> Floats:
    """Far more than the error of a float64 library function at an argument of that size."""
    return np.asarray(2.0**-44 * (1 + np.abs(value) + np.abs(x)))


def between(first: Ints, last: Ints, ends: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Least of ends[0] and greatest of ends[1] over positions first..last, per element (sparse table)."""
    low, high = [ends[0]], [ends[1]]
    while 2 ** len(low) <= len(ends[0]):
        half = 2 ** (len(low) - 1)
        low.append(np.minimum(low[-1][:-half], low[-1][half:]))
        high.append(np.maximum(high[-1][:-half], high[-1][half:]))
    level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
    least, most = np.empty(first.shape), np.empty(first.shape)
    for k in np.unique(level):
        here = level == k
        a, b = first[here], last[here] - 2 ** int(k) + 1
        least[here] = np.minimum(low[k][a], low[k][b])
        most[here] = np.maximum(high[k][a], high[k][b])
    return least, most
