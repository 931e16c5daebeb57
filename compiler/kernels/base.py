# SPDX-License-Identifier: Apache-2.0
"""What a C kernel is: which steps it takes, how it wants their weights, and what it needs beside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ops import Conv
from ..targets.plan import Step


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


class Kernel(ABC):
    """One way to compute a step in C.

    name      of the kernel in reports; an affine one is called tb_affine_NAME
    headers   files of firmware/ that NAME.c includes for it, in this order (what they include comes along)
    template  with the macros data(step), its constants, and call(step)
    by_rows   whether it may run row by row: it keeps nothing from one row to the next
    """

    name: str
    headers: tuple[str, ...] = ()
    template: str = "_affine.c.j2"
    by_rows: ClassVar[bool] = True

    @abstractmethod
    def takes(self, step: Step) -> bool:
        """Whether it computes this step exactly."""

    def pack(self, step: Step) -> Packed:  # noqa: ARG002 -- a kernel without weights
        """The step's weights in the order that it reads."""
        return Packed()

    def scratch(self, step: Step) -> int:  # noqa: ARG002 -- most need none
        """Bytes of the arena that it may spoil while it runs, apart from inputs and output."""
        return 0


def is_depthwise(op: Any) -> bool:
    """Whether every channel is convolved for itself, with one filter."""
    return isinstance(op, Conv) and op.groups == op.size[0] == len(op.weights)
