# SPDX-License-Identifier: Apache-2.0
"""Networks that compute with what a softmax returns: attention of constant keys, gates, means, maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx_nets import Net


def gate(n: Net) -> str:
    """Which of several units speak."""
    p = n.put("Softmax", n.put("Gemm", "x", n.normal(6, 5), n.normal(5)))
    units = n.put("Relu", n.put("Gemm", "x", n.normal(6, 5)))
    return n.put("Gemm", n.put("Mul", p, units), n.normal(5, 2))


def attention(n: Net) -> str:
    """Of rows over constant keys and values."""
    scores = n.put("MatMul", "x", n.normal(6, 5, scale=1.0))
    return n.put("MatMul", n.put("Softmax", scores, axis=-1), n.normal(5, 3))


def weighted_rows(n: Net) -> str:
    """A mean of rows by weights that add up to 1: softmax over a middle axis."""
    y = n.put("MatMul", "x", n.normal(6, 3))
    z = n.put("Mul", n.put("Softmax", y, axis=1), y)
    return n.put("ReduceMean", z, axes=[1], keepdims=0)


def excite(n: Net) -> str:
    """Squeeze and excite with a softmax over the channels, broadcast over the map."""
    y = n.put("Conv", "x", n.normal(4, 3, 3, 3), pads=[1] * 4)
    p = n.put("Softmax", n.put("GlobalAveragePool", y), axis=1)
    return n.put("ReduceMean", n.put("Mul", y, p), axes=[2, 3], keepdims=0)


def segments(n: Net) -> str:
    """Channels of every pixel, mixed again."""
    p = n.put("Softmax", n.put("Conv", "x", n.normal(4, 3, 1, 1)), axis=1)
    return n.put("Conv", p, n.normal(2, 4, 1, 1))


def shown(n: Net) -> tuple[str, str]:
    """The weights are an output as well; moved, padded, with a maximum taken of them."""
    p = n.put("Softmax", "x", axis=-1)
    padded = n.put("Pad", n.put("Transpose", p, perm=[0, 2, 1]), n.constant([0, 0, 1] * 2, np.int64))
    return n.put("Relu", n.put("Sub", padded, n.constant(0.125))), p


def twice(n: Net) -> str:
    """A softmax of a softmax, the last of them final."""
    p = n.put("Softmax", n.put("Gemm", "x", n.normal(6, 5)))
    return n.put("Softmax", n.put("Gemm", p, n.normal(5, 4, scale=3.0)))


ROW, ROWS, MAP = (1, 6), (1, 4, 6), (1, 3, 4, 5)
FORMS: dict[str, tuple[tuple[int, ...], Any]] = {
    "gate": (ROW, gate),
    "attention": (ROWS, attention),
    "weighted rows": (ROWS, weighted_rows),
    "squeeze and excite": (MAP, excite),
    "segments": (MAP, segments),
    "shown": (ROWS, shown),
    "twice": (ROW, twice),
}


def save(form: str, folder: Path) -> tuple[Path, tuple[int, ...]]:
    """The model and the shape of its input, batch included."""
    shape, put = FORMS[form]
    net = Net(*shape, seed=len(form))
    outputs = put(net)
    return net.save(folder, *((outputs,) if isinstance(outputs, str) else outputs)), shape
