# SPDX-License-Identifier: Apache-2.0
"""Ranges of weighted sums of output elements: one more affine layer behind both networks.

The symbols of the zonotope are shared by all outputs, so what they have in common cancels; adding up the
bounds of the elements would lose that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Affine, Entry
from ..domains.pair_box import Box
from ..domains.pair_crown import PairCrown, Traced
from ..domains.pair_itself import Linear
from ..domains.pair_window import Passes
from .lockstep import Lockstep, walk

Floats = NDArray[np.float64]


def combined(
    both: Lockstep,
    at: Mapping[int, Entry],
    values: Sequence[str],
    weights: Floats,
    passes: Passes | None = None,
    known: Mapping[int, Box] | None = None,
) -> Box:
    """Ranges of weights @ x, weights @ y and weights @ (y - x), (k,) each; x and y are the elements of
    `values`, one value after the other. weights (k, elements); `known`: ranges of some steps."""
    domain, found = PairCrown(passes=passes), {}
    where = {both.values[name]: name for name in values}

    def held(position: int, state: Traced) -> Traced:
        box = None if known is None else known.get(position)
        return state if box is None else domain.within(state, box)

    for position, state in walk(both, domain, at, held):
        if position in where:
            found[where[position]] = domain.reshape(state, (domain.ranges(state).lx.size,))
    whole = domain.concat([found[name] for name in values], 0)
    column = domain.reshape(whole, (1, domain.ranges(whole).lx.size, 1))
    terms = cast(Affine, Linear(weights[None], np.zeros((1, len(weights)))))
    return domain.ranges(domain.affine(column, terms)).reshape((len(weights),))
