# SPDX-License-Identifier: Apache-2.0
"""Plain model of the blocks: loops over windows, Python integers, nothing of the Verilog's order of work.

Frames are int64 arrays (N, H, W, C), as the streams carry them; weights are (O, KH, KW, C/groups).
"""

from __future__ import annotations

import numpy as np


def windows(x, oh, ow, kh, kw, sh, sw, dh, dw, pt, pl, pad):
    """(N, OH, OW, KH, KW, C): the taps of every window; `pad` outside the frame."""
    n, h, w, c = x.shape
    out = np.full((n, oh, ow, kh, kw, c), pad, np.int64)
    for i, j, k, m in np.ndindex(oh, ow, kh, kw):
        y, z = i * sh + k * dh - pt, j * sw + m * dw - pl
        if 0 <= y < h and 0 <= z < w:
            out[:, i, j, k, m] = x[:, y, z]
    return out


def truncate(q, bits):
    """q with its low 8 - bits bits cleared."""
    step = 1 << (8 - bits)
    return q // step * step


def affine(taps, weights, bias, zero, groups):
    """acc (N, OH, OW, O) of windows (N, OH, OW, KH, KW, C)."""
    o = weights.shape[0]
    parts = np.split(taps - zero, groups, axis=-1)
    acc = [
        np.einsum("nijklc,oklc->nijo", part, w, optimize=False)
        for part, w in zip(parts, np.split(weights, groups), strict=False)
    ]
    return np.concatenate(acc, axis=-1).reshape(*taps.shape[:3], o) + bias


def _nearest(product, shift, up_at_tie):
    floor, rest = divmod(product, 1 << shift)
    return floor + (2 * rest > 1 << shift or (2 * rest == 1 << shift and bool(up_at_tie(floor))))


def requantise(acc, m, s, zero_in, zero_out, lo, hi, roundings=0):
    """On Python integers; m and s lists, one per channel, last axis of acc is the channel.

    Half to even, or as TFLite: half up in one go, or by 31 bits and then half away from 0; an average half
    away from 0; a mean twice, to 15 bits of a fraction half up and then half to even.
    """
    flat = []
    for n, value in enumerate(acc.reshape(-1).tolist()):
        product, shift = (value - zero_in) * m[n % len(m)], s[n % len(s)]
        if roundings == 2 and shift > 31:
            product, shift = _nearest(product, 31, lambda _: True), shift - 31
            q = _nearest(product, shift, lambda floor: floor >= 0)
        elif roundings == 4:
            product = _nearest(product, shift - 15, lambda _: True)
            q = _nearest(product, 15, lambda floor: floor % 2)
        elif roundings == 3:
            q = _nearest(product, shift, lambda floor: floor >= 0)
        else:
            q = _nearest(product, shift, lambda floor: roundings or floor % 2)
        flat.append(min(max(q + zero_out, lo), hi))
    return np.array(flat, np.int64).reshape(acc.shape)
