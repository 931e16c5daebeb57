# SPDX-License-Identifier: Apache-2.0
"""halves.c: what it is given, and what comes back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from ..domains.pair_float import Floats, Ints, above
from .between import Sums
from .cells import Cells
from .compiled import ROOM, Compiled, Grid, pointer

MATRICES = ("w", "size", "v", "v_size", "e", "e_size", "both", "b", "shift", "add", "half")
Found = tuple[Floats, float, Ints, Ints, int]  # as of halves.Halved


class _Sums(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in MATRICES),
        *((name, ctypes.c_double) for name in ("a", "c", "low", "high")),
        *((name, ctypes.c_int64) for name in ("rows", "columns")),
    )


class _Halving(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("grid", "layers", "sizes", "sums")),
        *((name, ctypes.c_double) for name in ("scale", "far", "reach", "rough")),
        *(
            (name, ctypes.c_int64)
            for name in ("zero", "neurons", "apart", "small", "least", "dear", "work", "most")
        ),
    )


def by_c(
    kernel: Compiled,
    cells: Cells,
    sums: Sequence[Sums],
    boxes: tuple[Ints, Ints, Floats, Floats],
    limit: float,
    rough: float,
    ends: tuple[int, int, int, int, int],
) -> list[Found | None] | None:
    """`ends`: cells that are counted, and those that are where forms are rougher than `rough`; what a part
    costs; the work and the cells alone that a box may have. None where this cannot be done in C."""
    first, last, lower, upper = (np.ascontiguousarray(v) for v in boxes)
    way, (count, inputs) = kernel.moving(first.min(axis=0), last.max(axis=0)), first.shape
    if way is None:
        return None
    spans, outputs, zero_in = last - first + 1, kernel.outputs, kernel.chain.layers[0].zero_in
    numbers = len(way.parts), inputs, outputs, way.widest, cells.start, zero_in
    tables = [v.ctypes.data for v in (cells.low, cells.high, *way.tables)]
    grid = Grid(ctypes.addressof(way.parts), *tables, limit, float(kernel.chain.units.scale), 0.0, *numbers)
    layers, held = (_Sums * len(sums))(), list[list[Floats]]()
    for item, each in zip(layers, sums, strict=True):
        w, b, v, e, c = each.layer.w, each.layer.b, each.v, each.e, each.c
        sizes = np.abs(w), v, np.abs(v), e, np.abs(e), np.abs(v) + np.abs(w)
        terms = w, *sizes, b, c - b, np.abs(b) + np.abs(c), each.half
        held.append([np.ascontiguousarray(array) for array in terms])
        for name, array in zip(MATRICES, held[-1], strict=True):
            setattr(item, name, array.ctypes.data)
        item.a, item.c, item.low, item.high = each.layer.a, each.layer.c, each.low, each.high
        item.rows, item.columns = w.shape
    units, apart = cells.entry.units, 1 + 2 * inputs + 2 * kernel.neurons
    far = 0.0 if cells.entry.grid else above(units.scale / 2)
    most = min(ends[4], int(spans.prod(axis=1).max()))
    halving = _Halving(
        ctypes.addressof(grid), ctypes.addressof(kernel.layers), ctypes.addressof(kernel.pointers),
        ctypes.addressof(layers), float(units.scale), far, way.far, rough, units.zero, kernel.neurons, apart,
        *ends[:4], most,
    )  # fmt: skip
    whole, bound, worst = np.zeros((count, outputs)), np.zeros((count, outputs)), np.zeros(count)
    cell, tally = np.full((count, inputs), -1), np.zeros((count, 2), np.int64)
    open_, spot = np.empty((count, most, inputs), np.int64), np.empty(most, np.int64)
    form = np.empty(outputs * (2 + 3 * inputs) + inputs)
    room = np.empty(max(kernel.room(), 5 * kernel.widest * apart + 8 * kernel.widest))
    inner = -(-max(ROOM, int(spans[:, -1].max())) // ROOM) * ROOM
    space = np.empty((way.widest + 2 * outputs) * inner + 2 * way.widest * ROOM, np.float32)
    spread = np.empty(2 * outputs * int(spans.sum(axis=1).max()))
    arrays = first, last, lower, upper, whole, bound, worst, cell, tally, open_
    kernel.library.tb_halved(
        ctypes.byref(halving), ctypes.c_int64(count), ctypes.c_int64(kernel.widest),
        *map(pointer, (*arrays, spot, form, spread, room, space)),
    )  # fmt: skip
    del held  # until here what `layers` points to is needed
    found = list[Found | None]()
    for k, (n, work) in enumerate(tally.tolist()):
        q = open_[k, : max(n, 0)]
        most_of = np.maximum(whole[k], bound[k])
        made = most_of, float(worst[k]), cell[k], q[np.lexsort(q.T[::-1])], work
        found.append(None if n < 0 else made)
    return found
