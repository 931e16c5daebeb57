# SPDX-License-Identifier: Apache-2.0
"""One neuron pair, exactly: the vertex rule (notes 3.1 and 3.3) on floats, rounded outward.

With yhat = xhat + D before the activation, x = X(xhat) = clip(xhat, a, c) and the step envelope (E)

    clip(yhat - lower, kl, ku)  <=  y  <=  clip(yhat + upper, kl, ku),

any function  y - X - P*D - Q*xhat - s*(X - lam*xhat - mid)  is piecewise linear in (xhat, D) once y is
replaced by either side of (E). Its extremes over the polygon of known ranges lie on vertices: slopes are
advice, intercepts are proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pair_box import Box
from .pair_float import Floats, U

Line = tuple[Floats, Floats]


@dataclass(frozen=True)
class Envelope:
    """How far y may lie from yhat, and the ends kl <= y <= ku it reaches (outward-rounded reals)."""

    lower: Floats | float
    upper: Floats | float
    kl: Floats
    ku: Floats


@dataclass(frozen=True)
class Slopes:
    """Coefficients P, Q, s of a linear form for the difference, per neuron."""

    p: Floats
    q: Floats
    s: Floats


class Vertices:
    """The candidate vertices of every neuron's polygon; `box` holds the ranges of xhat, yhat and D."""

    def __init__(self, box: Box, envelope: Envelope, limits: tuple[float, float]) -> None:
        self.limits = limits
        self._upper = _points(box, limits, envelope.kl - envelope.upper, envelope.ku - envelope.upper)
        self._lower = _points(box, limits, envelope.kl + envelope.lower, envelope.ku + envelope.lower)
        self._tops = np.clip(self._upper[0] + self._upper[1] + envelope.upper, envelope.kl, envelope.ku)
        self._bottoms = np.clip(self._lower[0] + self._lower[1] - envelope.lower, envelope.kl, envelope.ku)
        ends = (box.lx, box.ux, np.clip(box.lx, *limits), np.clip(box.ux, *limits))
        more = (box.ly, box.uy, box.ld, box.ud, envelope.kl, envelope.ku)
        size = np.maximum.reduce([np.abs(end) for end in (*ends, *more)])
        self.size: Floats = size + np.maximum(envelope.lower, envelope.upper)

    def spread(self, slopes: Slopes, lam: Floats, mid: Floats) -> Line:
        """Range of y - X - P*D - Q*xhat - s*(X - lam*xhat - mid), rounded outward."""
        high = self._evaluate(self._upper, self._tops, slopes, lam, mid).max(axis=0)
        low = self._evaluate(self._lower, self._bottoms, slopes, lam, mid).min(axis=0)
        # Vertices are off by at most 6u * size per coordinate, each evaluation by 8u * (sum of terms).
        weight = 4 + np.abs(slopes.p) + np.abs(slopes.q) + np.abs(slopes.s) * (2 + np.abs(lam))
        error = (32 * U) * weight * (self.size + np.abs(mid))
        return low - error, high + error

    def _evaluate(self, points: Line, y: Floats, slopes: Slopes, lam: Floats, mid: Floats) -> Floats:
        x, gap = points
        active = np.clip(x, *self.limits)
        linear = slopes.p * gap + slopes.q * x + slopes.s * (active - lam * x - mid)
        return np.asarray(y - active - linear)


def _points(box: Box, limits: tuple[float, float], first: Floats, last: Floats) -> Line:
    """All pairwise intersections of the polygon's edges and the kinks xhat in limits, xhat + D in {first,
    last}, each moved into the polygon: a true vertex stays, another one becomes a harmless point."""
    xs, gaps = [], []
    for x in (box.lx, box.ux, np.clip(limits[0], box.lx, box.ux), np.clip(limits[1], box.lx, box.ux)):
        for gap in (box.ld, box.ud, first - x, last - x):
            xs.append(x)
            gaps.append(gap)
    for gap in (box.ld, box.ud):
        for y in (box.ly, box.uy, first, last):
            xs.append(np.minimum(np.maximum(y - gap, box.lx), box.ux))
            gaps.append(gap)
    x, gap = np.stack(xs), np.stack(gaps)
    gap = np.minimum(np.maximum(gap, np.maximum(box.ld, box.ly - x)), np.minimum(box.ud, box.uy - x))
    return x, gap


def activation(box: Box, limits: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """x = lam * xhat + mid + [-half, half] for X = clip(., limits): the chord, with the intercept taken at
    the kinks (a naive -lam * l cuts a corner, notes section 8)."""
    ends = [box.lx, box.ux, *(np.clip(limit, box.lx, box.ux) for limit in limits)]
    first, last = np.clip(box.lx, *limits), np.clip(box.ux, *limits)
    width, rise = box.ux - box.lx, last - first
    lam = np.clip(np.divide(rise, width, out=np.zeros_like(width), where=width > 0), 0.0, 1.0)
    rests = np.stack([np.clip(end, *limits) - lam * end for end in ends])
    high, low = rests.max(axis=0), rests.min(axis=0)
    size = np.maximum.reduce([np.abs(end) for end in (box.lx, box.ux, first, last)])
    return lam, 0.5 * high + 0.5 * low, 0.5 * (high - low) + (32 * U) * size
