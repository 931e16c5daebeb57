# SPDX-License-Identifier: Apache-2.0
"""Ends of a few sums behind sums over maxima, by corners.

A row of theirs, carried back through what bends between, is a row of the maxima: a sum over these like any
other, with the slopes of the lines in its weights. So the maxima need no lines of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..domains.pair import Entry
from ..domains.pair_box import Box
from ..domains.pair_crown import PairCrown, Traced
from ..domains.pair_forms import unknown
from .corners import WORK, Corners, Ends
from .lockstep import Lockstep
from .peaks import Sums, sums_over_maxima

ROWS = 16  # elements of a tensor, at most: outputs, above all


class Behind:
    """While crown goes through the network: what is found of each such tensor on the way, until it is `over`,
    or a checker would look at too much. `known`: ends of the sums over maxima themselves."""

    def __init__(
        self, both: Lockstep, at: Mapping[int, Entry], known: Ends, over: Callable[[], bool]
    ) -> None:
        self.sides, self._both, self._over = Ends(), both, over
        self._room = WORK - sum(side.work for each in known.values() for side in each)
        sums = dict(sums_over_maxima(both))
        self._sources = {each.source: each for each in sums.values()}
        self._names = {at: name for name, at in both.values.items() if name not in sums}
        self._box = at[both.values[both.inputs[0]]].box() if sums else None
        self._last: tuple[Sums, int] | None = None  # maxima, and where they are on the tape

    def narrowed(self, domain: PairCrown, position: int, state: Traced) -> Box | None:
        """Ranges of a step, where there are such ends."""
        if position in self._sources:
            self._last = self._sources[position], state.place
        size = state.forms.box.lx.size
        if self._last is None or self._box is None or size > ROWS or not self._summed(position):
            return None
        box, (sums, place) = state.forms.box, self._last
        corners, new = Corners(sums, self._box), unknown(box.lx.shape)
        ends = {True: box.ux.flatten(), False: -box.lx.flatten()}
        for upper, high in ends.items():
            found = domain.on(state.place, place, np.eye(size) if upper else -np.eye(size))
            if found is None:
                return None
            for element, (row, b) in enumerate(zip(found[0].T, found[1].tolist(), strict=True)):
                if self._over():
                    break
                used = np.flatnonzero((sums.held >= 0) & (row != 0))
                side = corners.end(element, sums.held[used], row[used], b, upper=upper)
                end = np.inf if side is None else side.end if upper else -side.end
                if side is None or end >= high[element] or side.work > self._room:
                    continue
                self._room -= side.work
                high[element] = end
                self.sides.setdefault(self._names[position], []).append(side)
        shape = box.lx.shape
        return replace(new, lx=-ends[False].reshape(shape), ux=ends[True].reshape(shape))

    def _summed(self, position: int) -> bool:
        """Whether a value is what a layer adds up."""
        if position not in self._names:
            return False
        steps = self._both.steps
        while steps[position].word == "reshape":
            position = steps[position].inputs[0]
        return steps[position].word == "affine"
