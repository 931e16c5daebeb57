# SPDX-License-Identifier: Apache-2.0
"""Bounds over a box, or a piece of one, from one pass of a pair domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Entry, PairDomain
from ..domains.pair_box import Box
from ..errors import CompileError
from .lockstep import Lockstep, walk

Floats = NDArray[np.float64]
Bounds = dict[str, Floats]
Make = Callable[[], PairDomain[Any]]


def ranges(both: Lockstep, make: Make, at: Mapping[int, Entry], wanted: set[int]) -> dict[int, Box]:
    """Ranges of the steps at these positions."""
    domain = make()
    return {i: domain.ranges(state) for i, state in walk(both, domain, at) if i in wanted}


def bounds(both: Lockstep, make: Make, at: Mapping[int, Entry], outputs: list[str]) -> Bounds:
    """Largest |d| per element of each output, from one pass."""
    return largest(both, ranges(both, make, at, {both.values[name] for name in outputs}), outputs)


def largest(both: Lockstep, found: Mapping[int, Box], outputs: list[str]) -> Bounds:
    """Largest |d| per element of each output, from the ranges of its step."""
    result = {}
    for name in outputs:
        box = found[both.values[name]]
        result[name] = np.maximum(box.ud, -box.ld)
        if not np.isfinite(result[name]).all():
            raise CompileError(name, "no finite bound on the difference", "finite weights and a finite box")
    return result
