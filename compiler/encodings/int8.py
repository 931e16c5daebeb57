# SPDX-License-Identifier: Apache-2.0
"""One two's-complement byte per weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from .base import Encoding, Rows


class Int8(Encoding):
    """w in -128 ... 127 as its byte."""

    name = "int8"

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        if rows.size and (rows.min() < -128 or rows.max() > 127):
            raise CompileError("int8", f"weights in [{rows.min()}, {rows.max()}]", "-128 ... 127")
        return (rows & 255).astype(np.uint8)

    def decode(self, stored: NDArray[np.uint8], columns: int) -> Rows:
        return stored[:, :columns].view(np.int8).astype(np.int64)
