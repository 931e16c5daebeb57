# SPDX-License-Identifier: Apache-2.0
"""MatMul of a tensor with rows: a 1 x 1 Conv over (K, rows, 1)."""

from __future__ import annotations

from math import prod

import numpy as np

from .place import Place


def rows(p: Place) -> bool:
    """Element (k, r) of the map is element (r, k) of the tensor."""
    w = p.constants.get(p.inputs[1]) if len(p.inputs) == 2 else None
    shape = p.shapes.get(p.inputs[0], ())
    if w is None or w.ndim != 2 or len(shape) < 2 or shape[-1] != len(w):
        return False
    p.only()
    count, depth, outputs = prod(shape[:-1]), *w.shape
    k, r = np.ix_(np.arange(depth), np.arange(count))
    pixels = p.take((r * depth + k)[None, :, :, None], "pixels")
    kernel = p.free("kernel")
    p.constants[kernel] = np.ascontiguousarray(w.T)[:, :, None, None]
    found = p.put("Conv", [pixels, kernel], "map", name=p.name)
    r, m = np.ix_(np.arange(count), np.arange(outputs))
    p.moved(found, (m * count + r).reshape(*shape[:-1], outputs), name=f"{p.name}.rows")
    return True
