# SPDX-License-Identifier: Apache-2.0
"""Maximum over axis 1 (the taps of a window).

One tap * stands for the window: x = x* + [0, ox], y = y* + [0, oy]. The difference is at most d_j where j has
the largest y, and at least d_i where i has the largest x.
"""

from __future__ import annotations

import numpy as np

from .forms import Change, Form, Pad, tighten
from .relax import Choice
from .rounding import Floats, down, total, up


class Maximum:
    """Ranges of the maximum of x (C, taps, P), and the forms when they are asked for."""

    def __init__(self, box: Floats) -> None:
        self.all = box
        lx, ux, ly, uy, ld, ud = box
        self.can_x, self.can_y = ux >= lx.max(axis=1, keepdims=True), uy >= ly.max(axis=1, keepdims=True)
        high = np.where(self.can_y, ud, -np.inf).max(axis=1)
        low = np.where(self.can_x, ld, np.inf).min(axis=1)
        ends = [end.max(axis=1) for end in (lx, ux, ly, uy)]
        self.box = tighten(np.stack([*ends, low, high]))
        self.tap = (lx + ux).argmax(axis=1)
        places = np.arange(lx.size).reshape(lx.shape)
        self.star = np.take_along_axis(places, self.tap[:, None], axis=1)[:, 0]

    def choose(self, x: Form | None, star: Form) -> Change:
        """The change that makes the forms of the taps * the maximum."""
        assert x is not None
        zero = np.zeros(self.star.shape)
        places = np.arange(self.all[0].size).reshape(self.all[0].shape)
        over_x, over_y, high, low = zero, zero, zero - np.inf, zero + np.inf
        own = self.all.reshape(6, -1)[:, self.star]
        rows = star.rows()
        spent = [total(rows[0]), total(rows[1])]
        for j in range(self.all.shape[2]):
            form, ends = x.gather(places[:, j], Pad()), self.all[:, :, j]
            (_, dx), (_, dy), (dl, dh) = self._gaps(form, star, ends, own, rows, spent, self.tap == j)
            over_x = np.where(self.can_x[:, j], np.maximum(over_x, dx), over_x)
            over_y = np.where(self.can_y[:, j], np.maximum(over_y, dy), over_y)
            high = np.where(self.can_y[:, j], np.maximum(high, dh), high)
            low = np.where(self.can_x[:, j], np.minimum(low, dl), low)
        half = 0.5 * over_x
        choice = Choice(star, half)
        choice.offer(zero + 1, zero, zero, (low, high))
        choice.offer(zero + 1, zero, zero - 1, (-half, up(over_y - half)))
        choice.offer(zero, zero, zero, (self.box[4], self.box[5]))
        return choice.change(zero + 1, half, half > 0)

    def _gaps(
        self, a: Form, b: Form, ends: Floats, own: Floats, star: Floats, spent: list[Floats], same: Floats
    ) -> list[tuple[Floats, Floats]]:
        """Ranges of x_a - x_b, y_a - y_b, d_a - d_b; 0 where both are one element."""
        rows = a.rows()
        g, c, r = rows - star, a.c - b.c, up(a.r + b.r)
        old = total(rows[0]) + total(rows[1]) + spent[0] + spent[1]
        size = np.abs(a.c).sum(axis=0) + np.abs(b.c).sum(axis=0)
        found = []
        for i, (mid, noise, rest) in enumerate((
            (c[0], g[0], r[0]), (c[0] + c[1], g[0] + g[1], r[0] + r[1]), (c[1], g[1], r[1]),
        )):  # fmt: skip
            low, high = ends[2 * i : 2 * i + 2]
            low_b, high_b = own[2 * i : 2 * i + 2]
            reach = np.abs(low) + np.abs(high) + np.abs(low_b) + np.abs(high_b)
            wide = up(total(noise) + rest) + 2.0**-49 * (reach + size + old)
            lo = np.maximum(down(mid - wide), down(low - high_b))
            hi = np.minimum(up(mid + wide), up(high - low_b))
            found.append((np.where(same, 0.0, lo), np.where(same, 0.0, hi)))
        return found
