# SPDX-License-Identifier: Apache-2.0
"""A row behind a bend whose elements may be on or off, with the noise that they and those of an earlier bend
read: one quadratic form of signs, bounded by its dual.

Signs s = (1, the bend's, the earlier one's times what a row makes of them); the row is s Q s + sum |F_i s|,
and

    s Q s + sum |F_i s|  <=  sum p + sum q + len(s) * most(0, - least eigenvalue of S)
    S = diag(p, r) - Q - sum F_i F_i / (4 q_i) - sum r_j phi_j phi_j

for all q > 0 and p, r >= 0, as s_j^2 <= (phi_j s)^2 <= 1 for the last ones and s^2 <= 1 for the others. Which
p, q, r: those of the best unit vectors in place of signs that some steps uphill find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .forms import Form, Pad
from .relax import Envelope
from .rounding import TINY, Floats, Ints, U, slack, up
from .together import Together

FEWEST, LARGEST = 16, 1 << 20  # elements on or off; numbers in a form
TALLEST, EFFORT = 16, 1 << 34  # rows of a tensor; multiply-adds for them
ROUNDS, DIMENSIONS = 64, 8
START, END, WEIGHT = 16.0, 0.01, 0.2
SHORT, NOTHING = 1e-2, 1e-100
MORE = 32


@dataclass(frozen=True)
class Symbols:
    """Of an earlier bend: wide * symbol = t (c + M e) + more + L e + [-off, off] with |t| <= 1/2."""

    ids: Ints
    wide: Floats
    c: Floats
    m: Floats
    more: Floats
    lean: Floats
    off: Floats
    of: Ints

    def known_to(self, form: Form) -> bool:
        """Whether the form has them, for d only, and all of which they are made."""
        if np.setdiff1d(np.concatenate([self.ids, self.of]), form.ids).size:
            return False
        return not form.g[0, np.searchsorted(form.ids, self.ids)].any()


def symbols(before: Form, after: Form, group: Together) -> list[Symbols]:
    """d = D / 2 + t D + r behind the bend: its form there says what the symbols stand for."""
    first, g = before.ids.size, after.rows().reshape(2, after.ids.size, -1)
    single = ~g[0].any(axis=1) & (np.count_nonzero(g[1], axis=1) == 1)
    single[:first] = False
    element = np.abs(g[1]).argmax(axis=1)
    chosen = np.flatnonzero(single & np.isin(element, group.at))
    if not chosen.size or not np.array_equal(before.ids, after.ids[:first]):
        return []
    at, wide = element[chosen], np.abs(g[1, chosen, element[chosen]])
    old, new = before.gather(at, Pad()), after.gather(at, Pad())
    m = np.zeros((at.size, int((~single).sum())))
    m[:, :first] = old.rows()[1].T
    lean, more = 0.5 * m - g[1][~single][:, at].T, 0.5 * old.c[1] - new.c[1]
    sizes = np.abs(old.c[1]) + np.abs(new.c[1]) + np.abs(m).sum(axis=1) + np.abs(lean).sum(axis=1)
    off = group.off[np.searchsorted(group.at, at)] + old.r[1] + new.r[1] + slack(8, 2 * sizes)
    return [Symbols(after.ids[chosen], wide, old.c[1], m, more, lean, up(off), after.ids[~single])]


class Squares:
    """A bend's form and elements, and the signs of an earlier bend if all of these are in the form."""

    def __init__(
        self,
        x: Form,
        group: Together,
        box: Floats,
        env: Envelope,
        limits: tuple[float, float],
        past: Sequence[Symbols],
    ) -> None:
        self.x, self.group = x, group
        self.past = next((each for each in past[::-1] if each.known_to(x)), None)
        here, ends = x.gather(group.at, Pad()), box.reshape(6, -1)[:, group.at]
        # T = 1/2 + t is 1 above the limit and 0 below it, but within |D| of it.
        bottom, known = limits[0], np.isfinite(limits[0]) & (np.maximum(ends[1], ends[3]) <= limits[1])
        bottom = bottom if np.isfinite(bottom) else 0.0
        self.gap = np.where(known, here.c[0] - bottom, 0.0)
        self.of_x = np.where(known[:, None], here.rows()[0].T, 0.0)
        self.blur = np.where(known, up(here.r[0] + slack(8, np.abs(here.c[0]) + abs(bottom))), 0.0)
        self.on = rounded_when_on(box, env, limits).ravel()[group.at]
        slip = up(up(0.25 * np.abs(ends[4:]).max(axis=0)) + 0.75 * self.on)
        self.slip = np.where(known & ends[4:].any(axis=0), slip, 0.0)

    def affordable(self, rows: int) -> bool:
        """Whether so many rows are worth their multiply-adds."""
        signs = 1 + 2 * self.group.at.size + (self.past.ids.size if self.past else 0)
        return 4 * rows * ROUNDS * DIMENSIONS * signs * self.x.ids.size <= EFFORT

    def most(self, a: Floats, shared: Floats) -> Floats:
        """Upper bounds of rows a (2, elements, rows) of the form, with t D + r of the elements, times
        `shared`."""
        c, r = self.x.c.reshape(2, -1, 1), self.x.r.reshape(2, -1, 1)
        reach, sized = np.abs(c) + self.x.radius().reshape(c.shape), np.abs(shared)
        size = (reach[:, self.group.at, 0]).sum(axis=0) + self.on
        r_alone = np.where(self.on > 0, 32 * U * size, self.group.off)
        off = (r_alone + 0.5 * (r[1, self.group.at, 0] + self.on)) @ sized
        paid = (np.abs(a) * reach).sum(axis=(0, 1)) + off + (sized * reach[1, self.group.at]).sum(axis=0)
        fixed = (a * c + np.abs(a) * r).sum(axis=(0, 1)) + off
        f, q, phi, size = self._parts(a, shared)
        found = _Uphill(f, q, phi, self).bounds()
        error = slack(4 * f[0].size + 2 * a.shape[1] + MORE, paid + np.abs(fixed) + np.abs(found) + size)
        return np.asarray(fixed + found + error)

    def _parts(self, a: Floats, shared: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """F (rows, signs, symbols), Q, phi (rows, signs, earlier elements) and what their sums' sizes are."""
        x, at, past = self.x, self.group.at, self.past
        g, k, rows = x.rows().reshape(2, x.ids.size, -1), at.size, a.shape[2]
        n = 1 + k
        count = n + (past.ids.size if past else 0)
        f, half = np.zeros((rows, count, x.ids.size)), np.zeros((rows, count, count))
        f[:, 0] = (g[0] @ a[0] + g[1] @ a[1]).T
        f[:, 1:n] = 0.5 * shared.T[..., None] * g[1][:, at].T
        half[:, 0, 1:n] = 0.25 * (shared.T * x.c[1].ravel()[at] + np.abs(shared.T) * self.on)
        phi, size = np.zeros((rows, count, count - n)), np.zeros(rows)
        if past:
            ids, of = np.searchsorted(x.ids, past.ids), np.searchsorted(x.ids, past.of)
            taken = f[:, :n, ids]
            top = np.abs(taken).sum(axis=1) * (1 + 4.0 * (k + MORE) * U) + TINY
            phi[:, :n] = taken / top[:, None]
            taken, top = taken / past.wide, top / past.wide
            f[:, :n, ids] = taken * past.off
            f[:, :n, of] += taken @ past.lean
            f[:, n:, of] = 0.5 * top[..., None] * past.m
            half[:, 0, n:] = 0.25 * top * past.c
            half[:, 0, :n] += 0.5 * taken @ past.more
            size = top @ (np.abs(past.lean).sum(axis=1) + np.abs(past.more))
        return f, half + half.transpose(0, 2, 1), phi, size


def rounded_when_on(box: Floats, env: Envelope, limits: tuple[float, float]) -> Floats:
    """|r| <= this * T where y is yhat but for a rounding, or 0 for yhat <= 0; 0 where that is not known. T is
    1 where both are positive, 0 where none is, xhat / |D| where xhat alone is, and r = 0; where yhat alone
    is, min(1, y / D), and y above D by no more than a rounding."""
    _, ux, _, uy, _, _ = box
    most = np.broadcast_to(np.maximum(env.lower, env.upper), ux.shape)
    holds = (env.kl == 0) & (uy <= env.ku + most) & (ux <= limits[1]) & (uy <= limits[1])
    return np.where(holds, most, 0.0) * (limits[0] == 0)


class _Uphill:
    """Unit vectors for signs, and the multipliers of what the kinks say, for all rows at once."""

    def __init__(self, f: Floats, q: Floats, phi: Floats, group: Squares) -> None:
        used = f.any(axis=(0, 1)) | group.of_x.any(axis=0)  # symbols that say something of D, or of a kink
        self.f, self.of_x = f[:, :, used], group.of_x[:, used]
        self.q, self.phi, self.group = q, phi, group
        rows, count, late = phi.shape
        self.n = n = count - late
        columns = np.sqrt((self.f**2).sum(axis=1))
        self.short = SHORT * columns.sum(axis=1)[:, None] / max(columns.shape[1], 1) + NOTHING
        spread = [np.cos(1.0 + 0.7 * np.arange(k * DIMENSIONS) ** 2) for k in (n, late)]
        start = [part.reshape(1, -1, DIMENSIONS) for part in spread]
        start[0][0, 0] = np.arange(DIMENSIONS) == 0
        self.early, self.late = (_unit(np.repeat(part, rows, axis=0)) for part in start)
        self.over = self.under = np.zeros((rows, n - 1))

    def bounds(self) -> Floats:
        for k in range(ROUNDS):
            self._look()
            self._climb(START * END ** (k / ROUNDS))
        self._look()
        return np.array([self._dual(k) for k in range(len(self.f))])

    def _look(self) -> None:
        """F s, phi s and all slopes, at these vectors and multipliers."""
        n, group, early = self.n, self.group, self.early
        reads = self.phi[:, :n].transpose(0, 2, 1) @ early
        self.reach = np.sqrt((reads**2).sum(axis=2) + TINY)
        s = np.concatenate([early, self.late * self.reach[..., None]], axis=1)
        own, one = s[:, 1:n], s[:, :1]
        self.mean, self.lean = 0.5 * (self.over + self.under), 0.5 * (self.over - self.under)
        pulled = self.mean[..., None] * own + self.lean[..., None] * one
        each = self.f.transpose(0, 2, 1) @ s + self.of_x.T @ pulled
        self.long = np.sqrt((each**2).sum(axis=2) + self.short**2)
        each = each / self.long[..., None]
        gap, seen = group.gap[:, None], self.of_x @ each
        slope = self.f @ each + 2.0 * self.q @ s
        slope[:, 1:n] += self.mean[..., None] * (seen + gap * one)
        slope[:, 0] += (self.lean[..., None] * (seen + 2.0 * gap * one)).sum(axis=1)
        slope[:, 0] += (self.mean[..., None] * gap * own).sum(axis=1)
        self.slope = slope
        self.turn = (slope[:, n:] * self.late).sum(axis=2) / self.reach
        self.whole = slope[:, :n] + self.phi[:, :n] @ (self.turn[..., None] * reads)
        with_own = ((seen + gap * one) * own).sum(axis=2)
        with_one = (seen * one).sum(axis=2) + group.gap
        self.less = group.slip + 0.5 * (with_own + with_one), group.slip + 0.5 * (with_own - with_one)

    def _climb(self, far: float) -> None:
        group = self.group
        self.early[:, 1:] = _unit(self.early[:, 1:] + far * _unit(self.whole[:, 1:]))
        self.late = _unit(self.late + far * _unit(self.slope[:, self.n :]))
        wide = (np.abs(self.of_x).sum(axis=1) ** 2 + TINY) * max(len(group.gap), 1)
        pace = WEIGHT * far * self.long.sum(axis=1)[:, None] / wide * (group.slip > 0)
        self.over = np.maximum(self.over - pace * self.less[0], 0.0)
        self.under = np.maximum(self.under - pace * self.less[1], 0.0)

    def _dual(self, k: int) -> float:
        """What these numbers prove of a row."""
        n, group, mean, lean = self.n, self.group, self.mean[k], self.lean[k]
        q, r = 0.5 * self.long[k], np.maximum(0.5 * self.turn[k], 0.0)
        p = np.maximum(0.5 * (self.whole[k] * self.early[k]).sum(axis=1), 0.0)
        f, square, phi = self.f[k].copy(), self.q[k].copy(), self.phi[k]
        f[1:n] += mean[:, None] * self.of_x
        f[0] += lean @ self.of_x
        square[0, 1:n] += 0.5 * mean * group.gap
        square[1:n, 0] += 0.5 * mean * group.gap
        square[0, 0] += lean @ group.gap
        s = np.diag(np.append(p, r)) - square - 0.25 * (f / q) @ f.T - (phi * r) @ phi.T
        sizes = np.diag(np.append(p, r)) + np.abs(square)
        sizes += 0.25 * (np.abs(f) / q) @ np.abs(f).T + (np.abs(phi) * r) @ np.abs(phi).T
        if not np.isfinite(s).all():
            return np.inf
        paid = group.slip @ (self.over[k] + self.under[k])
        paid += group.blur @ np.maximum(self.over[k], self.under[k])
        value = float(p.sum() + q.sum() + paid) + len(f) * short_of(s, sizes, f.shape[1])
        return value + float(slack(f.size + 4 * len(f), abs(value) + sizes.sum() + np.abs(f).sum()))


def short_of(s: Floats, sizes: Floats, terms: int) -> float:
    """An e with S + e >= 0: S + shift is a square of a matrix, up to a rest that is small."""
    s = (s + s.T) / 2
    eigen, vectors = np.linalg.eigh(s)
    shift = max(-float(eigen[0]), 0.0)
    root = vectors * np.sqrt(np.maximum(eigen + shift, 0.0))
    rest = np.abs(s + shift * np.eye(len(s)) - root @ root.T)
    rest += 2.0 * slack(terms + 4 * len(s), sizes + np.abs(root) @ np.abs(root).T + shift)
    return shift + float(rest.sum(axis=1).max())


def _unit(v: Floats) -> Floats:
    v = v / np.maximum(np.abs(v).max(axis=2, keepdims=True), TINY)  # no square overflows
    return np.asarray(v / np.maximum(np.sqrt((v * v).sum(axis=2, keepdims=True)), TINY))
