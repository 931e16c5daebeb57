# SPDX-License-Identifier: Apache-2.0
"""cells.c, compiled once with this computer's gcc and kept in the user's cache: numpy's numbers, sooner."""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import tempfile
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair_float import Floats, Ints
from ..errors import TinyboundError
from ..tools import run
from .cells import Kernel, Numpy
from .chain import MODES, Chain, Layer
from .linear import Linear
from .states import fine, plan

# No contraction: a fused multiplication and addition rounds once, numpy twice.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")
ROOM = 64  # inputs at a time, as in cells.c
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
        ("exact", ctypes.c_int64),
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
    source = (files(__package__) / "cells.c").read_bytes()
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


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


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

    def points(self, x: Floats, q: Ints) -> tuple[Floats, Ints]:
        count = len(x)
        x, q = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(q, np.int64)
        real, whole = np.empty((count, self.outputs)), np.empty((count, self.outputs), np.int64)
        arrays = x, q, real, whole, np.empty(2 * self.widest * ROOM)
        self._call("tb_points", [self.layers], [len(self.layers), count, self.widest], arrays)
        return real, whole

    def states(self, first: Ints, last: Ints) -> tuple[Ints, Ints]:
        way, spans = plan(self.chain.layers, first, last), last - first + 1
        count, depth, moves = int(spans.prod()), len(way.parts), first < last
        parts, held = (_Part * depth)(), list[Any]()
        for item, part in zip(parts, way.parts, strict=True):
            m, s = part.layer.m[part.rows], part.layer.s[part.rows]
            numbers = part.weights, part.start, m * 2.0 ** -s.astype(np.float64), m, s
            held.append([np.ascontiguousarray(v) for v in numbers])
            item.w, item.start, item.scale, item.law.m, item.law.s = (v.ctypes.data for v in held[-1])
            _describe(item.law, part.layer, part.weights.shape)
            item.exact = fine(part.layer, part.most)
        cells = _vectors(first[moves], last[moves])
        widest = padded(max(max(part.weights.shape) for part in way.parts))
        which, places, table = (np.empty(n, np.int32) for n in (count, count, 4 * count))
        room, keys = np.empty(2 * widest * ROOM), np.empty(2 * widest * count, np.int16)
        arrays = cells, which, room, keys, places, table
        kept, rows = self._call("tb_states", [parts], [depth, count, widest], arrays), len(way.parts[-1].rows)
        found = keys[: kept * padded(rows)].reshape(kept, padded(rows))
        return way.whole(found[:, :rows].astype(np.float64)), which.astype(np.int64)

    def linear(self, lower: Floats, upper: Floats) -> Linear:
        boxes = len(lower)
        ends = np.ascontiguousarray(lower), np.ascontiguousarray(upper)
        c, r = (np.empty((boxes, self.outputs)) for _ in range(2))
        g, lip, score = (np.empty((boxes, self.outputs, self.inputs)) for _ in range(3))
        sizes = [ctypes.c_int64(n) for n in (self.inputs, self.widest, self.neurons)]
        room = np.empty(self.library.tb_room(*sizes))
        numbers = [len(self.layers), boxes, self.widest, self.neurons]
        self._call("tb_linear", [self.layers, self.pointers], numbers, (*ends, c, g, r, lip, score, room))
        return Linear(*(np.moveaxis(v, 0, -1) for v in (c, g, r, lip, score)))

    def _call(self, name: str, tables: list[Any], numbers: list[int], arrays: Sequence[NDArray[Any]]) -> int:
        sizes = [ctypes.c_int64(n) for n in numbers]
        return int(getattr(self.library, name)(*tables, *sizes, *map(_pointer, arrays)))


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
