# SPDX-License-Identifier: Apache-2.0
"""Weight pools: a byte per vector of 8 weights, an index into one pool of at most 64 vectors.

Executed bit-serially: for bit plane p of 8 unsigned activations u, the byte b of their p-th bits selects
table[b][index] = sum of the vector's entries whose bit is set, and the sum over planes of table << p is
the dot product (Li and Gupta, MLSys 2022). The table is exact: 256 x 64 entries of 12 bits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from .base import Encoding, Rows

SIZE, WIDTH = 64, 8


class Pool64(Encoding):
    """Indices into `vectors` (64, 8); unused places of the pool are zero vectors."""

    name = "pool64"

    def __init__(self, vectors: Rows) -> None:
        self.vectors = vectors
        self._place = {tuple(vector): i for i, vector in reversed(list(enumerate(vectors.tolist())))}

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        groups = rows.reshape(-1, WIDTH).tolist()
        try:
            found = [self._place[tuple(vector)] for vector in groups]
        except KeyError as missing:
            raise CompileError(
                "pool64", f"a vector outside the pool {missing}", "--weights pool64"
            ) from missing
        return np.array(found, np.uint8).reshape(len(rows), -1)

    def decode(self, stored: NDArray[np.uint8], columns: int) -> Rows:
        return self.vectors[stored].reshape(len(stored), columns)

    def table(self) -> NDArray[np.int64]:
        """(256, 64): subset sums of every pool vector."""
        bits = (np.arange(256)[:, None] >> np.arange(WIDTH)) & 1
        return np.asarray(bits @ self.vectors.T)

    def raised(self) -> NDArray[np.int64]:
        """(64,): what must be added to every subset sum of a vector so that none is negative."""
        return np.asarray(np.maximum(-self.vectors, 0).sum(axis=1))


def make_pool(layers: Iterable[Rows]) -> Pool64 | None:
    """The pool of all pool-coded layers of a network; None without such a layer."""
    groups = [rows.reshape(-1, WIDTH) for rows in layers]
    if not groups:
        return None
    distinct = np.unique(np.concatenate(groups), axis=0)
    if len(distinct) > SIZE:
        raise CompileError("pool64", f"{len(distinct)} distinct vectors", f"at most {SIZE}")
    vectors = np.zeros((SIZE, WIDTH), np.int64)
    vectors[: len(distinct)] = distinct
    return Pool64(vectors)
