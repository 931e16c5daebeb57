# SPDX-License-Identifier: Apache-2.0
"""Rows of shares that add up to 1, on the tape of backward substitution."""

from __future__ import annotations

import numpy as np

from .backward import Tape
from .nodes import Node, Sum
from .rounding import Floats, Ints, below, up
from .shares import Share

QUANTILES = (None, 0.5, 0.75, 1.0)  # of a row's coefficients, to be taken off all; None: nothing


def sums(tape: Tape, box: Floats, t: Share) -> int:
    """Of every row x adds up to 1, d to 0 within `off`: for any k and m the sum of a x is k plus that of
    (a - k) x, the sum of b d at most |m| off plus that of (b - m) d."""
    n, top = box.shape[-1], below(t.scale * t.top)
    off = n * t.near + (max(1 - top, 0.0) if top > 0.5 else 1.0)
    return tape.put(_adding_up(box.reshape(6, -1, 1), n, off))


def _adding_up(flat: Floats, n: int, off: float) -> Node:
    """Rows of n elements each."""
    mid = 0.5 * flat[::2] + 0.5 * flat[1::2]
    far = up(np.maximum(flat[1::2] - mid, mid - flat[::2]))

    def most(k: int, c: Floats) -> Floats:
        return np.asarray(c * mid[k] + np.abs(c) * far[k])

    def rows(part: Floats) -> Floats:
        return part.reshape(-1, n, part.shape[-1])

    def back(a: Floats, out: Sum) -> list[Floats]:
        found, sizes = [], []
        for share in QUANTILES:
            less = np.zeros_like(rows(a[0])[:, :1]), np.zeros_like(rows(a[0])[:, :1])
            if share is not None:
                less = np.quantile(rows(a[0]), share, axis=1, keepdims=True), less[1]
                if len(a) == 2:
                    less = less[0], np.median(rows(a[1]), axis=1, keepdims=True)
            x, d = ((rows(part) - k).reshape(part.shape) for part, k in zip((a[0], a[-1]), less, strict=True))
            best = most(0, x)
            if len(a) == 2:
                best = np.minimum(best + most(2, d), most(0, x - d) + most(1, d))
                best = np.minimum(best, most(2, d - x) + most(1, x))
            weight = (np.abs(x) + np.abs(d)) * (np.abs(mid) + far).sum(axis=0)
            found.append(rows(best).sum(axis=1) + (less[0] + off * np.abs(less[1]))[:, 0])
            sizes.append(rows(weight).sum(axis=1) + (2 * np.abs(less[0]) + off * np.abs(less[1]))[:, 0])
        out.add(np.min(found, axis=0).sum(axis=0), np.max(sizes, axis=0).sum(axis=0), 4 * a.shape[1])
        return []

    def part(at: Ints) -> tuple[Ints, list[Ints], Node]:
        here = np.add.outer(np.unique(at // n) * n, np.arange(n)).ravel()
        return here, [], _adding_up(flat[:, here], n, off)

    count = flat.shape[1]
    return Node((), len(QUANTILES) * count, count, back, part)
