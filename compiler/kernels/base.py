# SPDX-License-Identifier: Apache-2.0
"""What a C kernel is: which steps it takes, how it wants their weights, what it needs and what it costs."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ops import Conv
from ..targets.plan import Step
from . import features

# Cores of the same instructions.
ALIKE = {"cortex-m7": "cortex-m4", "cortex-m33": "cortex-m4"}


@dataclass(frozen=True)
class Packed:
    """Weights and bias as the C holds them; nothing for a kernel without weights.

    weights    of the integer type that the C declares
    row_bytes  from one output's weights to the next, or from one group of outputs to the next
    room       what the kernel needs on the stack: NAME -> count; TB_NAME is the largest of any layer
    """

    weights: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.uint8))
    bias: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    row_bytes: int = 0
    room: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a layer costs on a core, predicted.

    instructions  of one inference
    flash         bytes of the layer's own constants and code
    code, stack   bytes of code that all layers of the kernel share, and of stack while it runs
    """

    instructions: int
    flash: int
    code: int
    stack: int


@cache
def tables() -> Mapping[str, Any]:
    """costs.json, written by benchmarks/kernel_costs.py: kernel -> core -> what was measured of it.

    instructions: per unit of each feature; alone: the same for the only layer of a kernel that `fits_one`;
    code; stack, and how much of it per unit of each room.
    """
    text = (files("tinybound.kernels") / "costs.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


class Kernel(ABC):
    """One way to compute a step in C.

    name      of the kernel in reports; an affine one is called tb_affine_NAME
    headers   files of firmware/ that NAME.c includes for it, in this order (what they include comes along)
    template  with the macros data(step), its constants, and call(step)
    by_rows   whether it may run row by row: it keeps nothing from one row to the next
    slow_on   cores on which another kernel is always better: it is not chosen there
    apart     whether a step that it runs whole, of one input, becomes a function of its own
    words     bytes of the longest integers that it reads or writes
    fits_one  whether compilers fit its code to the only layer of a network that it runs
    """

    name: str
    headers: tuple[str, ...] = ()
    template: str = "_affine.c.j2"
    by_rows: ClassVar[bool] = True
    slow_on: ClassVar[tuple[str, ...]] = ()
    apart: bool = False
    fits_one: ClassVar[bool] = False
    words: int = 1

    @abstractmethod
    def takes(self, step: Step) -> bool:
        """Whether it computes this step exactly."""

    def pack(self, step: Step) -> Packed:  # noqa: ARG002 -- a kernel without weights
        """The step's weights in the order that it reads."""
        return Packed()

    def scaling(self, step: Step) -> Mapping[str, Any]:  # noqa: ARG002 -- most have the usual one
        """Fields of the step's tb_scaling that it wants otherwise."""
        return {}

    def scratch(self, step: Step) -> int:  # noqa: ARG002 -- most need none
        """Bytes of the arena that it may spoil while it runs, apart from inputs and output."""
        return 0

    def features(self, step: Step) -> Mapping[str, int]:
        """What its instructions grow with, counted for a step."""
        return features.affine(step)

    def features_alone(self, step: Step) -> Mapping[str, int]:
        """The same for the only layer of a kernel that `fits_one`."""
        return self.features(step)

    def code_features(self, step: Step) -> Mapping[str, int]:  # noqa: ARG002 -- most share one body
        """What the code and constants of a step grow with, beyond packed weights."""
        return {"layer": 1}

    def cost(self, step: Step, core: str, alone: bool = False) -> Cost | None:
        """What the step costs on a core, `alone` where it is the only one of the kernel; None for a kernel
        that nobody measured, or that is slow on it.
        """
        if core in self.slow_on:
            return None
        table = tables().get(self.name, {})
        measured = table.get(core, table.get(ALIKE.get(core)))
        if measured is None:
            return None
        packed, alone = self.pack(step), alone and self.fits_one
        counts = self.features_alone(step) if alone else self.features(step)
        return Cost(
            _sum(measured["alone" if alone else "instructions"], counts),
            packed.weights.nbytes + 4 * len(packed.bias) + _sum(measured["flash"], self.code_features(step)),
            measured["code"],
            _sum(measured["stack"], {"base": 1, **packed.room}),
        )


def _sum(each: Mapping[str, float], counts: Mapping[str, int]) -> int:
    return round(sum(each.get(name, 0) * count for name, count in counts.items()))


def is_depthwise(op: Any) -> bool:
    """Whether every channel is convolved for itself, with one filter."""
    return isinstance(op, Conv) and op.groups == op.size[0] == len(op.weights)
