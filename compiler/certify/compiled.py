# SPDX-License-Identifier: Apache-2.0
"""cells.c, gaps.c and halves.c, compiled once with this computer's gcc and kept in the user's cache: numpy's
numbers, sooner."""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair_float import Floats, Ints, scaled
from ..errors import TinyboundError
from ..tools import run
from .cells import Kernel, Numpy
from .chain import MODES, Chain, Layer
from .gaps import Forms, Gaps
from .linear import Linear
from .states import SINGLE, Plan, fine, plan

# No contraction: a fused multiplication and addition rounds once, numpy twice.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")
ROOM = 64  # inputs at a time, as in cells.c
ARRAYS = ("parts", "under", "over", "low", "high", "column", "output", "still")
NUMBERS = ("depth", "inputs", "outputs", "widest", "begin", "zero_in")
SLOP = 2.0**-19  # of the numbers that a gap is the sum of: more than float32 loses in it
INNER = 1 << 10  # cells whose sums are kept in tables
NAMES = ("rows", "columns", "zero_in", "zero", "lo", "hi", "mode")


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("w", "b", "counts", "bias", "m", "s")),
        *((name, ctypes.c_double) for name in ("a", "c")),
        *((name, ctypes.c_int64) for name in NAMES),
    )


class _Part(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("w", "start", "scale")),
        ("law", _Layer),
        *((name, ctypes.c_int64) for name in ("exact", "small")),
    )


class Grid(ctypes.Structure):
    """As gaps.c has it."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ARRAYS),
        *((name, ctypes.c_double) for name in ("limit", "step", "slop")),
        *((name, ctypes.c_int64) for name in NUMBERS),
    )


def kernel_of(chain: Chain) -> Kernel:
    """The compiled kernel, or numpy's where there is no gcc or no place of our own to keep what it makes."""
    library = _library()
    return Numpy(chain) if library is None else Compiled(chain, library)


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    place = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(place) if place else Path.home() / ".cache") / "tinybound"


@cache
def _library() -> ctypes.CDLL | None:
    source = b"".join((files(__package__) / name).read_bytes() for name in ("cells.c", "gaps.c", "halves.c"))
    key = sha256(source + repr((FLAGS, platform.machine(), platform.system())).encode()).hexdigest()[:20]
    try:
        path = cache_folder() / f"cells-{key}.so"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _private(path.parent):
            return None
        if not path.exists():
            _build(source, path)
        return ctypes.CDLL(str(path))
    except (TinyboundError, OSError, RuntimeError):  # the last: a user without a home
        return None


def _private(folder: Path) -> bool:
    """Whether nobody else could have put code there for us to run."""
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _build(source: bytes, path: Path) -> None:
    """Complete or not there: two of us may build it at once."""
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        text, made = Path(work) / "cells.c", Path(work) / "cells.so"
        text.write_bytes(source)
        run(["gcc", *FLAGS, text, "-o", made, "-lm"], timeout=120)
        made.replace(path)


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """As C takes it."""
    return ctypes.c_void_p(array.ctypes.data)


@dataclass(frozen=True)
class _Way:
    """What moves on the way of a box of cells, with all that it points to; `far`: the largest integer of the
    outputs, in real units."""

    parts: Any
    held: list[Any]
    tables: tuple[NDArray[Any], ...]
    widest: int
    far: float


class Compiled:
    """A Kernel."""

    def __init__(self, chain: Chain, library: ctypes.CDLL) -> None:
        self.library, self.chain, layers = library, chain, chain.layers
        self.kept = [[np.ascontiguousarray(v) for v in _arrays(layer)] for layer in layers]
        self.sizes = [np.abs(arrays[0]) for arrays in self.kept]
        self.layers = (_Layer * len(layers))()
        for item, layer, arrays in zip(self.layers, layers, self.kept, strict=True):
            _describe(item, layer, layer.w.shape)
            item.w, item.b, item.counts, item.bias, item.m, item.s = (a.ctypes.data for a in arrays)
            item.a, item.c = layer.a, layer.c
        self.pointers = (ctypes.c_void_p * len(layers))(*(size.ctypes.data for size in self.sizes))
        self.inputs, self.outputs = layers[0].w.shape[1], len(layers[-1].w)
        self.widest = max(max(layer.w.shape) for layer in layers)
        self.neurons = sum(len(layer.w) for layer in layers)
        self.library.tb_room.restype = self.library.tb_states.restype = ctypes.c_int64
        self._hull: tuple[Ints, Ints] | None = None
        self._way: _Way | None = None

    def points(self, x: Floats, q: Ints) -> tuple[Floats, Ints]:
        count = len(x)
        x, q = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(q, np.int64)
        real, whole = np.empty((count, self.outputs)), np.empty((count, self.outputs), np.int64)
        arrays = x, q, real, whole, np.empty(2 * self.widest * ROOM)
        self._call("tb_points", [self.layers], [len(self.layers), count, self.widest], arrays)
        return real, whole

    def states(self, first: Ints, last: Ints) -> tuple[Ints, Ints]:
        way, count = plan(self.chain.layers, first, last), int((last - first + 1).prod())
        parts, held = _parts(way)
        cells = _vectors(first[first < last], last[first < last])
        widest = padded(max(max(part.weights.shape) for part in way.parts))
        which, places, table = (np.empty(n, np.int32) for n in (count, count, 4 * count))
        values, room = np.empty(2 * widest * ROOM, np.float32), np.empty(2 * widest * ROOM)
        fresh, keys = (np.empty(n, np.int16) for n in (widest * ROOM, 2 * widest * count))
        arrays = cells, which, values, room, fresh, keys, places, table
        numbers = [len(way.parts), count, widest]
        kept, rows = self._call("tb_states", [parts], numbers, arrays), len(way.parts[-1].rows)
        del held  # until here what `parts` points to is needed
        found = keys[: kept * padded(rows)].reshape(kept, padded(rows))
        return way.whole(found[:, :rows].astype(np.float64)), which.astype(np.int64)

    def gaps(self, forms: Forms, limit: float, most: int) -> list[Gaps | None]:
        way = self.moving(forms.first.min(axis=0), forms.last.max(axis=0))
        count, inputs = forms.first.shape
        if way is None:
            return Numpy(self.chain).gaps(forms, limit, most)
        spans = forms.last - forms.first + 1
        size = np.abs(forms.c) + forms.rest
        far = np.maximum(np.abs(forms.lower - forms.middle), np.abs(forms.upper - forms.middle))
        size = size + 2 * (np.abs(forms.slope) * far[:, None]).sum(axis=2)
        slop = SLOP * (float(size.max()) + way.far)
        ends = [v.ctypes.data for v in (forms.under, forms.over, *way.tables)]
        numbers = len(way.parts), inputs, self.outputs, way.widest, forms.begin, self.chain.layers[0].zero_in
        grid = Grid(ctypes.addressof(way.parts), *ends, limit, float(self.chain.units.scale), slop, *numbers)
        names = "first", "last", "lower", "upper", "middle", "slope", "c", "rest"
        apart = -(-max(INNER, int(spans[:, -1].max())) // ROOM) * ROOM
        most = min(most, int(spans.prod(axis=1).max()))
        bound, worst = np.zeros((count, self.outputs)), np.zeros(count)
        place, found, above = np.full(count, -1), np.empty(count, np.int64), np.empty((count, most), np.int64)
        tables = np.empty(2 * self.outputs * int(spans.sum(axis=1).max()))
        space = np.empty((way.widest + 2 * self.outputs) * apart + 2 * way.widest * ROOM, np.float32)
        made = [np.ascontiguousarray(getattr(forms, name)) for name in names]
        self.library.tb_gaps(
            ctypes.byref(grid), ctypes.c_int64(count), ctypes.c_int64(INNER), *map(pointer, made),
            *map(pointer, (bound, worst, place, found, above)), ctypes.c_int64(most),
            pointer(tables), pointer(space),
        )  # fmt: skip
        return [
            None if n < 0 else Gaps(bound[k], float(worst[k]), int(place[k]), above[k, :n].copy())
            for k, n in enumerate(found.tolist())
        ]

    def moving(self, first: Ints, last: Ints) -> _Way | None:
        """What moves in a box that holds all asked for so far, for tb_gaps; None: it cannot do that."""
        if self._hull is None or (first < self._hull[0]).any() or (last > self._hull[1]).any():
            low, high = self._hull or (first, last)
            self._hull = np.minimum(first, low), np.maximum(last, high)
            self._way = _way(self.chain, *self._hull)
        return self._way

    def room(self) -> int:
        """Numbers that tb_linear needs for one box."""
        sizes = [ctypes.c_int64(n) for n in (self.inputs, self.widest, self.neurons)]
        return int(self.library.tb_room(*sizes))

    def linear(self, lower: Floats, upper: Floats) -> Linear:
        boxes = len(lower)
        ends = np.ascontiguousarray(lower), np.ascontiguousarray(upper)
        c, r = (np.empty((boxes, self.outputs)) for _ in range(2))
        g, lip, score = (np.empty((boxes, self.outputs, self.inputs)) for _ in range(3))
        room = np.empty(self.room())
        numbers = [len(self.layers), boxes, self.widest, self.neurons]
        self._call("tb_linear", [self.layers, self.pointers], numbers, (*ends, c, g, r, lip, score, room))
        return Linear(*(np.moveaxis(v, 0, -1) for v in (c, g, r, lip, score)))

    def _call(self, name: str, tables: list[Any], numbers: list[int], arrays: Sequence[NDArray[Any]]) -> int:
        sizes = [ctypes.c_int64(n) for n in numbers]
        return int(getattr(self.library, name)(*tables, *sizes, *map(pointer, arrays)))


def _way(chain: Chain, first: Ints, last: Ints) -> _Way | None:
    way = plan(chain.layers, first, last)
    if not all(part.most < SINGLE and fine(part.layer, part.most) and len(part.rows) for part in way.parts):
        return None
    moves, out, layer = first < last, way.parts[-1].rows, way.parts[-1].layer
    low, high = scaled(np.arange(layer.lo, layer.hi + 1) - chain.units.zero, chain.units.scale)
    column, output = np.where(moves, np.cumsum(moves) - 1, -1), np.full(len(way.low), -1)
    output[out] = np.arange(len(out))
    widest = max(max(part.weights.shape) for part in way.parts)
    tables = low, high, column, output, (way.low - chain.units.zero).astype(np.float64)
    return _Way(*_parts(way), tables, widest, float(max(np.abs(low).max(), np.abs(high).max())))


def _parts(way: Plan) -> tuple[Any, list[Any]]:
    """As cells.c has them, and the arrays that they point to."""
    parts, held = (_Part * len(way.parts))(), list[Any]()
    for item, part in zip(parts, way.parts, strict=True):
        m, s = part.layer.m[part.rows], part.layer.s[part.rows]
        item.small = part.most < SINGLE
        weights = part.weights.astype(np.float32) if item.small else part.weights
        numbers = weights, part.start, m * 2.0 ** -s.astype(np.float64), m, s
        held.append([np.ascontiguousarray(v) for v in numbers])
        item.w, item.start, item.scale, item.law.m, item.law.s = (v.ctypes.data for v in held[-1])
        _describe(item.law, part.layer, part.weights.shape)
        item.exact = fine(part.layer, part.most)
    return parts, held


def _describe(item: _Layer, layer: Layer, shape: tuple[int, ...]) -> None:
    numbers = (*shape, layer.zero_in, layer.zero, layer.lo, layer.hi, MODES.index(layer.mode))
    for name, number in zip(NAMES, numbers, strict=True):
        setattr(item, name, number)


def _arrays(layer: Any) -> tuple[NDArray[Any], ...]:
    return layer.w, layer.b, layer.counts, layer.bias, layer.m, layer.s


def padded(count: int) -> int:
    """Numbers of a row of keys: whole words."""
    return -(-count // 4) * 4


def _vectors(first: Ints, last: Ints) -> NDArray[np.int16]:
    """All integers from first to last (cells, elements), the last one fastest."""
    axes = [np.arange(a, b + 1, dtype=np.int16) for a, b in zip(first, last, strict=True)]
    grid = np.empty((*(len(axis) for axis in axes), len(axes)), np.int16)
    for i, axis in enumerate(axes):
        grid[..., i] = axis.reshape(-1, *(1,) * (len(axes) - 1 - i))
    return grid.reshape(-1, len(axes)) if axes else np.empty((1, 0), np.int16)
