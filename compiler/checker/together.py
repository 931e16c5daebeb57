# SPDX-License-Identifier: Apache-2.0
"""Elements of a bend that may be on or off, bounded together.

d = (1/2 + t) D + r with |t| <= 1/2, |r| <= max |y - X(yhat)|, and D = c + M e with the zonotope's symbols e.
Of a row, sum a t (M e) <= 1/2 sqrt(sum p sum q) |N| for all p, q > 0; |N| the spectral norm of
N = a M / sqrt(p q).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .forms import Form, Pad
from .relax import Envelope
from .rounding import TINY, Floats, Ints, U, up

SQUARES = 6
EXPECTED = 0.45  # |N| while it is not known
ROOM = 1 << 22  # numbers that M may have
MORE = 32


class Together:
    """`at`: flat positions in the bend; `rest`: most that r and t c come to; `m`: M; `off`: most of r."""

    def __init__(self, at: Ints, rest: Floats, m: Floats, off: Floats) -> None:
        self.at, self.rest, self.m, self.wide = at, rest, m, np.abs(m).sum(axis=1)
        self.off = off
        self.cost = (rest + 0.5 * EXPECTED * self.wide)[:, None]
        self.work = m.size * len(m)

    def only(self, some: Ints) -> Together | None:
        """Those of the group that are some of these elements."""
        own = np.isin(self.at, some)
        if not own.any():
            return None
        return Together(self.at[own], self.rest[own], self.m[own], self.off[own])

    def among(self, some: Ints, n: int) -> Together | None:
        """Those of some of the bend's n elements."""
        new, own = np.full(n, -1), self.only(some)
        new[some] = np.arange(some.size)
        return None if own is None else Together(new[own.at], own.rest, own.m, own.off)

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


def undecided(box: Floats, limits: tuple[float, float]) -> NDArray[np.bool_]:
    """Elements with a limit inside the range of x or y and a D of either sign."""
    inside = np.any([(box[i] < limit) & (limit < box[i + 1]) for limit in limits for i in (0, 2)], axis=0)
    return np.asarray(inside & (box[4] < 0) & (box[5] > 0))


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


def together(x: Form, box: Floats, env: Envelope, limits: tuple[float, float]) -> Together | None:
    """Of a step, from the form of D: its symbols are the noise that the elements share."""
    flat = np.flatnonzero(undecided(box, limits).ravel())
    if flat.size < 2 or flat.size * x.ids.size > ROOM:
        return None
    here = x.gather(flat, Pad())
    m = here.rows()[1].T
    m = m[:, m.any(axis=0)]
    off, far = off_by(box, env, limits).ravel()[flat], np.abs(here.c[1]) + here.r[1]
    return Together(flat, up(off + 0.5 * far), m, off) if m.size else None
