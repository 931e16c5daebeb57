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
from ..domains.pair_product import PairProduct
from .lockstep import Lockstep, walk

Floats = NDArray[np.float64]


class Weighted:
    """What a domain's `affine` reads of an Affine: the same weights on x and on y, no bias."""

    def __init__(self, weights: Floats) -> None:
        self.w = self.v = weights[None]
        self.e = np.zeros_like(self.w)
        self.b = self.c = np.zeros((1, len(weights), 1))
        self.size, self.offset = 2 * np.abs(self.w), self.b
        self.terms = 2 * weights.shape[1] + 2


def combined(both: Lockstep, at: Mapping[int, Entry], values: Sequence[str], weights: Floats) -> Box:
    """Ranges of weights @ x, weights @ y and weights @ (y - x), (k,) each; x and y are the elements of
    `values`, one value after the other. weights (k, elements)."""
    domain, found = PairProduct(), {}
    where = {both.values[name]: name for name in values}
    for position, state in walk(both, domain, at):
        if position in where:
            found[where[position]] = domain.reshape(state, (state.box.lx.size,))
    whole = domain.concat([found[name] for name in values], 0)
    column = domain.reshape(whole, (1, whole.box.lx.size, 1))
    terms = cast(Affine, Weighted(np.asarray(weights, np.float64)))
    return domain.ranges(domain.affine(column, terms)).reshape((len(weights),))
