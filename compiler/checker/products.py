# SPDX-License-Identifier: Apache-2.0
"""Products of two tensors: where y = x + d, ya yb - xa xb is xa db + yb da, and xb da + ya db."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .forms import LIMIT, Form, tighten
from .rounding import TINY, Floats, U, up

FAR = 2.0**-49  # relative: sixteen roundings


def product(a: Floats, b: Floats, off: float) -> Floats:
    """The box of the product; y is off by a factor within 1 +- off."""
    x, y = _range([(a[:2], b[:2])]), _range([(a[2:4], b[2:4])])
    more = up(off * np.abs(y).max(axis=0)) + TINY
    first, second = _range([(a[:2], b[4:]), (b[2:4], a[4:])]), _range([(b[:2], a[4:]), (a[2:4], b[4:])])
    low, high = np.maximum(first[0], second[0]) - more, np.minimum(first[1], second[1]) + more
    size = FAR * (np.abs(first).max(axis=0) + np.abs(second).max(axis=0) + more + np.abs(y).max(axis=0))
    return tighten(np.stack([*x, y[0] - more - size, y[1] + more + size, low - size, high + size]))


def _range(pairs: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Lowest and highest sum of products, one from each pair of ranges."""
    low, high, size = 0.0, 0.0, 0.0
    for (a, b), (c, d) in pairs:
        corners = [a * c, a * d, b * c, b * d]
        low, high = low + np.minimum.reduce(corners), high + np.maximum.reduce(corners)
        size = size + np.abs(corners).max(axis=0)
    return np.stack([low - FAR * size - TINY, high + FAR * size + TINY])


class Middles:
    """x = p x_i, d = q d_i + s x_i summed over both factors (p, q, s), plus a rest: c and r, of x and d."""

    def __init__(self, boxes: tuple[Floats, Floats], off: float) -> None:
        mids = [0.5 * box[::2] + 0.5 * box[1::2] for box in boxes]  # of x, y, d
        rads = [up(np.maximum(box[1::2] - m, m - box[::2])) for box, m in zip(boxes, mids, strict=True)]
        (xa, _, da), (xb, yb, db) = mids
        self.factors = (xb, yb, db), (xa, xa + da, da)
        self.c = np.stack([-xa * xb, -xa * db - yb * da])
        self.size = np.abs(xa * xb) + np.abs(xa * db) + np.abs(yb * da)
        left = rads[0][0] * rads[1][2] + rads[1][1] * rads[0][2]
        left = left + off * np.abs(boxes[0][2:4]).max(axis=0) * np.abs(boxes[1][2:4]).max(axis=0)
        self.r = np.stack([rads[0][0] * rads[1][0], left])

    def rest(self) -> Floats:
        """Ranges of the rest."""
        (cx, cd), (rx, rd) = self.c, up(self.r + 64 * U * (self.size + self.r.sum(axis=0)) + TINY)
        return np.stack([cx - rx, cx + rx, cx + cd - rx - rd, cx + cd + rx + rd, cd - rd, cd + rd])


def linear(a: Form, b: Form, boxes: tuple[Floats, Floats], off: float) -> Form:
    """Forms of the product, linear around the middles of all ranges; products of two radii remain."""
    shape, n, middles = boxes[0].shape[1:], boxes[0][0].size, Middles(boxes, off)
    forms = a.reduced(LIMIT // (2 * n)), b.reduced(LIMIT // (2 * n))
    ids = np.union1d(forms[0].ids, forms[1].ids)
    g = np.zeros((2, ids.size, n))
    c, size, r = middles.c, middles.size, middles.r
    for f, (p, q, s) in zip(forms, middles.factors, strict=True):
        rows, at = f.rows().reshape(2, f.ids.size, n), np.searchsorted(ids, f.ids)
        g[0, at] += p.ravel() * rows[0]
        g[1, at] += q.ravel() * rows[1] + s.ravel() * rows[0]
        c = c + np.stack([p * f.c[0], q * f.c[1] + s * f.c[0]])
        r = r + np.stack([np.abs(p) * f.r[0], np.abs(q) * f.r[1] + np.abs(s) * f.r[0]])
        size = size + (np.abs(p) + np.abs(q) + np.abs(s)) * (np.abs(f.c) + f.radius()).sum(axis=0)
    more = 64 * U * (size + r.sum(axis=0)) + TINY
    return Form(c, up(r + more), g, np.arange(n).reshape(shape), ids)
