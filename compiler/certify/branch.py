# SPDX-License-Identifier: Apache-2.0
"""Bounds over a box, or a piece of one, from one pass of a pair domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Entry, PairDomain
from ..domains.pair_box import Box
from ..domains.pair_crown import PairCrown, Traced
from ..domains.pair_window import Passes
from ..errors import CompileError
from .effort import Ended, never
from .lockstep import Lockstep, walk

Floats = NDArray[np.float64]
Bounds = dict[str, Floats]
Make = Callable[[], PairDomain[Any]]


def ranges(
    both: Lockstep,
    make: Make,
    at: Mapping[int, Entry],
    wanted: set[int],
    over: Callable[[], bool] = never,
) -> dict[int, Box]:
    """Ranges of the steps at these positions; Ended once it is `over`, asked behind every step."""
    domain, found = make(), {}
    for i, state in walk(both, domain, at):
        if over():
            raise Ended
        if i in wanted:
            found[i] = domain.ranges(state)
    return found


def ranges_within(
    both: Lockstep,
    at: Mapping[int, Entry],
    known: Mapping[int, Box],
    passes: Passes,
    over: Callable[[], bool] = never,
    more: Callable[[PairCrown, int, Traced], Box | None] = lambda _domain, _position, _state: None,
) -> dict[int, Box]:
    """Ranges of all steps by crown, met with what is known of some, and with what `more` finds; Ended once it
    is `over`."""
    domain, found = PairCrown(passes=passes), {}

    def held(position: int, state: Traced) -> Traced:
        for box in (known.get(position), more(domain, position, state)):
            state = state if box is None else domain.within(state, box)
        return state

    for i, state in walk(both, domain, at, held):
        if over():
            raise Ended
        found[i] = domain.ranges(state)
    return found


def bounds(
    both: Lockstep,
    make: Make,
    at: Mapping[int, Entry],
    outputs: list[str],
    over: Callable[[], bool] = never,
) -> Bounds:
    """Largest |d| per element of each output, from one pass."""
    return largest(both, ranges(both, make, at, {both.values[name] for name in outputs}, over), outputs)


def largest(both: Lockstep, found: Mapping[int, Box], outputs: list[str]) -> Bounds:
    """Largest |d| per element of each output, from the ranges of its step."""
    result = {}
    for name in outputs:
        box = found[both.values[name]]
        result[name] = np.maximum(box.ud, -box.ld)
        if not np.isfinite(result[name]).all():
            raise CompileError(name, "no finite bound on the difference", "finite weights and a finite box")
    return result
