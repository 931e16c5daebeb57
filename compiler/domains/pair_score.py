# SPDX-License-Identifier: Apache-2.0
"""Choice among sound linear forms of a difference: by a score, so a choice costs precision at worst."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .pair_float import Floats, up
from .pair_forms import Change, Forms
from .pair_vertex import Slopes

OLD = 0.5  # weight of the old symbols: they cancel between neurons, fresh noise does not
BETTER = 1 - 1e-6  # a later candidate wins only by more than this: no choice hangs on the last bit


class Best:
    """Keeps, per element, the slopes with the least score: fresh noise + OLD * what the old symbols carry."""

    def __init__(self, x: Forms, half: Floats) -> None:
        self._flat, self._half = x.reshape((x.cx.size,)), half
        self._carried = x.sizes()[1]
        self._score = np.full(x.shape, np.inf)
        self._parts: list[Floats] = [np.zeros(x.shape)] * 5

    def offer(self, slopes: Slopes, spread: tuple[Floats, Floats]) -> None:
        """`spread` is a proven range of d - P d_in - Q x_in - s * half * ex."""
        m = 0.5 * spread[0] + 0.5 * spread[1]
        e = up(np.maximum(spread[1] - m, m - spread[0]))
        score = e + OLD * np.abs(slopes.s) * self._half
        if slopes.q.any():
            left = np.flatnonzero((score < BETTER * self._score).ravel())  # the others have lost already
            part = self._flat if left.size == score.size else self._flat.gather(left)
            if left.size:
                score.reshape(-1)[left] += OLD * part.width(slopes.p.ravel()[left], slopes.q.ravel()[left])
        else:
            score += OLD * np.abs(slopes.p) * self._carried
        wins = score < BETTER * self._score
        self._score = np.where(wins, score, self._score)
        offered = (slopes.p, slopes.q, slopes.s, m, e)
        self._parts = [np.where(wins, new, old) for new, old in zip(offered, self._parts, strict=True)]

    def change(self, lam: Floats, mid: Floats, apart: NDArray[np.bool_]) -> Change:
        """The change with the slopes that won, beside x' = lam x + mid + half * ex."""
        if not np.isfinite(self._score).all():
            raise OverflowError("no finite bound on a difference")
        p, q, s, m, e = self._parts
        return Change(lam, mid, self._half, p, q, s, m, e, apart)
