# SPDX-License-Identifier: Apache-2.0
"""Both networks of a chain at many inputs: the float one in float64, the integer one exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..domains.pair_float import TINY, Floats, Ints, U, rounded
from .chain import Layer
from .linear import RHO, WIDE, product

CHUNK = 4096  # inputs at a time


def points(layers: Sequence[Layer], x: Floats, q: Ints) -> tuple[Floats, Ints]:
    """(N, outputs): the float network at x (N, inputs), within `errors`; the integer one at q."""
    size = len(layers[-1].w)
    real, whole = np.empty((len(x), size)), np.empty((len(x), size), np.int64)
    for i in range(0, len(x), CHUNK):
        real[i : i + CHUNK] = _real(layers, x[i : i + CHUNK])
        whole[i : i + CHUNK] = _whole(layers, q[i : i + CHUNK])
    return real, whole


def _real(layers: Sequence[Layer], x: Floats) -> Floats:
    h = x.T
    for layer in layers:
        h = np.clip(product(layer.w, h) + layer.b[:, None], layer.a, layer.c)
    return h.T


def _whole(layers: Sequence[Layer], q: Ints) -> Ints:
    h = q
    for layer in layers:  # whole numbers below 2^53: exact whatever the order
        acc = (h - layer.zero_in).astype(np.float64) @ layer.counts.T + layer.bias
        t = rounded(acc.astype(np.int64), layer.m, layer.s, layer.mode, layer.zero)
        h = np.clip(t + layer.zero, layer.lo, layer.hi)
    return h


def errors(layers: Sequence[Layer], lower: Floats, upper: Floats) -> Floats:
    """Per output: how far `points` is from the float network, at most, at any input of the box."""
    low, high, off = lower.copy(), upper.copy(), np.zeros(len(lower))
    for layer in layers:
        share = WIDE * 1.01 * (layer.w.shape[1] + 16) * U
        size, offset = np.abs(layer.w), np.abs(layer.b)
        most = np.maximum(np.abs(low), np.abs(high)) + off
        off = (size @ (off + share * most) + share * offset) * (1 + RHO) + TINY
        m, r = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
        wide = (size @ r + share * (size @ most + offset)) * (1 + RHO)
        low = np.clip(layer.w @ m + layer.b - wide, layer.a, layer.c)
        high = np.clip(layer.w @ m + layer.b + wide, layer.a, layer.c)
    return off
