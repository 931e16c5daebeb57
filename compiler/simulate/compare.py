# SPDX-License-Identifier: Apache-2.0
"""An executor against the golden model: every element of every layer, with the first difference named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..passes.layout import Order


@dataclass(frozen=True)
class Difference:
    """The first element that differs: layer (graph value), vector, index in ONNX order, both integers."""

    layer: str
    vector: int
    index: tuple[int, ...]
    expected: int
    found: int


@dataclass(frozen=True)
class LayerResult:
    """Mismatches among the `elements` of one layer over all vectors."""

    layer: str
    mismatches: int
    elements: int


@dataclass(frozen=True)
class Comparison:
    """What one executor showed; layers in execution order, the outputs last."""

    layers: tuple[LayerResult, ...]
    first: Difference | None

    @property
    def mismatches(self) -> int:
        """Over all layers."""
        return sum(layer.mismatches for layer in self.layers)

    @property
    def elements(self) -> int:
        """Compared in all."""
        return sum(layer.elements for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """For verify --json."""
        return {
            "mismatches": self.mismatches,
            "elements": self.elements,
            "first": None if self.first is None else asdict(self.first),
            "layers": [asdict(layer) for layer in self.layers],
        }


def compare(
    shown: Sequence[tuple[str, Order, NDArray[np.int64]]], expected: Mapping[str, NDArray[np.int64]]
) -> Comparison:
    """`shown`: (graph value, physical order, N x elements as found); `expected`: N x shape by value."""
    layers, first = [], None
    for name, order, found in shown:
        wanted = expected[name].reshape(len(expected[name]), -1)
        if found.shape != wanted.shape:
            layers.append(LayerResult(name, wanted.size, wanted.size))
            first = first or Difference(name, 0, (), wanted.shape[1], found.shape[1] if found.ndim > 1 else 0)
            continue
        logical = np.empty_like(wanted)
        logical[:, order] = found
        wrong = logical != wanted
        layers.append(LayerResult(name, int(wrong.sum()), int(wanted.size)))
        if first is None and wrong.any():
            vector, flat = (int(i) for i in np.argwhere(wrong)[0])
            index = tuple(int(i) for i in np.unravel_index(flat, expected[name].shape[1:]))
            first = Difference(name, vector, index, int(wanted[vector, flat]), int(logical[vector, flat]))
    return Comparison(tuple(layers), first)
