# SPDX-License-Identifier: Apache-2.0
"""Bounds that are no certificate of a build: of a combination of outputs, and the largest box for a bound."""

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
from .attack import COMBINED, attack, contradicted
from .best_first import search
from .branch import Bounds, bounds
from .certificate import bounded, claim, twin_of
from .combine import combined
from .effort import CELLS, PIECES, Effort
from .lockstep import entries, lockstep

Floats = NDArray[np.float64]
Ends = tuple[Mapping[str, Any], Mapping[str, Any]]  # lower and upper of a box
HALVINGS = 16


def _largest(bound: Bounds) -> float:
    return max(float(claim(each).max()) for each in bound.values())


def bound_objective(
    real: Graph, whole: Graph, ends: Ends, weights: Floats, seed: int, *, single: bool = False
) -> dict[str, Any]:
    """|weights . (integer - float)| over a box, at most and at least; a weight per bounded element."""
    start, both = time.perf_counter(), lockstep(real, whole, single=single)
    at, names = entries(both, whole, *ends), list(bounded(whole)[0].values())
    box = combined(both, at, names, weights[None])
    top = claim(np.maximum(box.ud, -box.ld))
    twins = {name: twin_of(real, whole, name) for name in names}
    found = attack(real, whole, both, at, twins, seed=seed, weights=weights[None])
    contradicted({COMBINED: top}, found)
    return {
        "bound": float(top[0]),
        "attack": float(found.found[COMBINED][0]),
        "lower": -float(claim(-box.ld)[0]),
        "upper": float(claim(box.ud)[0]),
        "witness": {name: x.ravel().tolist() for name, x in found.witness[COMBINED][0].items()},
        "seconds": round(time.perf_counter() - start, 3),
    }


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
    names = sorted(set(bounded(whole)[0].values()))

    def top(size: float) -> float:
        at = entries(both, whole, *box_of(size))
        crown = bounds(both, PairCrown, at, names)
        best = _largest(crown)
        until = min(end, time.perf_counter() + seconds / HALVINGS)
        if best <= limit or time.perf_counter() >= until:
            return best
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
