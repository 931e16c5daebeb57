# SPDX-License-Identifier: Apache-2.0
"""Two bytes per weight: a model file's own integers that a byte does not hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from .base import Encoding, Rows


class Int16(Encoding):
    """w in -32768 ... 32767 in two's complement, the low byte first."""

    name = "int16"

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        if rows.size and (rows.min() < -(1 << 15) or rows.max() >= 1 << 15):
            raise CompileError("int16", f"weights in [{rows.min()}, {rows.max()}]", "-32768 ... 32767")
        return np.ascontiguousarray(rows, "<i2").view(np.uint8)

    def decode(self, stored: NDArray[np.uint8], columns: int) -> Rows:
        return np.ascontiguousarray(stored[:, : 2 * columns]).view("<i2").astype(np.int64)
