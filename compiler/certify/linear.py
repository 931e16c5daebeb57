# SPDX-License-Identifier: Apache-2.0
"""The float network of a chain over boxes: affine in the input, plus a remainder, and a Lipschitz matrix.

The sums have one order, that of cells.c: both give the same numbers. Arrays have the boxes on the last axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..domains.pair_float import TINY, Floats, U, down, up
from .chain import Layer

RHO = 2.0**-40  # more than the relative error of any sum of non-negative numbers here
WIDE = 4  # times the roundings that there can be: a checker that rounds otherwise stays inside


@dataclass(frozen=True)
class Linear:
    """Per box (last axis): N(x) = c + g e +- r with e in [-1, 1] per input; |dN/dx| <= lip; `score`: how much
    of r each input causes."""

    c: Floats  # (outputs, boxes)
    g: Floats  # (outputs, inputs, boxes)
    r: Floats
    lip: Floats
    score: Floats


@dataclass(frozen=True)
class Form:
    """x = c + g e +- r; the Jacobian within jc +- jr; `cause` (symbols after the inputs', inputs, boxes)."""

    c: Floats
    g: Floats
    r: Floats
    jc: Floats
    jr: Floats
    cause: Floats

    def radius(self) -> Floats:
        return (absolute(self.g) + self.r) * (1 + RHO)


def linear(layers: Sequence[Layer], lower: Floats, upper: Floats) -> Linear:
    """lower, upper: (boxes, inputs)."""
    *_, form = forms(layers, lower, upper)
    inputs = lower.shape[1]
    own, other = form.g[:, :inputs], form.g[:, inputs:]
    score = np.zeros_like(own)
    for k in range(other.shape[1]):
        score += np.abs(other[:, k, None]) * form.cause[None, k]
    return Linear(form.c, own, (absolute(other) + form.r) * (1 + RHO), up(np.abs(form.jc) + form.jr), score)


def forms(layers: Sequence[Layer], lower: Floats, upper: Floats) -> Iterator[Form]:
    """Of every layer's sums, and at last of the outputs."""
    low, high = lower.T, upper.T
    inputs, boxes = low.shape
    m = 0.5 * low + 0.5 * high
    eye = np.repeat(np.eye(inputs)[..., None], boxes, axis=2)
    wide = up(np.maximum(high - m, m - low))
    form = Form(m, eye * wide[None], np.zeros_like(m), eye, np.zeros_like(eye), np.zeros((0, inputs, boxes)))
    for layer in layers:
        sums = _affine(form, layer)
        yield sums
        form = _clip(sums, layer.a, layer.c)
    yield form


def product(w: Floats, x: Floats) -> Floats:
    """w @ x over the first axis of x, term after term."""
    out = np.zeros((len(w), *x.shape[1:]))
    for k in range(w.shape[1]):
        out += w[:, k].reshape(-1, *(1,) * (x.ndim - 1)) * x[k]
    return out


def absolute(g: Floats) -> Floats:
    """Sums of sizes over axis 1, symbol after symbol."""
    out = np.zeros((g.shape[0], g.shape[2]))
    for k in range(g.shape[1]):
        out += np.abs(g[:, k])
    return out


def _affine(x: Form, layer: Layer) -> Form:
    share = WIDE * 1.01 * (layer.w.shape[1] + 16) * U
    size, b = np.abs(layer.w), layer.b[:, None]
    spent = x.r + share * (np.abs(x.c) + x.radius())
    r = (product(size, spent) + share * np.abs(b)) * (1 + RHO) + TINY
    jr = product(size, x.jr + share * (np.abs(x.jc) + x.jr)) * (1 + RHO) + TINY
    w = layer.w
    return Form(product(w, x.c) + b, product(w, x.g), r, product(w, x.jc), jr, x.cause)


def _clip(x: Form, a: float, c: float) -> Form:
    """A band of slope lam around clip on [l, u] where a limit lies inside; elsewhere exactly."""
    rad = x.radius()
    l, u = down(x.c - rad), up(x.c + rad)  # noqa: E741 -- lower and upper
    under, over = u <= a, l >= c
    kept = (l >= a) & (u <= c)
    fixed = ~kept & (under | over)
    open_ = ~kept & ~fixed
    low, high, wide = np.clip(l, a, c), np.clip(u, a, c), np.where(open_, u - l, 1.0)
    lam = np.where(open_, np.clip((high - low) / wide, 0.0, 1.0), np.where(kept, 1.0, 0.0))
    rest = [np.clip(t, a, c) - lam * t for t in (l, u, np.clip(a, l, u), np.clip(c, l, u))]
    top = np.maximum(np.maximum(rest[0], rest[1]), np.maximum(rest[2], rest[3]))
    least = np.minimum(np.minimum(rest[0], rest[1]), np.minimum(rest[2], rest[3]))
    ends = np.maximum(np.abs(l), np.abs(u))
    mid = np.where(open_, 0.5 * top + 0.5 * least, np.where(fixed, np.where(under, a, c), 0.0))
    half = np.where(open_, np.maximum(top - mid, mid - least) + WIDE * 32 * U * ends, 0.0)
    more = WIDE * 16 * U * (lam * (np.abs(x.c) + rad) + np.abs(mid) + half) + TINY
    r = np.where(kept, x.r, np.where(open_, lam * x.r * (1 + RHO) + more, 0.0))
    g, cause = _with_symbols(x, lam, half, rad, open_)
    j_low = np.minimum(0.0, down(x.jc - x.jr))
    j_high = np.maximum(0.0, up(x.jc + x.jr))
    middle = 0.5 * j_low + 0.5 * j_high
    reach = np.maximum(j_high - middle, middle - j_low) * (1 + RHO)
    inside, crossed = kept[:, None], open_[:, None]
    jc = np.where(inside, x.jc, np.where(crossed, middle, 0.0))
    jr = np.where(inside, x.jr, np.where(crossed, reach, 0.0))
    return Form(lam * x.c + mid, g, r, jc, jr, cause)


def _with_symbols(
    x: Form, lam: Floats, half: Floats, rad: Floats, open_: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> tuple[Floats, Floats]:
    """A symbol per element whose clip is open; boxes with fewer of them get zeros."""
    count, inputs = int(open_.sum(axis=0).max(initial=0)), x.jc.shape[1]
    order = np.argsort(~open_, axis=0, kind="stable")[:count]
    box = np.arange(open_.shape[1])
    valid = open_[order, box]
    fresh = np.zeros((len(open_), count, len(box)))
    fresh[order, np.arange(count)[:, None], box] = np.where(valid, half[order, box], 0.0)
    parts = x.g[order[:, None], np.arange(inputs)[:, None], box]
    share = np.abs(parts) / np.maximum(rad[order, box], TINY)[:, None]
    cause = np.concatenate([x.cause, np.where(valid[:, None], share, 0.0)])
    return np.concatenate([lam[:, None] * x.g, fresh], axis=1), cause
