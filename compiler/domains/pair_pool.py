# SPDX-License-Identifier: Apache-2.0
"""Maximum over an axis for the differential zonotope.

One tap * per window stands for it: x = x* + [0, mx] with mx >= max_j (x_j - x*), y likewise. Difference:
d <= d_j where j is the largest y, d >= d_i where i is the largest x (max is monotone and shift-covariant).
"""

from __future__ import annotations

import numpy as np

from .pair_box import Box
from .pair_float import Floats, Ints, down, total, up
from .pair_forms import Change, Forms
from .pair_score import Best
from .pair_vertex import Slopes

Line = tuple[Floats, Floats]


def maximum(x: Forms, axis: int, box: Box) -> tuple[Forms, Change]:
    """The forms of the taps *, and the change that makes them the maximum; `box` by the interval rule."""
    place = np.moveaxis(np.arange(x.cx.size).reshape(x.shape), axis, 0)
    low_x, high_x, low_y, high_y = (
        np.moveaxis(end, axis, 0) for end in (x.box.lx, x.box.ux, x.box.ly, x.box.uy)
    )
    star = np.take_along_axis(place, (low_x + high_x).argmax(axis=0)[None], axis=0)[0]
    chosen = x.gather(star)
    zero = np.zeros(star.shape)
    over_x, over_y, high, low = zero, zero, zero - np.inf, zero + np.inf
    for j, tap in enumerate(place):
        may_x, may_y = high_x[j] >= low_x.max(axis=0), high_y[j] >= low_y.max(axis=0)
        dx, dy, dd = _differences(x.gather(tap), chosen, tap == star)
        over_x = np.where(may_x, np.maximum(over_x, dx[1]), over_x)
        over_y = np.where(may_y, np.maximum(over_y, dy[1]), over_y)
        high = np.where(may_y, np.maximum(high, dd[1]), high)
        low = np.where(may_x, np.minimum(low, dd[0]), low)
    half = 0.5 * over_x
    best = Best(chosen, half)
    best.offer(Slopes(zero + 1, zero, zero), (low, high))
    best.offer(Slopes(zero + 1, zero, zero - 1), (-half, up(over_y - half)))
    best.offer(Slopes(zero, zero, zero), (box.ld, box.ud))
    return chosen, best.change(zero + 1, half, half > 0)


def _differences(
    a: Forms, b: Forms, same: Ints | np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> tuple[Line, Line, Line]:
    """Ranges of x_a - x_b, y_a - y_b and d_a - d_b; exactly 0 where both are the same element."""
    (ax, ad), (bx, bd) = a.rows(), b.rows()
    gx, gd = ax - bx, ad - bd
    rx, rd = up(a.rx + b.rx), up(a.rd + b.rd)
    lines = []
    for c, g, r, ends in (
        (a.cx - b.cx, gx, rx, (a.box.lx, a.box.ux, b.box.lx, b.box.ux)),
        ((a.cx - b.cx) + (a.cd - b.cd), gx + gd, rx + rd, (a.box.ly, a.box.uy, b.box.ly, b.box.uy)),
        (a.cd - b.cd, gd, rd, (a.box.ld, a.box.ud, b.box.ld, b.box.ud)),
    ):
        size = sum(np.abs(end) for end in ends) + np.abs(a.cx) + np.abs(b.cx) + np.abs(a.cd) + np.abs(b.cd)
        wide = up(total(g) + r) + 2.0**-49 * (size + total(ax) + total(bx) + total(ad) + total(bd))
        lo, hi = (
            np.maximum(down(c - wide), down(ends[0] - ends[3])),
            np.minimum(up(c + wide), up(ends[1] - ends[2])),
        )
        lines.append((np.where(same, 0.0, lo), np.where(same, 0.0, hi)))
    return lines[0], lines[1], lines[2]
