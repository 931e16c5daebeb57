# SPDX-License-Identifier: Apache-2.0
"""Pointwise functions: as floats the function itself, as integers a table or, of 16 bits, a Curve."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Domain, OnnxNode, Op, Shape, Unsupported

Pieces = tuple[tuple[float, Callable[[NDArray[np.float64]], NDArray[np.float64]]], ...]


class Function(Op):
    """Base of a float op that applies one scalar function to every element.

    Subclasses say how steep the function is (Lipschitz constant over all reals) and which way it goes:
    the certificate needs both. `monotone` is +1, -1 or 0 (neither). One with kinks says where they are.
    """

    monotone: ClassVar[int] = 0

    @classmethod
    def parse(cls, node: OnnxNode) -> Function:
        """A function without attributes; others override this."""
        if len(node.shapes) != 1:
            raise Unsupported(f"{len(node.shapes)} inputs", "one")
        return cls()

    @property
    @abstractmethod
    def lipschitz(self) -> float:
        """A number L with |f(a) - f(b)| <= L * |a - b| for all a, b."""

    @abstractmethod
    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """f element by element, in float64 to a few units in the last place."""

    def entry(self, steps: Fraction, zero: int) -> int:
        """The integer of a table for a value of so many steps of its scale."""
        return round(steps) + zero

    def smooth_pieces(self) -> Pieces:
        """(end, function) of the pieces without a kink that it is made of, in order; the last end is inf."""
        return ((inf, self),)

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.function(xs[0], self)


@dataclass(frozen=True, eq=False)
class Table(Op):
    """q_out = entries[q - first]: the integer twin of a Function of 8-bit integers."""

    entries: NDArray[np.int64]
    first: int = -128

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def meaning(self, d: Domain, *xs: Any) -> Any:
        return d.table(xs[0], self.entries, self.first)
