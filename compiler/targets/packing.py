# SPDX-License-Identifier: Apache-2.0
"""The order of int8 weights that firmware/tb_int8.h reads, for layers that it can serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import Conv
from .one_shift import OneShift, one_shift
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
    weights: NDArray[Any]
    bias: NDArray[np.int64]
    row_bytes: int
    columns: int = 0
    taps: int = 0
    channels: int = 0
    inner: str = ""


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
        found = ratios(step)
        if found is not None and taps < 200:
            r = step.requantise
            assert r is not None
            clamped = int((r.lo, r.hi) != (-128, 127))
            inner = f"{taps}, {found.shift - 32}, {clamped}"
            return Packed("wide", _records(step, found), view["bias"], 0, 0, taps, channels, inner)
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


@lru_cache(maxsize=64)
def ratios(step: Step) -> OneShift | None:
    """One shift and multipliers per channel that requantise this layer's sums as its own do; None: none found."""
    r, view = step.requantise, step.view
    if r is None or "rows" not in view or (r.multiplier == 1).all():
        return None
    rows = view["rows"]
    low = view["bias"] + np.minimum(127 * rows, -128 * rows).sum(axis=1)
    high = view["bias"] + np.maximum(127 * rows, -128 * rows).sum(axis=1)
    return one_shift(r, low, high)


def _records(step: Step, found: OneShift) -> NDArray[np.int32]:
    """The records of firmware/tb_wide.h, a row for every four channels."""
    fours = step.view["rows"].reshape(-1, 4, step.view["rows"].shape[1])
    pairs, alone = fours[:, :, : fours.shape[2] // 2 * 2], fours[:, :, fours.shape[2] // 2 * 2 :]
    words = [(pairs[:, :, 1::2] << 16) + (pairs[:, :, 0::2] & 0xFFFF)]
    count = len(fours)
    parts = [
        step.view["bias"].reshape(count, 4),
        words[0].transpose(0, 2, 1).reshape(count, -1),
        ((alone[:, 2:] << 16) + (alone[:, :2] & 0xFFFF)).reshape(count, -1),
        found.multiplier.reshape(count, 4),
    ]
    return np.concatenate(parts, axis=1).astype(np.int32)
