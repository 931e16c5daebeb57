# SPDX-License-Identifier: Apache-2.0
"""Powers of two as straight-line additions for cores that load several words at once, but do not shift what
they add (Cortex-M0+)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .buckets import Buckets
from .buckets_code import Layer
from .triples_code import layer


class Triples(Buckets):
    """A load of three taps and three additions, at two positions (firmware/tb_triples.h)."""

    name = "triples"
    headers = ("tb_triples.h",)
    form = "TB_TRIPLES"
    slow_on = ("cortex-m3", "cortex-m4", "rv32imc")
    keeps = True

    def made(self, rows: NDArray[np.int64]) -> Layer:
        return layer(rows)
