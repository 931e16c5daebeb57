# SPDX-License-Identifier: Apache-2.0
"""Inputs at which the roundings of the integer network add up in one output instead of cancelling.

Each Requantise rounds its t to q; what q - t does to an output is the float network's gradient there times
the step. Which way it should fall is the gradient's sign, and it falls furthest just beyond a tie. So every t
is drawn to the nearest such place, all at once: by the gradient of the sum of their squared distances,
weighted by what they matter. With many inputs there are more ways to move than roundings that matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ops import Requantise
from .backward import gradients
from .batch import evaluate
from .search import Search

Floats = NDArray[np.float64]
BEYOND = 0.1  # steps beyond the tie: inputs are whole cells, so that no t can be where it is drawn to
FIRST, LESS = 0.3, 0.97  # cells that an input moves in the first round; times that in each further one
LATER = (
    0.3  # what a place counts for, times that of the one before: t of later ones moves by whole steps only
)
LOOK = 5  # rounds between evaluations


@dataclass(frozen=True)
class _Place:
    """A Requantise: the integer value it reads and the float value beside it, factors to steps, the step."""

    read: str
    twin: str
    zero: int
    factor: Floats
    step: float


class Steering:
    """Draws batches of inputs to where output element k differs most."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.places = list[_Place]()
        for node in search.whole.nodes:
            op, quant = node.op, search.whole.values[node.output].quant
            if isinstance(op, Requantise) and node.output not in search.outputs and quant is not None:
                (twin,) = search.real.node(node.origin).inputs
                rank = len(search.whole.values[node.output].shape)
                factor = (op.multiplier / 2.0**op.shift).reshape(-1, *(1,) * (rank - 1))
                self.places.append(
                    _Place(node.inputs[0], twin, op.zero_in, np.asarray(factor), float(quant.scale[0]))
                )

    def drawn(self, x: Floats, k: int, rounds: int) -> tuple[Floats, Floats]:
        """Inputs (N, n) and their |difference|, the best on the way of each of the N that start at x. Every
        other one is drawn to where the integer network's output is the larger one."""
        search, way = self.search, np.resize([1.0, -1.0], len(x))
        best, score = x.copy(), search.gaps(x)[:, k]
        speed, size, each = np.zeros_like(x), np.zeros_like(x), np.arange(len(x))
        for r in range(rounds):
            here = search.clip(np.rint(x / search.step) * search.step)
            slope = self._slope(here, k, way)
            speed, size = 0.8 * speed + 0.2 * slope, 0.9 * size + 0.1 * slope**2
            far = FIRST * LESS**r * search.step
            x = np.clip(x + far * speed / (np.sqrt(size) + 1e-12), search.low, search.high)
            if r % LOOK == LOOK - 1:
                tried = search.within(here, k)
                gaps = search.gaps(tried)[each, k]
                better = gaps > score
                best[better], score[better] = tried[better], gaps[better]
        return best, score

    def _slope(self, x: Floats, k: int, way: Floats) -> Floats:
        """Which way inputs draw the roundings to where they add up, (N, n)."""
        search, inputs = self.search, self.search.split(x)
        twins = [place.twin for place in self.places]
        matters = gradients(search.real, inputs, search.seeds(len(x), k), twins)
        found = evaluate(search.whole, search.quantise(inputs), [place.read for place in self.places])
        seeds: dict[str, Floats] = {}
        for depth, place in enumerate(self.places):
            t = (found[place.read] - place.zero) * place.factor
            slope = matters[place.twin]
            tie = np.sign(slope) * way.reshape(-1, *(1,) * (t.ndim - 1)) * (0.5 + BEYOND)
            pull = np.abs(slope) * (np.rint(t - tie) + tie - t) * place.step * LATER**depth
            seeds[place.twin] = seeds.get(place.twin, 0.0) + pull
        return search.flat(gradients(search.real, inputs, seeds, list(inputs)))
