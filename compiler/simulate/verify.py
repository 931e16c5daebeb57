# SPDX-License-Identifier: Apache-2.0
"""What `verify` found: mismatches per executor, and the bound beside the differences that were seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import Box
from ..domains.exact import run
from ..graph import Graph
from ..ops import ArgMax
from ..ops.final import final
from .compare import Comparison
from .golden import Ints, dequantise, golden


@dataclass(frozen=True)
class BoundSeen:
    """Real inputs inside the domain against the bound; how many were outside."""

    bound: float | None
    max_seen: float
    inside: int
    outside: int
    violations: int


@dataclass(frozen=True)
class Verdict:
    """`ok` when every executor agreed everywhere and no difference exceeded the bound."""

    vectors: int
    stages: dict[str, Comparison]
    bound: BoundSeen

    @property
    def ok(self) -> bool:
        """Both promises hold on these vectors."""
        return self.bound.violations == 0 and all(stage.mismatches == 0 for stage in self.stages.values())

    def to_json(self) -> dict[str, Any]:
        """The JSON of `verify --json`."""
        seen = self.bound
        return {
            "ok": self.ok,
            "vectors": self.vectors,
            "stages": {name: stage.to_json() for name, stage in self.stages.items()},
            "bound": {
                "violations": seen.violations,
                "max_seen": seen.max_seen,
                "bound": seen.bound,
                "inside": seen.inside,
                "outside": seen.outside,
            },
        }


def bound_seen(
    float_graph: Graph,
    graph: Graph,
    domain: Box,
    certificate: Mapping[str, Any] | None,
    vectors: dict[str, Ints],
    real: Mapping[str, NDArray[np.float64]] | None,
) -> BoundSeen:
    """Differences between the networks. Without real inputs, and where the certificate is of the grid, the
    integers stand for their real values."""
    if certificate is not None and certificate["mode"] == "grid":
        real = None
    reals = {
        name: real[name] if real and name in real else dequantise(graph.values[name], vectors[name])
        for name in graph.inputs
    }
    held = np.logical_and.reduce([domain.holds(name, reals[name]) for name in graph.inputs])
    shown = golden(graph, vectors)
    pairs = [
        pair
        for pair in zip(graph.outputs, float_graph.outputs, strict=True)
        if not ((node := final(graph, pair[0])) and isinstance(node.op, ArgMax))  # an index has no bound
    ]
    limits = {} if certificate is None else {w: _limits(certificate, w, shown[w].shape[1:]) for w, _ in pairs}
    largest, violations = 0.0, 0
    for i in np.flatnonzero(held):
        x = run(float_graph, {name: reals[name][i] for name in graph.inputs})
        gaps = {w: np.abs(x[f] - dequantise(graph.values[w], shown[w][i])) for w, f in pairs}
        largest = max([largest, *(float(gap.max()) for gap in gaps.values())])
        violations += int(any((gaps[w] > limit).any() for w, limit in limits.items()))
    worst = max((float(limit.max()) for limit in limits.values()), default=None)
    return BoundSeen(worst, largest, int(held.sum()), int((~held).sum()), violations)


def _limits(certificate: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The bound of every element of an output; of a Softmax that of its probabilities."""
    entry = certificate["outputs"][name]
    if "probability_bound" in entry:
        return np.full(shape, entry["probability_bound"])
    return np.asarray(entry["bound"], np.float64).reshape(shape)
