# SPDX-License-Identifier: Apache-2.0
"""A movement of elements as the sum of three short tables, so that no position per element is stored.

Slices, pads, tiles, repeats, flips and permutations of axes are all of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Axes = tuple[Ints, Ints, Ints]


def separated(movement: Ints, shapes: Sequence[tuple[int, ...]]) -> Axes | None:
    """Tables with movement = a[i] + b[j] + c[k], -1 where one of them is -1, i, j, k counting in order.

    `shapes` are those in which the movement may be one; the shortest tables win, and of these the one with
    the most entries in the first: rows of a map (targets/rows.py). None: there are none.
    """
    sizes = {size for shape in shapes for size in _three(shape) if prod(size) == len(movement)}
    for size in sorted(sizes, key=lambda size: (sum(size), -size[0], size)):
        found = _tables(movement.reshape(size))
        if found is not None:
            return found
    return None


def _three(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Every way to merge neighbouring axes into three."""
    padded = (1, 1, *shape)
    for i, j in combinations(range(1, len(padded)), 2):
        yield prod(padded[:i]), prod(padded[i:j]), prod(padded[j:])


def _tables(movement: Ints) -> Axes | None:
    inside = movement >= 0
    if not inside.any():
        a, b, c = (np.zeros(n, np.int64) for n in movement.shape)
        return a - 1, b, c
    held = [inside.any(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    i, j, k = (int(h.argmax()) for h in held)
    lines = [movement[:, j, k], movement[i, :, k], movement[i, j, :]]
    lows = [int(line[h].min()) for line, h in zip(lines, held, strict=True)]
    # Every line runs through the same element: what that adds twice too often goes into the first table.
    first = sum(lows) - 2 * int(movement[i, j, k])
    a, b, c = (np.where(h, line - low, -1) for line, low, h in zip(lines, lows, held, strict=True))
    a = np.where(held[0], a + first, -1)
    total = a[:, None, None] + b[None, :, None] + c[None, None, :]
    outside = (a[:, None, None] < 0) | (b[None, :, None] < 0) | (c[None, None, :] < 0)
    return (a, b, c) if np.array_equal(np.where(outside, -1, total), movement) else None
