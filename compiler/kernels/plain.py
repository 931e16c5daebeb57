# SPDX-License-Identifier: Apache-2.0
"""Kernels in plain C: one per weight code, which takes any layer of it, and one per op without weights."""

from __future__ import annotations

from collections.abc import Mapping

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed


class Plain(Kernel):
    """Weight by weight, as the encoding stores them (firmware/tb_kernels.h)."""

    def __init__(self, code: str) -> None:
        self.name = code

    def takes(self, step: Step) -> bool:
        return step.view.get("code") == self.name

    def pack(self, step: Step) -> Packed:
        view = step.view
        return Packed(view["stored"], view["bias"], view["stored"].shape[1])

    def features(self, step: Step) -> Mapping[str, int]:
        return features.plain(step)


class PlainPool(Plain):
    """Bit planes of each window, then a look-up per plane and index."""

    template = "_pool64.c.j2"

    def scratch(self, step: Step) -> int:
        return int(step.view["rows"].shape[1])  # the planes of one window

    def features(self, step: Step) -> Mapping[str, int]:
        return features.pooled(step)


class Unweighted(Kernel):
    """The only kernel of an op without weights."""

    def __init__(self, kind: str) -> None:
        self.name = kind
        self.template = f"{kind}.c.j2"
        self.apart = kind in ("average_pool", "max_pool", "reorder")

    def takes(self, step: Step) -> bool:
        return step.kind == self.name

    def features(self, step: Step) -> Mapping[str, int]:
        if self.name == "average_pool":
            return features.averages(step)
        if self.name == "max_pool":
            return features.pool(step)
        if self.name == "mat_mul":
            return features.products(step)
        return features.moves(step) if self.name in ("concat", "reorder") else features.elements(step)
