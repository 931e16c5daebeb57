# SPDX-License-Identifier: Apache-2.0
"""What a search for large differences works on: both networks at many inputs, and ways to move inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Entry
from ..domains.pair_float import above, below
from ..graph import Graph
from .backward import gradients
from .batch import evaluate
from .lockstep import Lockstep

Floats = NDArray[np.float64]


class Search:
    """Differences of both networks on batches of flat inputs."""

    def __init__(
        self,
        whole: Graph,
        both: Lockstep,
        at: Mapping[int, Entry],
        outputs: Mapping[str, str],
        real: Graph,
        weights: Floats | None = None,
    ) -> None:
        """outputs: integer -> float value; `weights` (k, all output elements): combinations of them."""
        self.real, self.whole, self.outputs, self.weights = real, whole, outputs, weights
        self.entries = [(name, at[both.values[name]]) for name in both.inputs]
        self.step = np.concatenate(
            [np.full(entry.units.channel.size, float(entry.units.scale)) for _, entry in self.entries]
        )
        self.low, self.high = self._inside()
        self.grid = np.concatenate([np.full(e.units.channel.size, e.grid) for _, e in self.entries])

    def _inside(self) -> tuple[Floats, Floats]:
        """The floats inside the box: its ends may be rationals between floats."""
        lower = [v for _, entry in self.entries for v in entry.lower]
        upper = [v for _, entry in self.entries for v in entry.upper]
        low = np.array([above(v) for v in lower])
        return low, np.maximum(np.array([below(v) for v in upper]), low)

    def split(self, flat: Floats) -> dict[str, Floats]:
        """Flat inputs (N, all elements) as one array per network input."""
        out, start = {}, 0
        for name, entry in self.entries:
            shape = entry.units.channel.shape
            size = entry.units.channel.size
            out[name] = flat[:, start : start + size].reshape(len(flat), *shape)
            start += size
        return out

    def quantise(self, x: Mapping[str, Floats]) -> dict[str, NDArray[np.int64]]:
        """In float64: near a rounding border the search may be wrong, the report is not."""
        out = {}
        for name, entry in self.entries:
            q = np.rint(x[name] / float(entry.units.scale)) + entry.units.zero
            out[name] = np.clip(q, entry.lo, entry.hi).astype(np.int64)
        return out

    def gaps(self, flat: Floats) -> Floats:
        """|difference| (N, all output elements), or of the combinations."""
        return np.abs(self.differences(flat))

    def differences(self, flat: Floats) -> Floats:
        """integer - float (N, all output elements), or of the combinations."""
        reals, wholes = self.values(flat)
        return wholes - reals if self.weights is None else (wholes - reals) @ self.weights.T

    def values(self, flat: Floats) -> tuple[Floats, Floats]:
        """Outputs of the float and of the integer network, real units, (N, all output elements) each."""
        x = self.split(flat)
        reals = evaluate(self.real, x, sorted(set(self.outputs.values())))
        wholes = evaluate(self.whole, self.quantise(x), list(self.outputs))
        sides: tuple[list[Floats], list[Floats]] = [], []
        for name, twin in self.outputs.items():
            quant = self.whole.values[name].quant
            assert quant is not None
            y = float(quant.scale[0]) * (wholes[name] - quant.zero)
            sides[0].append(reals[twin].reshape(len(flat), -1))
            sides[1].append(y.reshape(len(flat), -1))
        return np.concatenate(sides[0], axis=1), np.concatenate(sides[1], axis=1)

    def borders(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Each coordinate on a border of its rounding cell, or one float beside it."""
        border = (np.floor(x / self.step) + 0.5 + rng.integers(-1, 1, x.shape)) * self.step
        return np.asarray(np.nextafter(border, border + rng.integers(-1, 2, x.shape)))

    def clip(self, x: Floats) -> Floats:
        return np.clip(np.where(self.grid, np.rint(x / self.step) * self.step, x), self.low, self.high)

    def flat(self, parts: Mapping[str, Floats]) -> Floats:
        """One array per network input as flat inputs."""
        return np.concatenate([parts[name].reshape(len(parts[name]), -1) for name, _ in self.entries], axis=1)

    def seeds(self, count: int, k: int) -> dict[str, Floats]:
        """What makes output element (or combination) k of the float side, `count` times, for `gradients`."""
        sizes = [self.whole.values[name].size for name in self.outputs]
        row = np.eye(sum(sizes))[k] if self.weights is None else self.weights[k]
        seeds: dict[str, Floats] = {}
        for part, twin in zip(np.split(row, np.cumsum(sizes)[:-1]), self.outputs.values(), strict=True):
            shape = self.real.values[twin].shape
            seeds[twin] = seeds.get(twin, 0.0) + np.broadcast_to(part.reshape(shape), (count, *shape))
        return seeds

    def slopes(self, flat: Floats, k: int) -> Floats:
        """Gradient of the float side's output element (or combination) k, (N, all input elements)."""
        inputs = self.split(flat)
        return self.flat(gradients(self.real, inputs, self.seeds(len(flat), k), list(inputs)))

    def within(self, flat: Floats, k: int) -> Floats:
        """Each input at the end of its rounding cell where the difference k grows: the integer side stays,
        the float side goes down its gradient if it is the smaller one, and up if it is the larger."""
        sign = np.sign(self.differences(flat)[:, k : k + 1])
        towards = -np.where(sign == 0, 1.0, sign) * np.sign(self.slopes(flat, k))
        centre = np.rint(flat / self.step) * self.step
        border = centre + towards * self.step * (0.5 - 2.0**-40)
        return self.clip(np.where(towards == 0, flat, border))

    def corners(self, flat: Floats, k: int) -> Floats:
        """The corners of the box to which the gradient points, up and down: far out, outputs saturate."""
        up = np.sign(self.slopes(flat, k))
        return np.concatenate(
            [np.where(way > 0, self.high, np.where(way < 0, self.low, flat)) for way in (up, -up)]
        )
