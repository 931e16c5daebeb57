# SPDX-License-Identifier: Apache-2.0
"""Linear forms around what is not linear: a step function beside a clip, and the choice among sound forms.

Any slopes are sound: the intercept is proven from the extremes over the polygon of the known ranges of
(xhat, D), which a piecewise linear function takes at vertices. So the choice only costs precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .files import need
from .forms import Change, Form, Pad
from .rounding import TINY, Floats, U, up

Line = tuple[Floats, Floats]


@dataclass(frozen=True)
class Envelope:
    """clip(yhat - lower, kl, ku) <= y <= clip(yhat + upper, kl, ku)."""

    lower: Floats | float
    upper: Floats | float
    kl: Floats
    ku: Floats


class Corners:
    """Where y - X - p D - q xhat - s (X - lam xhat - mid) can be extreme, X = clip(xhat, limits)."""

    def __init__(self, box: Floats, env: Envelope, limits: tuple[float, float]) -> None:
        lx, ux, ly, uy, ld, ud = box
        self.limits, self.sides = limits, []
        for sign, far in ((1.0, env.upper), (-1.0, env.lower)):
            kinks = (env.kl - sign * far, env.ku - sign * far)
            points = []
            for x in (lx, ux, np.clip(limits[0], lx, ux), np.clip(limits[1], lx, ux)):
                points += [(x, ld), (x, ud), (x, kinks[0] - x), (x, kinks[1] - x)]
            for gap in (ld, ud):
                points += [(np.minimum(np.maximum(v - gap, lx), ux), gap) for v in (ly, uy, *kinks)]
            x, gap = np.stack([p[0] for p in points]), np.stack([p[1] for p in points])
            gap = np.minimum(np.maximum(gap, np.maximum(ld, ly - x)), np.minimum(ud, uy - x))
            y = np.clip(x + gap + sign * far, env.kl, env.ku)
            active = np.clip(x, *limits)
            self.sides.append((x, gap, y - active, active))
        reach = [*box, env.kl, env.ku, np.clip(lx, *limits), np.clip(ux, *limits)]
        self.size = np.max(np.abs(np.stack(reach)), axis=0) + np.maximum(env.lower, env.upper)

    def spread(self, p: Floats, q: Floats, s: Floats, lam: Floats, mid: Floats) -> Line:
        """Proven range: a vertex is off by 6u size per coordinate at most, an evaluation by less than 20u."""
        top, bottom = (
            rest - p * gap - (q * x + s * (active - lam * x - mid) if q.any() or s.any() else 0.0)
            for x, gap, rest, active in self.sides
        )
        weight = 4 + np.abs(p) + np.abs(q) + np.abs(s) * (2 + np.abs(lam))
        error = 32 * U * weight * (self.size + np.abs(mid))
        return bottom.min(axis=0) - error, top.max(axis=0) + error


def chord(box: Floats, limits: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """clip(x, limits) = lam x + mid + [-half, half]; the intercept is taken at the kinks, whatever lam is."""
    lx, ux = box[0], box[1]
    first, last, width = np.clip(lx, *limits), np.clip(ux, *limits), ux - lx
    lam = np.clip(np.divide(last - first, width, out=np.zeros_like(width), where=width > 0), 0.0, 1.0)
    ends = (lx, ux, *(np.clip(limit, lx, ux) for limit in limits))
    rests = np.stack([np.clip(end, *limits) - lam * end for end in ends])
    high, low = rests.max(axis=0), rests.min(axis=0)
    size = np.max(np.abs(np.stack([lx, ux, first, last])), axis=0)
    return lam, 0.5 * high + 0.5 * low, 0.5 * (high - low) + 32 * U * size


class Choice:
    """Per element the form with the least fresh noise + half of what old symbols carry."""

    def __init__(self, x: Form, half: Floats) -> None:
        self.x, self.half = x, half
        self.sums = x.sums()
        self.score = np.full(half.shape, np.inf)
        self.parts = np.zeros((5, *half.shape))

    def offer(self, p: Floats, q: Floats, s: Floats, spread: Line) -> None:
        """`spread` is a proven range of d - p d_in - q x_in - s half ex."""
        m = 0.5 * spread[0] + 0.5 * spread[1]
        e = up(np.maximum(spread[1] - m, m - spread[0]))
        score = e + 0.5 * np.abs(s) * self.half
        score = score + 0.5 * (np.abs(p) * self.x.r[1] + np.abs(q) * self.x.r[0])
        if not (p.any() and q.any()):
            score = score + 0.5 * (np.abs(p) * self.sums[1] + np.abs(q) * self.sums[0])
        else:
            left = np.flatnonzero(score < self.score)
            flat = self.x.reshape((p.size,)).gather(left, Pad())
            rows = flat.rows()
            score.reshape(-1)[left] += 0.5 * np.abs(
                p.ravel()[left] * rows[1] + q.ravel()[left] * rows[0]
            ).sum(axis=0)
        wins = score < (1 - 1e-6) * self.score
        self.score = np.where(wins, score, self.score)
        self.parts = np.where(wins, np.stack([p, q, s, m, e]), self.parts)

    def change(self, lam: Floats, mid: Floats, apart: NDArray[np.bool_]) -> Change:
        """The winners, beside x' = lam x + mid + half ex."""
        need(np.isfinite(self.score).all(), "no finite bound on a difference")
        p, q, s, m, e = self.parts
        return Change(lam, mid, self.half, p, q, s, m, e, apart)


def choose_step(x: Form, box: Floats, env: Envelope, limits: tuple[float, float]) -> Change:
    """The change of a step function: d ~ p D, or y ~ p yhat minus the form of x."""
    lam, mid, half = chord(box, limits)
    corners, choice, zero = Corners(box, env, limits), Choice(x, half), np.zeros_like(lam)
    slope = np.clip((env.ku - env.kl) / np.maximum(box[3] - box[2], TINY), 0.0, 1.0)
    offers = [(zero + p, zero, zero) for p in (0.5, 1.0, 0.75, 0.25, 0.0)]
    for p, q, s in [*offers, (zero, -lam, zero - 1), (slope, slope - lam, zero - 1)]:
        choice.offer(p, q, s, corners.spread(p, q, s, lam, mid))
    return choice.change(lam, mid, half > 2.0**-40 * corners.size)
