# SPDX-License-Identifier: Apache-2.0
"""The largest box for a bound: no certificate of a build."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair_crown import PairCrown
from ..domains.pair_product import PairProduct
from ..errors import CompileError
from ..graph import Graph
from .attack import attack
from .best_first import search
from .branch import Bounds, bounds
from .certificate import bounded, claim, twin_of
from .effort import CELLS, PIECES, Effort
from .lockstep import entries, lockstep

Floats = NDArray[np.float64]
Ends = tuple[Mapping[str, Any], Mapping[str, Any]]  # lower and upper of a box
HALVINGS = 16


def _largest(bound: Bounds) -> float:
    return max(float(claim(each).max()) for each in bound.values())


@dataclass(frozen=True)
class LargestBox:
    """The largest box of a family that the bound admits, and the next one tried, which it does not."""

    size: float
    bound: float
    next_size: float | None  # None: the largest one allowed was admitted
    next_attack: float | None


def largest_box(
    real: Graph,
    whole: Graph,
    box_of: Callable[[float], Ends],
    most: float,
    limit: float,
    seed: int,
    seconds: float = 0.0,
    *,
    single: bool = False,
) -> LargestBox:
    """Bisection over the size, 0 to `most`, of box_of(size): the largest with a certified error <= limit.

    `seconds`: for cutting boxes into pieces, in all (then the result depends on the machine).
    """
    both, end = lockstep(real, whole, single=single), time.perf_counter() + seconds
    names, left = sorted(set(bounded(whole)[0].values())), HALVINGS + 2

    def top(size: float) -> float:
        nonlocal left
        left -= 1
        at = entries(both, whole, *box_of(size))
        crown = bounds(both, PairCrown, at, names)
        best, now = _largest(crown), time.perf_counter()
        if best <= limit or now >= end:
            return best
        until = now + (end - now) / (left + 1)  # what earlier sizes did not need is for later ones
        root = {"product": bounds(both, PairProduct, at, names), "crown": crown}
        split = search(both, at, root, limit, Effort(PIECES, until, 1.0, CELLS))
        return min(best, _largest(split.bound))

    best, over = (most, None) if (bound := top(most)) <= limit else (0.0, most)
    if over is None:
        return LargestBox(most, bound, None, None)
    if (bound := top(0.0)) > limit:
        raise CompileError(
            "--find-max-box", f"an error of {bound:.6g} at the point itself", f"{limit:.6g} or less"
        )
    for _ in range(HALVINGS):
        middle = 0.5 * (best + over)
        if (here := top(middle)) <= limit:
            best, bound = middle, here
        else:
            over = middle
    at = entries(both, whole, *box_of(over))
    twins = {name: twin_of(real, whole, name) for name in names}
    found = attack(real, whole, both, at, twins, seed=seed)
    return LargestBox(best, bound, over, max(float(each.max()) for each in found.found.values()))
