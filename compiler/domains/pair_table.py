# SPDX-License-Identifier: Apache-2.0
"""A pointwise function beside its table (notes section 11): y_out = entries[q], x_out = f(x).

f is known by its float64 values (a few ulp), its Lipschitz constant and its direction. With
rho_q = y_out(q) - f(y(q)) over the reachable entries, d_out = rho + f(y) - f(x), and f(y) - f(x) = t * d with
t between the least and the greatest slope of f. Of a function with a jump no slope is known: t is 0, and rho
is y_out - f(x), all that the two ranges allow.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from .extremes import between
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
        self.at = at = (np.arange(self.count) + self.first - unit.zero) * float(unit.scale)
        value = self.value(at)
        self.slope, lip = slopes(self.fn)
        error = function_error(value, at) + 2.0**-50 * lip * np.abs(at)
        self.rho = down(self.out[0] - value) - error, up(self.out[1] - value) + error

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
        if self.fn.lipschitz == inf:
            (low, high), (least, most) = between(first, last, self.out), self.rest(box, np.zeros_like(box.lx))
            return down(low - most), up(high - least)
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
        first, last = (end.ravel() for end in self.reach(box))
        low, high = np.empty(first.size), np.empty(first.size)
        for i, (a, b, steep) in enumerate(zip(first, last, slope.ravel(), strict=True)):
            here = slice(a, b + 1)
            line = steep * self.at[here]
            error = 2.0**-50 * np.abs(line)
            low[i] = (down(self.out[0][here] - line) - error).min()
            high[i] = (up(self.out[1][here] - line) + error).max()
        return low.reshape(slope.shape), high.reshape(slope.shape)


def slopes(fn: Any) -> tuple[tuple[float, float], float]:
    """The least and the greatest slope of a function, and the steepest; 0 where it jumps."""
    lip = 0.0 if fn.lipschitz == inf else float(fn.lipschitz)
    return (0.0 if fn.monotone > 0 else -lip, 0.0 if fn.monotone < 0 else lip), lip


def function_error(value: Floats, x: Floats) -> Floats:
    """Far more than the error of a float64 library function at an argument of that size."""
    return np.asarray(2.0**-44 * (1 + np.abs(value) + np.abs(x)))
