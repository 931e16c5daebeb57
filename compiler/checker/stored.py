# SPDX-License-Identifier: Apache-2.0
"""Integer types of the reference, and constants that go through its quantisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .constants import quantiser
from .files import need

Array = NDArray[Any]
ACTIVATIONS = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}
ACTIVATIONS |= {"int2": (-2, 1), "uint2": (0, 3), "int16": (-32768, 32767), "uint16": (0, 65535)}
_WEIGHTS = {*ACTIVATIONS, "int32"}


def span(kind: Any, where: str) -> tuple[int, int, int]:
    """What is taken off an activation's integers, lowest and highest. Unsigned ones are kept as q - 128, and
    those of 16 bits as q - 32768."""
    name = str(np.dtype(kind))
    need(name in ACTIVATIONS, f"{where}: activations of type {name}")
    low, high = ACTIVATIONS[name]
    shift = 0 if low else max(128, (high + 1) // 2)
    return shift, low - shift, high - shift


def whole(low: int, high: int) -> tuple[int, int]:
    """The ends of the word, of 8 or 16 bits, that holds a range."""
    return (-128, 127) if -128 <= low <= high <= 127 else (-(1 << 15), (1 << 15) - 1)


def spread(array: Array, shape: tuple[int, ...], axis: int, block: int, where: str) -> Array:
    """A scale or zero point for every element: one, one per index of the axis, or one per block of it."""
    if array.size == 1:
        return np.full(shape, array.ravel()[0])
    axis %= max(len(shape), 1)
    if block and array.ndim == len(shape):
        count = -(-shape[axis] // block)
        need(array.shape == (*shape[:axis], count, *shape[axis + 1 :]), f"{where}: blocks of {array.shape}")
        return np.asarray(np.take(array, np.arange(shape[axis]) // block, axis))
    need(len(shape) > axis and array.shape == (shape[axis],), f"{where}: {array.size} scales")
    sizes = [1] * len(shape)
    sizes[axis] = array.size
    return np.broadcast_to(array.reshape(sizes), shape)


def dequantised(q: Array, scale: Array, zero: Array, axis: int, block: int, where: str) -> Array:
    """scale * (q - zero): of up to 29 bits exactly, of longer ones (a bias) the nearest double."""
    need(str(q.dtype) in _WEIGHTS, f"{where}: {q.dtype} weights")
    centred = q.astype(np.int64) - spread(zero.astype(np.int64), q.shape, axis, block, where)
    need((scale.astype(np.float32) == scale).all(), f"{where}: a scale of more than float32")
    return np.asarray(spread(scale, q.shape, axis, block, where) * centred)


def quantised(x: Array, scale: Array, zero: Array, axis: int, where: str) -> Array:
    """round(x / scale) + zero in the file's float32, saturated."""
    need(str(zero.dtype) in ACTIVATIONS and x.dtype == np.float32, f"{where}: {zero.dtype} from {x.dtype}")
    steps = np.rint(x / spread(scale.astype(np.float32), x.shape, axis, 0, where)).astype(np.float64)
    low, high = ACTIVATIONS[str(zero.dtype)]
    q = steps + spread(zero.astype(np.float64), x.shape, axis, 0, where)
    return np.minimum(np.maximum(q, low), high).astype(np.int64).astype(zero.dtype)


def clipped(q: Array, ends: Sequence[Array | None], where: str) -> Array:
    """Integers within limits, where they are given."""
    fit = str(q.dtype) in ACTIVATIONS and all(end is None or end.size == 1 for end in ends)
    need(fit, f"{where}: a clipped constant")
    out = q.astype(np.int64)
    for end, limit in zip(ends, (np.maximum, np.minimum), strict=False):
        out = out if end is None else limit(out, int(end.ravel()[0]))
    return out.astype(q.dtype)


def kept(
    name: str, op: str, constants: Mapping[str, Array], inputs: list[str], attributes: dict[str, Any]
) -> Array:
    """A constant through QuantizeLinear, or its integers through Clip."""
    x, ends = constants[inputs[0]], [constants[i] if i else None for i in inputs[1:3]]
    if op == "Clip":
        need(not attributes, f"{name}: attributes")
        return clipped(x, ends, name)
    need(set(attributes) <= {"axis", "saturate"}, f"{name}: attributes")
    scale, zero = quantiser(name, constants, inputs, np.uint8)
    return quantised(x, scale, zero, int(attributes.get("axis", 1)), name)
