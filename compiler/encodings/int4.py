# SPDX-License-Identifier: Apache-2.0
"""Two's-complement nibbles in ONNX's order of INT4. Kernels that want another order pack for themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from .base import Encoding, Rows


class Int4(Encoding):
    """w in -8 ... 7; two per byte, the first in the low nibble; an odd row ends with a zero weight."""

    name = "int4"

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        if rows.size and (rows.min() < -8 or rows.max() > 7):
            raise CompileError("int4", f"weights in [{rows.min()}, {rows.max()}]", "-8 ... 7")
        nibbles = np.pad(rows & 15, ((0, 0), (0, rows.shape[1] % 2)))
        return np.asarray(nibbles[:, 0::2] | (nibbles[:, 1::2] << 4), np.uint8)

    def decode(self, stored: NDArray[np.uint8], columns: int) -> Rows:
        nibbles = np.stack([stored & 15, stored >> 4], axis=-1).reshape(len(stored), -1)[:, :columns]
        return (nibbles.astype(np.int64) ^ 8) - 8
