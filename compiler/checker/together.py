# SPDX-License-Identifier: Apache-2.0
"""Elements of a bend that may be on or off, bounded together.

d = (1/2 + t) D + r with |t| <= 1/2, |r| <= max |y - X(yhat)|, and D = c + M e with every |e| <= 1. Of a row,
sum a t (M e) <= 1/2 sqrt(sum p sum q) |N| for all p, q > 0; |N| the spectral norm of N = a M / sqrt(p q).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .relax import Envelope
from .rounding import TINY, Floats, Ints, U, slack, up

SQUARES = 6
EXPECTED = 0.45  # |N| while it is not known
ROOM = 1 << 22  # numbers that M may have
MORE = 32
Side = tuple[Floats, Floats]  # coefficients (2, elements, rows) and the ranges (6, elements) of a tensor


class Together:
    """`at`: flat positions in the bend; `rest`: most that r and t c come to; `m`: M."""

    def __init__(self, at: Ints, rest: Floats, m: Floats) -> None:
        self.at, self.rest, self.m, self.wide = at, rest, m, np.abs(m).sum(axis=1)
        self.cost = (rest + 0.5 * EXPECTED * self.wide)[:, None]
        self.work = m.size * len(m)

    def most(self, a: Floats) -> Floats:
        """Of t D + r, for rows with coefficients a (elements, rows) of d; without the rounding of the sum."""
        found = self.rest @ np.abs(a)
        for k, row in enumerate(a.T):
            on = np.abs(row) * self.wide > TINY
            if on.any():
                found[k] += _bilinear(row[on], self.m[on], self.wide[on])
        return np.asarray(found + sum(self.m.shape) * TINY)


def _bilinear(a: Floats, m: Floats, wide: Floats) -> float:
    sized = np.abs(a)
    columns = sized @ np.abs(m)
    on = columns > TINY
    p, q, m = sized * wide, columns[on], m[:, on]
    n = m * (a / np.sqrt(p))[:, None] / np.sqrt(q)
    off = 4.0 * (sum(m.shape) + MORE) * U
    norm = np.sqrt(min(largest(n @ n.T) + off, 1.0)) + 4 * off
    return float(0.5 * np.sqrt(p.sum() * q.sum()) * norm)


def largest(g: Floats) -> float:
    """Most that the largest eigenvalue of a symmetric matrix can be: its square is that of the square, and
    after some squares the root of the sum of all elements' squares is close."""
    off, sizes = 4.0 * (len(g) + MORE) * U, []
    for _ in range(SQUARES):
        g = (g + g.T) / 2
        size = float(np.sqrt((g * g).sum()))
        if size <= TINY:
            break
        sizes.append(size)
        g = (g / size) @ (g / size)
    most = float(np.sqrt((g * g).sum())) * (1 + 2.0 * (g.size + MORE) * U) + TINY
    for size in sizes[::-1]:
        most = (float(np.sqrt(most + off)) + off) * size * (1 + off)
    return most


def undecided(box: Floats, limits: tuple[float, float]) -> Ints:
    """Flat positions of elements with a limit inside the range of x and a D of either sign."""
    inside = np.any([(box[0] < limit) & (limit < box[1]) for limit in limits], axis=0)
    at = np.flatnonzero((inside & (box[4] < 0) & (box[5] > 0)).ravel())
    return at if at.size >= 2 and at.size * box[0].size <= ROOM else at[:0]


def off_by(box: Floats, env: Envelope, limits: tuple[float, float]) -> Floats:
    """Most of |y - X(yhat)|: both are piecewise linear in yhat, so at a kink or an end."""
    _, _, ly, uy, _, _ = box
    far = ((env.kl - env.upper, env.ku - env.upper), (env.kl + env.lower, env.ku + env.lower))
    most = np.zeros_like(ly)
    for place in (ly, uy, *limits, *far[0]):
        y = np.minimum(np.maximum(place, ly), uy)
        most = np.maximum(most, np.clip(y + env.upper, env.kl, env.ku) - np.clip(y, *limits))
    for place in (ly, uy, *limits, *far[1]):
        y = np.minimum(np.maximum(place, ly), uy)
        most = np.maximum(most, np.clip(y, *limits) - np.clip(y - env.lower, env.kl, env.ku))
    size = np.max(np.abs([ly, uy, env.kl, env.ku]), axis=0) + np.maximum(env.lower, env.upper)
    return np.asarray(most + 32 * U * size)


def gathered(at: Ints, off: Floats, ends: Sequence[Side], high: Floats) -> Together | None:
    """From rows of D and of -D, side by side, that were carried back to tensors of known ranges; `high`:
    upper bounds of what they gathered on the way."""
    n, c, more, parts = at.size, np.zeros(at.size), np.zeros(at.size), []
    for a, box in ends:
        for coefficients, low, up_to in ((a[0], box[0], box[1]), (a[1], box[4], box[5])):
            here = coefficients[:, :n].T
            m = 0.5 * low + 0.5 * up_to
            r = up(np.maximum(up_to - m, m - low))
            c = c + here @ m
            more = more + slack(m.size + MORE, np.abs(here) @ (np.abs(m) + r))
            parts.append(here * r)
    m = np.concatenate(parts, axis=1)
    m = m[:, m.any(axis=0)]
    if not m.size:
        return None
    far = np.maximum(np.abs(c + high[:n]), np.abs(c - high[n:])) + 2 * more
    return Together(at, up(off + 0.5 * far), m)
