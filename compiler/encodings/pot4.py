# SPDX-License-Identifier: Apache-2.0
"""Powers of two in a nibble: bit 3 is the sign, bits 2..0 are 0 for w = 0, else e for |w| = 2^(e-1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from .base import Encoding, Rows


def codes(rows: Rows) -> NDArray[np.uint8]:
    """The nibble of each weight, unpacked."""
    size = np.abs(rows)
    exponent = np.where(size > 0, np.round(np.log2(np.maximum(size, 1))) + 1, 0).astype(np.int64)
    if (
        not np.array_equal(np.where(exponent > 0, 1 << np.maximum(exponent - 1, 0), 0), size)
        or exponent.max() > 7
    ):
        raise CompileError(
            "pot4", "a weight that is not 0 or a signed power of two up to 64", "--weights pot4"
        )
    return (exponent | np.where(rows < 0, 8, 0)).astype(np.uint8)


class Pot4(Encoding):
    """Two weights per byte, the first in the low nibble; an odd row ends with a zero weight."""

    name = "pot4"

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
        nibbles = codes(padded)
        return np.asarray(nibbles[:, 0::2] | (nibbles[:, 1::2] << 4), np.uint8)

    def decode(self, stored: NDArray[np.uint8], columns: int) -> Rows:
        nibbles = np.stack([stored & 15, stored >> 4], axis=-1).reshape(len(stored), -1)[:, :columns]
        exponent = (nibbles & 7).astype(np.int64)
        size = np.where(exponent > 0, 1 << np.maximum(exponent - 1, 0), 0)
        return np.where(nibbles & 8, -size, size)
