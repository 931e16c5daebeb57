# SPDX-License-Identifier: Apache-2.0
"""What every weight encoding offers. Rows are (O, K) integers in physical order, channels innermost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class Encoding(ABC):
    """An exact, invertible storage form of a weight matrix."""

    name: ClassVar[str]

    @abstractmethod
    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        """Stored bytes, one row of bytes per output channel; CompileError if a weight has no code."""

    @abstractmethod
    def decode(self, stored: NDArray[np.uint8], columns: int) -> Rows:
        """The matrix that `encode` was given; `columns` is K."""
