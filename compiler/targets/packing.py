# SPDX-License-Identifier: Apache-2.0
"""The order of int8 weights that firmware/tb_int8.h reads, for layers that it can serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import Conv
from .plan import Step

LARGEST = 1 << 16  # sum of |b| of a filter: 256 times 128 times it stays below 2^31


@dataclass(frozen=True)
class Packed:
    """Weights and bias as the C holds them.

    kernel     tb_affine_KERNEL reads them
    row_bytes  from one output to the next; of pairs and depthwise layers, from two or four to the next
    columns    16-bit numbers that a DSP core widens at a time: the window of one position, or of two
    taps       of a depthwise layer's window, and its channels: a DSP core keeps an address and a byte of each
    """

    kernel: str
    weights: NDArray[np.uint8]
    bias: NDArray[np.int64]
    row_bytes: int
    columns: int = 0
    taps: int = 0
    channels: int = 0


def pack(step: Step) -> Packed:
    """The order for this layer; that of its code where no other fits."""
    op: Any = step.node.op
    view = step.view
    if view["code"] == "int8" and getattr(op, "groups", 1) == 1:
        halves = _pairs(view["rows"])
        if halves is not None:
            odd = len(view["bias"]) % 2
            bias = np.append(view["bias"], np.zeros(odd, dtype=np.int64))
            stored = halves.astype("<i2").view(np.uint8)
            taps, positions = halves.shape[1], int(np.prod(view["output"][1:]))
            return Packed("pairs", stored, bias, 2 * taps, taps * min(positions, 2))
    if view["code"] == "int8" and _depthwise(op) and len(view["rows"]) % 4 == 0:
        channels, taps = view["rows"].shape
        fours = view["stored"].reshape(-1, 4, taps).transpose(0, 2, 1)
        return Packed("depthwise", fours, view["bias"], 4 * taps, taps=taps, channels=channels)
    return Packed(view["code"], view["stored"], view["bias"], view["stored"].shape[1])


def _depthwise(op: Any) -> bool:
    return isinstance(op, Conv) and op.groups == op.size[0] == len(op.weights)


def _pairs(rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """256 b + a + 128 for filters a, b and every tap, filled up by zeros; None when 256 B leaves 32 bits."""
    outputs, taps = rows.shape
    filled = np.pad(rows, ((0, outputs % 2), (0, -taps % 4)))
    a, b = filled[0::2], filled[1::2]
    return 256 * b + a + 128 if np.abs(b).sum(axis=1).max() < LARGEST else None


def high_words(step: Step) -> tuple[list[int], list[int]] | None:
    """The layer's ratios with shifts above 32, when none of its sums is a tie.

    v = sum * m is a tie only if 2^(shift - 1) divides it, so 2^(shift - 1) without the twos in m divides the
    sum: no sum but 0 is that large. Then the upper 32 bits of v and one bit of rounding decide.
    """
    r, view = step.requantise, step.view
    if r is None or "rows" not in view or r.mode == "tflite-double":
        return None
    reach = np.abs(view["bias"]) + 128 * np.abs(view["rows"]).sum(axis=1)
    found = []
    for m, s, most in np.broadcast(r.multiplier, r.shift, reach):
        m, s = int(m), int(s)
        more = max(33 - s, 0)
        if (1 << max(s - 1, 0)) // (m & -m) <= most or m << more >= 1 << 31:
            return None
        found.append((m << more, s + more))
    if len(r.shift) == 1:
        found = found[:1]
    return [m for m, _ in found], [s for _, s in found]
