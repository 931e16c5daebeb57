# SPDX-License-Identifier: Apache-2.0
"""Weight pools by a ring of products, with the indices in straight-line code: a load and an addition each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..targets.plan import Step
from .ring import Ring, geometry

FILTERS = 8  # sums at a time in registers
MOST = 16_384  # indices of a layer: each takes 6 bytes of code


class Baked(Ring):
    """The ring, and code of the layer's own for bits whose products fit 16 bits (firmware/tb_pool.h)."""

    name = "baked"
    template = "_baked.c.j2"
    slow_on = ("cortex-m0plus",)  # at 4 bits up to 1.14 of the ring's instructions, and more code

    def takes(self, step: Step) -> bool:
        return super().takes(step) and step.view["stored"].size <= MOST

    def sums(self, step: Step) -> int:
        return max(super().sums(step), len(step.view["stored"]))

    def code_features(self, step: Step) -> Mapping[str, int]:
        return {"layer": 1, "filter": len(step.view["rows"]), "index": step.view["stored"].size}

    def blocks(self, step: Step) -> Iterator[tuple[int, list[tuple[int, list[list[int]]]]]]:
        """(first filter, pieces as (number, offsets)): offsets[v][f] of a piece's vector v for filter f."""
        stored, length = step.view["stored"], geometry(step)["length"]
        for first in range(0, len(stored), FILTERS):
            rows = stored[first : first + FILTERS]
            pieces = []
            for k in range(0, stored.shape[1], length):
                part = rows[:, k : k + length].T
                pieces.append((k // length, [[64 * v + int(i) for i in row] for v, row in enumerate(part)]))
            yield first, pieces
