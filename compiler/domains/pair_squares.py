# SPDX-License-Identifier: Apache-2.0
"""Two layers of neurons that may be on or off, and the noise that they read, bounded at once.

Behind a bend a row is worth

    constant + y Q y + sum_i e_i (F_i y),     y = (1, tau, w),  |e_i|, |tau_k| <= 1,  w_j^2 <= (phi_j y)^2

tau: twice the t of pair_joint, of the bend's elements; w_j = tau'_j (phi_j y) of an earlier bend's, whose
symbol in the zonotope was (t'_j D'_j + rest) / size. For any q > 0, p and r >= 0

    |F_i y| <= q_i + (F_i y)^2 / (4 q_i),     0 <= r_j ((phi_j y)^2 - w_j^2),     0 <= p (1 - y_k^2)

so that a row is worth at most sum p + sum q, if what remains of the squares is nowhere positive; and so much
more as its largest eigenvalue may be. What ascent over unit vectors finds (Burer and Monteiro) chooses them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .pair_back import EDGES, Rows, Total
from .pair_box import Box
from .pair_float import TINY, Floats, Ints, U, slack, up
from .pair_forms import Forms
from .pair_joint import Joint
from .pair_vertex import Envelope

MANY = 16  # elements that are on or off: of fewer, bounds one by one are not far off
ROOM = 1 << 20  # numbers in the matrix of a form
ROWS = 16  # of a tensor that are bounded so
WORK = 1 << 34  # multiply-adds of these
SPARE = 2.0**-24  # of a bound: the checker's ascent adds up in another order
STEPS, RANK = 64, 8
FIRST, LESS = 16.0, 0.01  # of a unit vector, the first step; times that, the last one
PULL = 0.2  # of steps for multipliers
LITTLE = 1e-100  # its square is not 0
NEAR = 1e-2  # of the columns' mean length: less counts as so much


@dataclass(frozen=True)
class Halves:
    """Symbols `ids` of a bend's elements: size * symbol = t (c + M e) + shift + L e + [-off, off], with
    |t| <= 1/2; M, L are (elements, symbols)."""

    ids: Ints
    size: Floats
    c: Floats
    m: Floats
    shift: Floats
    lean: Floats
    off: Floats
    symbols: Ints

    def inside(self, x: Forms) -> bool:
        """Whether a form has all of them, in d alone, and all that they are made of."""
        if not (np.isin(self.ids, x.symbols).all() and np.isin(self.symbols, x.symbols).all()):
            return False
        return not x.gx[np.searchsorted(x.symbols, self.ids)].any()


def halves_of(before: Forms, after: Forms, joint: Joint) -> list[Halves]:
    """Of the elements of a bend, d = D / 2 + t D + r: what its symbols stand for is what is left of that."""
    old = before.symbols.size
    gd = after.rows()[1].reshape(after.symbols.size, -1)
    own = np.arange(after.symbols.size) >= old
    own &= ~after.gx.any(axis=1) & (np.count_nonzero(gd, axis=1) == 1)
    at = np.abs(gd[own]).argmax(axis=1)
    mine = np.isin(at, joint.at)
    ids, at = np.flatnonzero(own)[mine], at[mine]
    if not at.size or not np.array_equal(after.symbols[:old], before.symbols):
        return []
    size, some, new = np.abs(gd[ids, at]), before.gather(at), after.gather(at)
    m = np.zeros((at.size, np.count_nonzero(~own)))
    m[:, :old] = some.rows()[1].T
    lean, shift = 0.5 * m - gd[~own][:, at].T, 0.5 * some.cd - new.cd
    near = np.abs(some.cd) + np.abs(new.cd) + np.abs(m).sum(axis=1) + np.abs(lean).sum(axis=1)
    off = joint.off[np.searchsorted(joint.at, at)] + some.rd + new.rd + slack(8, 2.0 * near)
    return [Halves(after.symbols[ids], size, some.cd, m, shift, lean, up(off), after.symbols[~own])]


@dataclass(frozen=True)
class Kinks:
    """Of the bend's elements: x - limit = c + G e + [-rest, rest], where T (x - limit) >= -slip and
    (1 - T)(x - limit) <= slip, T = 1/2 + tau / 2; all 0 where that is not so."""

    c: Floats
    g: Floats
    rest: Floats
    slip: Floats


def kinks_of(x: Forms, at: Ints, box: Box, limits: tuple[float, float]) -> Kinks:
    """Of d = T D, T may be above 0 below the limit only where x + D is not, and so within |D|."""
    some, part = x.gather(at), box.gather(at)
    one = np.isfinite(limits[0]) & (np.maximum(part.ux, part.uy) <= limits[1])
    g = np.where(one[:, None], some.rows()[0].T, 0.0)
    low = limits[0] if np.isfinite(limits[0]) else 0.0
    c = np.where(one, some.cx - low, 0.0)
    rest = up(some.rx + slack(8, np.abs(some.cx) + abs(low)))
    slip = up(0.25 * np.maximum(np.abs(part.ld), np.abs(part.ud)))
    return Kinks(c, g, np.where(one, rest, 0.0), np.where(one, slip, 0.0))


@dataclass(frozen=True)
class Squares:
    """The form of what a bend reads, its elements that are on or off, and those of an earlier bend."""

    x: Forms
    joint: Joint
    kinks: Kinks
    halves: Halves | None
    on: Floats  # |r| is at most T times this, and not `off`, where it is above 0

    def work(self, rows: int) -> int:
        """Multiply-adds of so many rows."""
        n, w = self.joint.at.size, 0 if self.halves is None else self.halves.ids.size
        return 2 * rows * STEPS * RANK * (1 + 2 * n + w) * self.x.symbols.size

    def most(self, rows: Rows, a: Floats, total: Total) -> Floats:
        """Upper bounds of what has been collected and rows of the form (elements, r), together with t D + r
        of the elements with coefficients a."""
        x, at, size = self.x, self.joint.at, np.abs(a)
        assert rows.d is not None
        c, rest = (np.stack([p.ravel(), q.ravel()]) for p, q in ((x.cx, x.cd), (x.rx, x.rd)))
        reach = np.abs(c) + np.stack([part.ravel() for part in x.sizes()])
        off = np.where(self.on > 0, 32.0 * U * (reach[0, at] + reach[1, at] + self.on), self.joint.off)
        off = off + 0.5 * rest[1, at] + 0.5 * self.on
        value = rows.x.T @ c[0] + rows.d.T @ c[1] + np.abs(rows.x.T) @ rest[0] + np.abs(rows.d.T) @ rest[1]
        paid = np.abs(rows.x.T) @ reach[0] + np.abs(rows.d.T) @ reach[1] + size.T @ (off + reach[1, at])
        total.add(value + size.T @ off, paid, 2 * len(rows.x) + EDGES)
        problem = rooted(self, rows.x, rows.d, a)
        worst = most(problem)
        size = np.abs(worst) + problem.size
        total.add(worst + SPARE * size, size + paid, 4 * problem.f.shape[1] * problem.f.shape[2])
        return np.asarray(total.bound())


def worth(x: Forms, joint: Joint) -> bool:
    """Of few elements bounds one by one are not far off; large forms take too long."""
    return joint.at.size >= MANY and x.symbols.size * x.cx.size <= ROOM


def squares_of(
    x: Forms,
    joint: Joint,
    box: Box,
    envelope: Envelope,
    limits: tuple[float, float],
    known: list[Halves],
) -> Squares:
    """With the last of `known` that the form has."""
    halves = next((each for each in reversed(known) if each.inside(x)), None)
    on = turned_on(box, envelope, limits).ravel()[joint.at]
    kinks = kinks_of(x, joint.at, box, limits)
    kinks = replace(kinks, slip=np.where(kinks.slip > 0, up(kinks.slip + 0.75 * on), 0.0))
    return Squares(x, joint, kinks, halves, on)


def turned_on(box: Box, envelope: Envelope, limits: tuple[float, float]) -> Floats:
    """Most of |r| / T, where nothing but a rounding moves y, which is 0 where yhat <= 0; else 0. As T may be
    the least of 1 and y / D where xhat < 0 < yhat; it is -xhat / D where yhat <= 0 <= xhat, and r = 0."""
    far = np.broadcast_to(np.maximum(envelope.lower, envelope.upper), box.lx.shape)
    free = (envelope.kl == 0.0) & (box.uy <= envelope.ku + far) & (np.maximum(box.ux, box.uy) <= limits[1])
    return np.where(free & (limits[0] == 0.0), far, 0.0)


@dataclass(frozen=True)
class Rooted:
    """Rows (r): F (r, N, columns), Q (r, N, N), phi (r, N, elements of w), with |phi y| <= 1; `size` of what
    was added up on the way."""

    f: Floats
    q: Floats
    phi: Floats
    kinks: Kinks
    size: Floats

    @property
    def first(self) -> int:
        """1 and how many tau."""
        return int(self.f.shape[1] - self.phi.shape[2])


def rooted(group: Squares, row_x: Floats, row_d: Floats, a: Floats) -> Rooted:
    """What is not constant of row_x x + row_d d (elements, r), and the sum of t a D."""
    x, at, halves = group.x, group.joint.at, group.halves
    gx, gd = (part.reshape(x.symbols.size, -1) for part in x.rows())
    n, rows, w = at.size, row_x.shape[1], 0 if halves is None else halves.ids.size
    count, size = 1 + n + w, np.zeros(rows)
    f, q = np.zeros((rows, count, x.symbols.size)), np.zeros((rows, count, count))
    f[:, 0] = (gx @ row_x + gd @ row_d).T
    f[:, 1 : 1 + n] = 0.5 * a.T[:, :, None] * gd[:, at].T
    q[:, 0, 1 : 1 + n] = 0.25 * (a.T * x.cd.ravel()[at] + np.abs(a.T) * group.on)
    phi = np.zeros((rows, count, w))
    if halves is not None:
        here, old = (np.searchsorted(x.symbols, ids) for ids in (halves.ids, halves.symbols))
        part = f[:, : 1 + n, here]
        far = np.abs(part).sum(axis=1) * (1 + 4.0 * (n + EDGES) * U) + TINY
        phi[:, : 1 + n], part, share = part / far[:, None], part / halves.size, far / halves.size
        f[:, : 1 + n, here] = part * halves.off
        f[:, : 1 + n, old] += part @ halves.lean
        f[:, 1 + n :, old] = 0.5 * share[:, :, None] * halves.m
        q[:, 0, 1 + n :] = 0.25 * share * halves.c
        q[:, 0, : 1 + n] += 0.5 * part @ halves.shift
        size = share @ (np.abs(halves.lean).sum(axis=1) + np.abs(halves.shift))
    kinks = group.kinks
    used = np.flatnonzero(f.any(axis=(0, 1)) | kinks.g.any(axis=0))  # many a symbol says nothing of D
    f, kinks = np.ascontiguousarray(f[:, :, used]), replace(kinks, g=np.ascontiguousarray(kinks.g[:, used]))
    return Rooted(f, q + q.transpose(0, 2, 1), phi, kinks, size)


@dataclass
class _Ascent:
    """Unit vectors for 1, tau and w, multipliers of the kinks, and what these make of a row."""

    problem: Rooted
    first: Floats  # (r, 1 + n, RANK)
    last: Floats  # (r, w, RANK)
    over: Floats  # (r, n) multipliers of T (x - limit) >= -slip
    under: Floats
    near: Floats

    def look(self) -> None:
        """Lengths of F y, of phi y, and slopes."""
        problem, n = self.problem, self.problem.first
        phi = problem.phi[:, :n].transpose(0, 2, 1) @ self.first
        self.far = np.sqrt((phi**2).sum(axis=2) + TINY)
        self.w = self.last * self.far[..., None]
        y = np.concatenate([self.first, self.w], axis=1)
        kinks = problem.kinks
        self.half, self.lean = 0.5 * (self.over + self.under), 0.5 * (self.over - self.under)
        z = self.half[..., None] * y[:, 1:n] + self.lean[..., None] * y[:, :1]
        fy = problem.f.transpose(0, 2, 1) @ y + kinks.g.T @ z
        self.length = np.sqrt((fy**2).sum(axis=2) + self.near**2)
        way = fy / self.length[..., None]
        self.slope = problem.f @ way + 2.0 * problem.q @ y
        seen = kinks.g @ way
        self.slope[:, 1:n] += self.half[..., None] * (seen + kinks.c[:, None] * y[:, :1])
        self.slope[:, 0] += (self.lean[..., None] * seen).sum(axis=1)
        self.slope[:, 0] += ((self.half * kinks.c)[..., None] * y[:, 1:n]).sum(axis=1)
        self.slope[:, 0] += 2.0 * (self.lean * kinks.c).sum(axis=1)[:, None] * y[:, 0]
        turned = (self.slope[:, n:] * self.last).sum(axis=2) / self.far
        self.pull = self.slope[:, :n] + problem.phi[:, :n] @ (turned[..., None] * phi)
        both = (seen * y[:, 1:n]).sum(axis=2) + kinks.c * (y[:, 1:n] * y[:, :1]).sum(axis=2)
        one = (seen * y[:, :1]).sum(axis=2) + kinks.c
        self.gain = kinks.slip + 0.5 * (both + one), kinks.slip + 0.5 * (both - one)

    def step(self, far: float) -> None:
        kinks = self.problem.kinks
        self.first[:, 1:] = _unit(self.first[:, 1:] + far * _unit(self.pull[:, 1:]))
        self.last = _unit(self.last + far * _unit(self.slope[:, self.problem.first :]))
        wide = (np.abs(kinks.g).sum(axis=1) ** 2 + TINY) * max(len(kinks.c), 1)
        pace = (PULL * far * self.length.sum(axis=1))[:, None] / wide * (kinks.slip > 0)
        self.over = np.maximum(self.over - pace * self.gain[0], 0.0)
        self.under = np.maximum(self.under - pace * self.gain[1], 0.0)


def _unit(vectors: Floats) -> Floats:
    v = vectors / np.maximum(np.abs(vectors).max(axis=2, keepdims=True), TINY)  # no square overflows
    return np.asarray(v / np.maximum(np.sqrt((v**2).sum(axis=2, keepdims=True)), TINY))


def _spread(shape: tuple[int, ...]) -> Floats:
    """Numbers in [-1, 1] without order."""
    return np.asarray(np.cos(1.0 + 0.7 * np.arange(np.prod(shape)) ** 2)).reshape(shape)


def most(problem: Rooted) -> Floats:
    """Upper bounds of y Q y + sum |F_i y|, per row."""
    rows = len(problem.f)
    n, w = problem.first - 1, problem.phi.shape[2]
    length = np.sqrt((problem.f**2).sum(axis=1))
    near = NEAR * length.sum(axis=1, keepdims=True) / max(length.shape[1], 1) + LITTLE
    first = np.repeat(_spread((1 + n, RANK))[None], rows, axis=0)
    first[:, 0] = np.eye(RANK)[0]
    last = np.repeat(_spread((w, RANK))[None], rows, axis=0)
    none = np.zeros((rows, n))
    ascent = _Ascent(problem, _unit(first), _unit(last), none, none, near)
    for k in range(STEPS):
        ascent.look()
        ascent.step(FIRST * LESS ** (k / STEPS))
    ascent.look()
    return np.array([_proven(problem, ascent, k) for k in range(rows)])


def _proven(problem: Rooted, ascent: _Ascent, k: int) -> float:
    """A row's bound with p, q, r and multipliers: whatever these are."""
    n, kinks = problem.first, problem.kinks
    over, under, half, lean = ascent.over[k], ascent.under[k], ascent.half[k], ascent.lean[k]
    q = 0.5 * ascent.length[k]
    r = np.maximum((ascent.slope[k, n:] * ascent.last[k]).sum(axis=1) / (2.0 * ascent.far[k]), 0.0)
    p = np.maximum(0.5 * (ascent.pull[k] * ascent.first[k]).sum(axis=1), 0.0)
    f, squares = problem.f[k].copy(), problem.q[k].copy()
    f[1:n] += half[:, None] * kinks.g
    f[0] += lean @ kinks.g
    squares[0, 1:n] += 0.5 * half * kinks.c
    squares[1:n, 0] += 0.5 * half * kinks.c
    squares[0, 0] += lean @ kinks.c
    phi = problem.phi[k]
    rest = np.diag(np.concatenate([p, r])) - squares - 0.25 * (f / q) @ f.T - (phi * r) @ phi.T
    size = np.abs(squares) + 0.25 * (np.abs(f) / q) @ np.abs(f).T + (np.abs(phi) * r) @ np.abs(phi).T
    size += np.diag(np.concatenate([p, r]))
    paid = kinks.slip @ (over + under) + kinks.rest @ np.maximum(over, under)
    if not np.isfinite(rest).all():
        return float(np.inf)
    value = p.sum() + q.sum() + paid + len(f) * _least(rest, size, f.shape[1])
    return float(value + slack(f.size + 4 * len(f), abs(value) + size.sum() + np.abs(f).sum()))


def _least(s: Floats, size: Floats, terms: int) -> float:
    """How far below 0 the least eigenvalue of s may be; its elements are sums of `terms` of these sizes."""
    s = 0.5 * (s + s.T)
    values, vectors = np.linalg.eigh(s)
    off = max(-float(values[0]), 0.0)
    root = vectors * np.sqrt(np.maximum(values + off, 0.0))
    rest = np.abs(s + off * np.eye(len(s)) - root @ root.T)
    error = slack(terms + 4 * len(s), size + np.abs(root) @ np.abs(root).T + off)
    return off + float((rest + 2.0 * error).sum(axis=1).max())
