# SPDX-License-Identifier: Apache-2.0
"""Layers whose inputs or outputs have 16 bits: plain C, made for the types of each (firmware/tb_int16.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed, is_depthwise

INT32 = (1 << 31) - 1


@dataclass(frozen=True)
class Function:
    """A C function that a macro of tb_int16.h makes, from what comes behind the name."""

    macro: str
    parameters: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name, which says what it was made of."""
        return "_".join(
            (self.macro.lower().removesuffix("_16"), *(p.removesuffix("_t") for p in self.parameters))
        )


def types(step: Step) -> tuple[str, ...]:
    """C types of what a step reads, then of what it writes."""
    return tuple(f"int{8 * width}_t" for width in step.view["words"])


def largest(step: Step) -> NDArray[np.int64]:
    """What no partial sum of an output exceeds, up or down (C,); or of a sum without weights, (1,)."""
    op: Any = step.node.op
    top = 1 << (8 * step.view["words"][0] - 1)
    if step.kind == "mat_mul":  # with a zero point that comes off in the end
        first, second = (1 << 8 * width for width in step.view["words"][:2])
        return np.array([first * second * op.extents[-1]], dtype=np.int64)
    if "rows" not in step.view:
        return np.array([prod(op.kernel) * (top + abs(op.zero))], dtype=np.int64)
    most: NDArray[np.int64] = np.abs(step.view["bias"]) + top * np.abs(step.view["rows"]).sum(axis=1)
    return most


class Int16(Kernel):
    """An op without weights."""

    headers: tuple[str, ...] = ("tb_int16.h",)
    template = "_int16.c.j2"
    words = 2

    def __init__(self, kind: str) -> None:
        self.kind, self.name = kind, f"{kind}_16"

    def takes(self, step: Step) -> bool:
        return step.kind == self.kind

    def features(self, step: Step) -> Mapping[str, int]:
        if self.kind in ("average_pool", "max_pool"):
            return features.pool_inside(step)
        if self.kind == "mat_mul":
            return features.products(step)
        return features.moves(step) if self.kind in ("concat", "reorder") else features.elements(step)

    def functions(self, step: Step) -> tuple[Function, ...]:
        """What it calls: of a concatenation for each input."""
        macro, every = f"TB_{self.kind.upper()}_16", types(step)
        if self.kind == "concat":
            return tuple(Function(macro, (source, every[-1])) for source in every[:-1])
        if self.kind in ("average_pool", "mat_mul"):
            return (Function(macro, (*every, self.sum_type(step))),)
        if self.kind == "reorder":
            bits = "16" if int(step.view["movement"].max()) < (1 << 16) - 1 else "32"  # the largest: padding
            taken = step.view["axes"] is not None
            return (Function("TB_TAKE_16", every) if taken else Function(macro, (bits, *every)),)
        return (Function(macro, every),)

    def sum_type(self, step: Step) -> str:
        """int32_t where that holds every partial sum."""
        return "int32_t" if largest(step).max() <= INT32 else "int64_t"


class Int16Affine(Int16):
    """Weight by weight, as the encoding stores them. Of 16-bit weights, between values of 8 bits too."""

    def __init__(self, code: str, words: int = 2) -> None:
        super().__init__("affine")
        self.code, self.words, self.name = code, words, f"{code}_{8 * words}"

    def takes(self, step: Step) -> bool:
        return step.view.get("code") == self.code

    def pack(self, step: Step) -> Packed:
        view = step.view
        return Packed(view["stored"], view["bias"], view["stored"].shape[1])

    def features(self, step: Step) -> Mapping[str, int]:
        """Of a depthwise layer, whose loops are others, by other names; long: products in sums of 64 bits."""
        kind = "depthwise_" if is_depthwise(step.node.op) else ""
        found = features.plain(step)
        found["long"] = found["mac"] * (self.sum_type(step) == "int64_t")
        return {f"{kind}{name}": count for name, count in found.items()}

    def functions(self, step: Step) -> tuple[Function, ...]:
        macro = "TB_DEPTHWISE_16" if is_depthwise(step.node.op) else "TB_AFFINE_16"
        return (Function(macro, (self.code, *types(step), self.sum_type(step))),)
