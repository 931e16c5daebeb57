# SPDX-License-Identifier: Apache-2.0
"""Neurons that may be on or off, bounded together.

One by one, each takes the worst of its own D; together they cannot, because they read the same noise. With
X = clip(., limits) there is t in [-1/2, 1/2] with X(xhat + D) - X(xhat) = (1/2 + t) D, so that

    d = D / 2 + t D + r,   r = y - X(yhat),      D = middle + M e  with  |e_i| <= 1,

with the symbols e of the zonotope, and what a row makes of t D is a bilinear form of t and e.
For any positive p, q

    t (diag(a) M) e  <=  1/2 sqrt(sum p) sqrt(sum q) ||diag(p)^-1/2 diag(a) M diag(q)^-1/2||,

the spectral norm bounded by squaring. With the sums of absolute values in rows and columns for p and q the
norm is 1 at most, and the bound no worse than that of one by one; where signs are mixed it is much smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pair_back import EDGES, Total
from .pair_box import Box
from .pair_float import TINY, Floats, Ints, U, up
from .pair_forms import Forms
from .pair_vertex import Envelope

SQUARED = 6  # times: the norm of n rows is then at most n^(1/256) too large
GUESS = 0.45  # what mixed signs leave of a sum: what a choice expects before it knows
MOST = 1 << 22  # numbers in M


@dataclass(frozen=True)
class Joint:
    """The elements `at` of a bend: |r| + |middle| / 2 is at most `rest`; M is (elements, columns); `sums` of
    its absolute values per element; |r| is at most `off`."""

    at: Ints
    rest: Floats
    m: Floats
    sums: Floats
    off: Floats

    @property
    def work(self) -> int:
        """Multiply-adds a row."""
        return self.m.size * len(self.m)

    @property
    def guess(self) -> Floats:
        """What a unit of an element's coefficient is expected to cost."""
        return self.rest + 0.5 * GUESS * self.sums

    def among(self, which: Ints) -> Joint | None:
        """Of a part of the bend: `which` has the new place of each element, or -1."""
        here = np.flatnonzero(which[self.at] >= 0)
        if not here.size:
            return None
        rest, m, sums, off = (part[here] for part in (self.rest, self.m, self.sums, self.off))
        return Joint(which[self.at[here]], rest, m, sums, off)

    def take(self, a: Floats, total: Total) -> None:
        """Pay for t D + r of rows with coefficients a (elements, rows) of d."""
        size = np.abs(a)
        total.add(self.rest @ size, self.rest @ size, len(a) + EDGES)
        worst = np.zeros(a.shape[1])
        for k in range(a.shape[1]):
            rows = np.flatnonzero(size[:, k] * self.sums > TINY)
            if rows.size:
                worst[k] = _mixed(a[rows, k], self.m[rows], self.sums[rows])
        worst += sum(self.m.shape) * TINY  # what was left out
        total.add(worst, worst, EDGES)


def _mixed(a: Floats, m: Floats, sums: Floats) -> float:
    """Largest t (diag(a) M) e, rounded up."""
    p, q = np.abs(a) * sums, np.abs(a) @ np.abs(m)
    used = q > TINY
    m, q = m[:, used], q[used]
    w = (a / np.sqrt(p))[:, None]
    terms = sum(m.shape) + EDGES
    share = min(_norm((w * (m / q)) @ (w * m).T) + 4.0 * terms * U, 1.0)  # off by that times |N| |N|^T <= 1
    whole = float(np.sqrt(p.sum() * q.sum()))
    return float(0.5 * whole * (np.sqrt(share) + 16.0 * terms * U))


def _norm(matrix: Floats) -> float:
    """Upper bound of the spectral norm of a symmetric matrix: ||A||^2 = ||A A||, the last by its squares."""
    n, scales = len(matrix), list[float]()
    error = 4.0 * (n + EDGES) * U
    for _ in range(SQUARED):
        matrix = 0.5 * (matrix + matrix.T)
        scale = float(np.linalg.norm(matrix))
        if scale <= TINY:
            break
        scales.append(scale)
        matrix = matrix / scale
        matrix = matrix @ matrix
    found = float(np.linalg.norm(matrix)) * (1 + 2.0 * (n * n + EDGES) * U) + TINY
    for scale in reversed(scales):
        found = scale * (float(np.sqrt(found + error)) + error) * (1 + error)
    return found


def joint_of(x: Forms, box: Box, envelope: Envelope, limits: tuple[float, float]) -> Joint | None:
    """The elements whose activation bends and whose difference has no sign; None for fewer than two. What
    noise they read is what the form of D says, with ranges `box`."""
    bends = np.zeros(box.lx.shape, bool)
    for limit in limits:
        bends |= ((box.lx < limit) & (limit < box.ux)) | ((box.ly < limit) & (limit < box.uy))
    at = np.flatnonzero((bends & (box.ld < 0) & (box.ud > 0)).ravel())
    if at.size < 2 or at.size * x.symbols.size > MOST:
        return None
    some = x.gather(at)
    m = some.rows()[1].T
    m = m[:, m.any(axis=0)]
    if not m.size:
        return None
    off = _rounded(box, envelope, limits).ravel()[at]
    rest = up(off + 0.5 * (np.abs(some.cd) + some.rd))
    return Joint(at, rest, m, np.abs(m).sum(axis=1), off)


def _rounded(box: Box, envelope: Envelope, limits: tuple[float, float]) -> Floats:
    """Largest |y - X(yhat)|: at a kink of one of the two."""
    kl, ku = envelope.kl, envelope.ku
    worst = np.zeros_like(box.lx)
    for sign, far in ((1.0, envelope.upper), (-1.0, envelope.lower)):
        for kink in (box.ly, box.uy, *limits, kl - sign * far, ku - sign * far):
            y = np.clip(kink, box.ly, box.uy)
            gap = np.clip(y + sign * far, kl, ku) - np.clip(y, *limits)
            worst = np.maximum(worst, sign * gap)
    ends = (box.ly, box.uy, kl, ku)
    size = np.maximum.reduce([np.abs(end) for end in ends]) + np.maximum(envelope.lower, envelope.upper)
    return np.asarray(worst + 32 * U * size)
