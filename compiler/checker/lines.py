# SPDX-License-Identifier: Apache-2.0
"""The float network of a chain over many boxes at once: an affine form of the input, a remainder, and bounds
on the Jacobian. Inside, boxes are on the last axis, symbols on axis 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .chain import RHO, Chain, Pair
from .rounding import TINY, Floats, U, down, up
from .single import entered, inner


@dataclass(frozen=True)
class Lines:
    """N(x) = c + slope (x - middle) +- r, and |dN / dx| <= steep: (boxes, inputs, outputs)."""

    c: Floats
    slope: Floats
    r: Floats
    steep: Floats
    middle: Floats
    sums: list[tuple[Floats, Floats]]  # of every layer: c and how far from it, (boxes, neurons)

    def of(self, some: Any) -> Lines:
        """Of some boxes."""
        c, slope, r, steep, middle = (v[some] for v in (self.c, self.slope, self.r, self.steep, self.middle))
        return Lines(c, slope, r, steep, middle, [(at[some], far[some]) for at, far in self.sums])


@dataclass(frozen=True)
class _State:
    """x = c + sum g e +- r, e in [-1, 1]; the Jacobian within j +- k."""

    c: Floats
    g: Floats
    r: Floats
    j: Floats
    k: Floats

    def wide(self) -> Floats:
        return np.asarray((np.abs(self.g).sum(axis=1) + self.r) * (1 + RHO))


def lines(chain: Chain, low: Floats, high: Floats) -> Lines:
    """low, high (boxes, inputs)."""
    n = low.shape[1]
    middle = 0.5 * low + 0.5 * high
    far = up(np.maximum(high - middle, middle - low)).T
    eye = np.repeat(np.eye(n)[..., None], len(low), axis=2)
    x = _State(middle.T, eye * far, np.zeros_like(far), eye, np.zeros_like(eye))
    sums = []
    for p in chain.pairs:
        x = _summed(x, p)
        wide = x.wide()
        sums.append((x.c.T, wide.T))
        x = _activated(x, wide, *p.then.limits)
    slope = np.where(far > 0, x.g[:, :n] / np.where(far > 0, far, 1.0), 0.0)
    rest = (np.abs(x.g[:, n:]).sum(axis=1) + x.r) * (1 + RHO)
    rest = rest + 1.01 * (n + 16) * U * (np.abs(x.c) + x.wide())
    c, slope, r, steep = (np.ascontiguousarray(v.T) for v in (x.c, slope, rest, up(np.abs(x.j) + x.k)))
    return Lines(c, slope, r, steep, middle, sums)


def drift(chain: Chain, form: Lines, low: Floats, high: Floats) -> Floats:
    """(boxes, outputs): how far N in float32 is from N, at most. One layer after the other is in float32, the
    rest of the way exact: what it loses is multiplied by a Jacobian."""
    size = np.maximum(np.abs(low), np.abs(high))
    lost = [entered(size)]
    far, gates = lost[0], []
    size = size + far
    for p, (c, wide) in zip(chain.pairs, form.sums, strict=True):
        lost.append(inner(p.w, size.T, *p.folded).T)
        far = (far @ np.abs(p.w).T + lost[-1]) * (1 + RHO)
        a, b = p.then.limits
        least, most = down(c - wide - far), up(c + wide + far)
        constant, open_ = (most <= a) | (least >= b), (least >= a) & (most <= b)
        gates.append((constant[:, None], open_[:, None]))
        far = np.where(constant, 0.0, far)
        size = np.maximum(np.abs(np.clip(least, a, b)), np.abs(np.clip(most, a, b)))
    j = np.repeat(np.eye(far.shape[1])[None], len(far), axis=0)
    k, all_lost = np.zeros_like(j), np.zeros_like(far)
    for p, own, (constant, open_) in zip(chain.pairs[::-1], lost[:0:-1], gates[::-1], strict=True):
        ends = np.stack([down(j - k), up(j + k)])
        hull = np.stack([np.minimum(ends[0], 0.0), np.maximum(ends[1], 0.0)])
        ends = np.where(open_, ends, np.where(constant, 0.0, hull))
        j = 0.5 * ends[0] + 0.5 * ends[1]
        k = np.maximum(ends[1] - j, j - ends[0]) * (1 + RHO)
        all_lost = all_lost + ((np.abs(j) + k) @ own[..., None])[..., 0]
        unit = 1.01 * (len(p.w) + 16) * U
        j, k = j @ p.w, ((k + unit * (np.abs(j) + k)) @ np.abs(p.w)) * (1 + RHO)
    return up((all_lost + ((np.abs(j) + k) @ lost[0][..., None])[..., 0]) * (1 + RHO))


def _summed(x: _State, p: Pair) -> _State:
    unit, size = 1.01 * (p.w.shape[1] + 17) * U, np.abs(p.w)
    b = p.b[:, None]
    r = size @ (x.r + unit * (np.abs(x.c) + x.wide())) + unit * np.abs(b)
    k = _times(size, x.k + unit * (np.abs(x.j) + x.k))
    g, j = _times(p.w, x.g), _times(p.w, x.j)
    return _State(p.w @ x.c + b, g, r * (1 + RHO) + TINY, j, k * (1 + RHO) + TINY)


def _times(w: Floats, x: Floats) -> Floats:
    """Over the first axis of x."""
    rest = x.shape[1:]
    return np.asarray((w @ x.reshape(len(x), rest[0] * rest[1])).reshape(len(w), *rest))


def _activated(x: _State, wide: Floats, a: float, c: float) -> _State:
    """clip(., a, c): as it is, a constant, or, where a limit lies inside, a band along the chord."""
    low, high = down(x.c - wide), up(x.c + wide)
    same = (low >= a) & (high <= c)
    if same.all():
        return x
    bent = ~same & (low < c) & (high > a)
    flat = np.where(high <= a, a, c)
    first, last = np.clip(low, a, c), np.clip(high, a, c)
    lam = np.clip((last - first) / np.where(bent, high - low, 1.0), 0.0, 1.0)
    rest = [np.clip(v, a, c) - lam * v for v in (low, high, np.clip(a, low, high), np.clip(c, low, high))]
    top, least = np.maximum.reduce(rest), np.minimum.reduce(rest)
    mid = 0.5 * top + 0.5 * least
    half = np.maximum(top - mid, mid - least) + 32 * U * np.maximum(np.abs(low), np.abs(high))
    more = 16 * U * (lam * (np.abs(x.c) + wide) + np.abs(mid) + half) + TINY
    share = np.where(same, 1.0, np.where(bent, lam, 0.0))
    shift = np.where(same, 0.0, np.where(bent, mid, np.where(np.isfinite(flat), flat, 0.0)))
    r = np.where(same, x.r, np.where(bent, lam * x.r * (1 + RHO) + more, 0.0))
    j_low, j_high = np.minimum(down(x.j - x.k), 0.0), np.maximum(up(x.j + x.k), 0.0)
    j_mid = 0.5 * j_low + 0.5 * j_high
    j_half = np.maximum(j_high - j_mid, j_mid - j_low) * (1 + RHO)
    at, over = same[:, None], bent[:, None]
    g = np.concatenate([share[:, None] * x.g, _symbols(half, bent)], axis=1)
    return _State(
        share * x.c + shift,
        g,
        r,
        np.where(at, x.j, np.where(over, j_mid, 0.0)),
        np.where(at, x.k, np.where(over, j_half, 0.0)),
    )


def _symbols(half: Floats, bent: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    """One per bent element of each box, as many for all."""
    element, box = np.nonzero(bent)
    place = (np.cumsum(bent, axis=0) - 1)[element, box]
    symbols = np.zeros((len(bent), int(bent.sum(axis=0).max(initial=0)), bent.shape[1]))
    symbols[element, place, box] = half[element, box]
    return symbols
