# SPDX-License-Identifier: Apache-2.0
"""Weight matrices in the order in which memories and streams hold their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Node
from ..passes.layout import columns


def physical_rows(node: Node, order: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """(O, K) integers with channels innermost: K = KH * KW * C / groups, or a vector in physical order."""
    op: Any = node.op
    rows = op.weights.reshape(op.weights.shape[0], -1)[:, columns(node, order)]
    return np.ascontiguousarray(rows)
