# SPDX-License-Identifier: Apache-2.0
"""What functions of 16-bit integers store, read as docs/semantics.md says, and checked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .files import need
from .layers import Layer, Meaning
from .rounding import Ints, quotient

FIRST, COUNT = -(1 << 15), 1 << 16
UNIT = 14  # a value is stored in steps of 2^-14


def read_curve(layer: Layer, out: Meaning) -> Ints:
    """The 65,536 integers that a Curve stands for; Rejected where C could leave 32 bits."""
    f, name = layer.fields, layer.name
    knots, bends, knees, size = f["knots"], f["bends"], f["knees"], 1 << f["bits"]
    need(knots.ndim == bends.ndim == knees.ndim == 1, f"{name}: arrays of a curve")
    need(f["lo"] <= f["hi"] and f["parity"] == out.zero % 2, f"{name}: limits or parity")
    borders = [FIRST, *knees.tolist(), FIRST + COUNT]
    need(all(a < b for a, b in pairwise(borders)), f"{name}: knees")
    need(len(knots) and np.abs(knots).max() * size <= 1 << (UNIT + 16), f"{name}: a knot beyond 2^16 steps")
    need(len(bends) == len(knots) - 1 and np.abs(bends).max(initial=0) < 1 << 15, f"{name}: bends")
    found, at = [], 0
    for start, stop in pairwise(borders):
        pieces = -((start - stop) // size)
        need(at + pieces < len(knots), f"{name}: too few knots")
        for k in range(at, at + pieces):
            r = np.arange(min(size, stop - start - (k - at) * size))
            bow = bends[k] * r * (size - r) // (size * size // 256)
            found.append(knots[k] * (size - r) + knots[k + 1] * r + bow)
        at += pieces + 1
    need(at == len(knots), f"{name}: too many knots")
    steps = quotient(np.concatenate(found), np.array(UNIT), "even")
    return np.asarray(np.clip(steps + f["parity"], f["lo"], f["hi"]), np.int64)
