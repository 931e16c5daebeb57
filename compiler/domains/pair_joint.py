# SPDX-License-Identifier: Apache-2.0
"""Neurons that may be on or off, bounded together.

One by one, each takes the worst of its own D; together they cannot, because they read the same noise. With
X = clip(., limits) there is t in [-1/2, 1/2] with X(xhat + D) - X(xhat) = (1/2 + t) D, so that

    d = D / 2 + t D + r,   r = y - X(yhat),      D = middle + M e  with  |e_i| <= 1,

and what a row makes of t D is a bilinear form of t and e. For any positive p, q

    t (diag(a) M) e  <=  1/2 sqrt(sum p) sqrt(sum q) ||diag(p)^-1/2 diag(a) M diag(q)^-1/2||,

the spectral norm bounded by squaring. With the sums of absolute values in rows and columns for p and q the
norm is 1 at most, and the bound no worse than that of one by one; where signs are mixed it is much smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .pair_back import EDGES, Rows, Source, Total
from .pair_box import Box, centre
from .pair_float import TINY, Floats, Ints, U, slack, up
from .pair_vertex import Envelope

SQUARED = 6  # times: the norm of n rows is then at most n^(1/256) too large
GUESS = 0.45  # what mixed signs leave of a sum: what a choice expects before it knows
MOST = 1 << 22  # numbers in M


@dataclass(frozen=True)
class Joint:
    """The elements `at` of a bend: |r| + |middle| / 2 is at most `rest`; M is (elements, columns); `sums` of
    its absolute values per element."""

    at: Ints
    rest: Floats
    m: Floats
    sums: Floats

    @property
    def work(self) -> int:
        """Multiply-adds a row."""
        return self.m.size * len(self.m)

    @property
    def guess(self) -> Floats:
        """What a unit of an element's coefficient is expected to cost."""
        return self.rest + 0.5 * GUESS * self.sums

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


def joint_of(
    tape: Sequence[Source], read: int, box: Box, envelope: Envelope, limits: tuple[float, float]
) -> Joint | None:
    """The elements whose activation bends and whose difference has no sign; None for fewer than two."""
    bends = np.zeros(box.lx.shape, bool)
    for limit in limits:
        bends |= (box.lx < limit) & (limit < box.ux)
    at = np.flatnonzero((bends & (box.ld < 0) & (box.ud > 0)).ravel())
    if at.size < 2 or at.size * box.lx.size > MOST:
        return None
    one = np.zeros((box.lx.size, 2 * at.size))
    one[at, np.arange(at.size)], one[at, at.size + np.arange(at.size)] = 1.0, -1.0
    columns = _linear(tape, read, Rows(np.zeros_like(one), one), at.size)
    if columns is None:
        return None
    m, middle = columns
    rest = up(_rounded(box, envelope, limits).ravel()[at] + 0.5 * middle)
    sums = np.abs(m).sum(axis=1)
    return Joint(at, rest, m, sums) if sums.any() else None


def _linear(tape: Sequence[Source], read: int, rows: Rows, n: int) -> tuple[Floats, Floats] | None:
    """M and |middle| at most, of rows and their negatives, on what was last bent, or on the inputs."""
    total, waiting = Total(np.zeros(2 * n)), {read: rows}
    parts, middle = list[Floats](), np.zeros(n)
    for position in range(read, -1, -1):
        here = waiting.pop(position, None)
        if here is None:
            continue
        source = tape[position]
        known: Box | None = getattr(source, "after", None)
        if known is None:
            for to, part in zip(source.reads, source.back(here, total), strict=True):
                waiting[to] = waiting[to].plus(part) if to in waiting else part
            continue
        if n * known.lx.size > MOST or here.d is None:
            return None
        for a, low, high in ((here.x, known.lx, known.ux), (here.d, known.ld, known.ud)):
            m, r = (end.ravel() for end in centre(low, high))
            middle = middle + a[:, :n].T @ m
            more = slack(m.size + EDGES, np.abs(a[:, :n]).T @ (np.abs(m) + r))
            total.add(np.tile(more, 2), np.tile(more, 2), 1)
            parts.append(a[:, :n].T * r)
    high = total.bound()
    middle = np.maximum(np.abs(middle + high[:n]), np.abs(middle - high[n:]))
    whole = np.concatenate(parts, axis=1)
    return whole[:, np.abs(whole).max(axis=0, initial=0.0) > 0], middle


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
