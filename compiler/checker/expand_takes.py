# SPDX-License-Identifier: Apache-2.0
"""Nodes that put elements at constant positions: per axis a list of where they come from, -1 for 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .constants import sliced
from .files import MAX_ELEMENTS, need
from .place import Place
from .stored import span

Lists = list[list[int]]


def _whole(p: Place) -> Lists:
    return [list(range(n)) for n in p.file_shape(p.inputs[0])]


def grid(p: Place, lists: Lists) -> NDArray[np.int64]:
    """Flat positions of every combination; -1 where one of the lists says so."""
    full = p.file_shape(p.inputs[0])
    full, total = (1,) * (len(lists) - len(full)) + full, np.zeros((), np.int64)
    need(np.prod([float(len(found)) for found in lists]) <= MAX_ELEMENTS, f"{p.name}: too large")
    for n, found in zip(full, lists, strict=True):
        at = np.array(found, np.int64)
        total = total[..., None]
        total = np.where((total < 0) | (at < 0), -1, total * n + at)
    return np.asarray(total)


def _slice(p: Place) -> bool:
    p.only("starts", "ends", "axes")
    starts, ends = p.ints("starts", 1), p.ints("ends", 2)
    need(starts is not None and ends is not None, f"{p.name}: no starts or ends")
    assert starts is not None and ends is not None
    axes, steps = p.ints("axes", 3) or list(range(len(starts))), p.ints("steps", 4) or [1] * len(starts)
    need(len(starts) == len(ends) == len(axes) == len(steps), f"{p.name}: lengths")
    need(len({p.axis(a) for a in axes}) == len(axes) and 0 not in steps, f"{p.name}: axes or steps")
    lists = _whole(p)
    for a, start, end, step in zip(axes, starts, ends, steps, strict=True):
        lists[p.axis(a)] = list(sliced(len(lists[p.axis(a)]), start, end, step))
    p.take(grid(p, lists))
    return True


def _split(p: Place) -> bool:
    p.only("axis", "split", "num_outputs")
    axis, count = p.axis(p.attributes.get("axis", 0)), len(p.outputs)
    lists, sizes = _whole(p), p.ints("split", 1)
    extent = len(lists[axis])
    if sizes is None:
        need(p.attributes.get("num_outputs", count) == count, f"{p.name}: outputs")
        each = (extent + count - 1) // count
        sizes = [each] * (count - 1) + [extent - each * (count - 1)]
    need(len(sizes) == count and sum(sizes) == extent and min(sizes) > 0, f"{p.name}: parts {sizes}")
    for i in range(count):
        first = sum(sizes[:i])
        lists[axis] = list(range(first, first + sizes[i]))
        if p.outputs[i]:
            p.take(grid(p, lists), result=i)
    return True


def _outside(i: int, n: int, mode: str) -> int:
    """Where the element at place i of an axis of n comes from."""
    if 0 <= i < n:
        return i
    if mode == "edge":
        return 0 if i < 0 else n - 1
    if mode == "wrap":
        return i % n
    if mode == "reflect":
        i %= max(2 * n - 2, 1)
        return min(i, 2 * n - 2 - i)
    return -1


def _pad(p: Place) -> bool:
    p.only("mode", "pads", "value")
    mode, pads = p.attributes.get("mode", "constant"), p.ints("pads", 1)
    lists = _whole(p)
    axes = p.ints("axes", 3) or list(range(len(lists)))
    if isinstance(mode, bytes):
        mode = mode.decode()
    need(mode in ("constant", "reflect", "edge", "wrap"), f"{p.name}: mode {mode!r}")
    need(pads is not None and len(pads) == 2 * len(axes), f"{p.name}: pads {pads}")
    assert pads is not None
    value = p.attributes.get("value", 0.0)
    if len(p.inputs) > 2 and p.inputs[2]:
        need(p.inputs[2] in p.constants, f"{p.name}: a value that is not constant")
        value = p.constants[p.inputs[2]]
    numbers = [float(v) for v in np.ravel(value)] or [0.0]
    need(abs(numbers[0]) < 1e6, f"{p.name}: pads with {numbers[0]}")
    need(mode == "constant" or min(pads) >= 0, f"{p.name}: negative pads")
    need(len({p.axis(a) for a in axes}) == len(axes), f"{p.name}: axes")
    for a, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        n = len(lists[p.axis(a)])
        need(max(begin, end) <= MAX_ELEMENTS, f"{p.name}: too large")
        lists[p.axis(a)] = [_outside(i, n, mode) for i in range(-begin, n + end)]
    number, source = numbers[0], p.inputs[0]
    if source in p.kinds:  # an integer, which stands for a real number
        need(source in p.scales, f"{p.name}: integers without a scale")
        scale, zero = p.scales[source][:2]
        number = float(scale * (int(number) - span(p.kinds[source], p.name)[0] - zero))
    p.take(grid(p, lists), pad=number)
    return True


def _stretched(p: Place, shape: Sequence[int]) -> Lists:
    """Every axis repeated up to `shape`, whole or single elements."""
    lists = _whole(p)
    lists = [[0] for _ in range(len(shape) - len(lists))] + lists
    need(len(lists) == len(shape) and min(shape, default=1) > 0, f"{p.name}: shape {shape}")
    need(np.prod([float(n) for n in shape]) <= MAX_ELEMENTS, f"{p.name}: too large")
    return [found * (n // len(found)) for n, found in zip(shape, lists, strict=True)]


def _expand(p: Place) -> bool:
    p.only()
    target = p.ints("shape", 1) or []
    full = [*p.file_shape(p.inputs[0])]
    rank = max(len(target), len(full))
    full = [1] * (rank - len(full)) + full
    target = [1] * (rank - len(target)) + target
    need(all(a == b or 1 in (a, b) for a, b in zip(target, full, strict=True)), f"{p.name}: {target}")
    p.take(grid(p, _stretched(p, [max(a, b) for a, b in zip(target, full, strict=True)])))
    return True


def _tile(p: Place) -> bool:
    p.only()
    repeats, full = p.ints("repeats", 1) or [], p.file_shape(p.inputs[0])
    need(len(repeats) == len(full), f"{p.name}: repeats {repeats}")
    p.take(grid(p, _stretched(p, [n * r for n, r in zip(full, repeats, strict=True)])))
    return True


def _gather(p: Place) -> bool:
    p.only("axis")
    axis, given = p.axis(p.attributes.get("axis", 0)), p.ints("indices", 1)
    need(given is not None, f"{p.name}: indices")
    assert given is not None
    lists = _whole(p)
    n = len(lists[axis])
    need(all(-n <= i < n for i in given), f"{p.name}: indices {given}")
    lists[axis] = [i % n for i in given]
    found, shape = grid(p, lists), p.constants[p.inputs[1]].shape
    p.take(found.reshape(*found.shape[:axis], *shape, *found.shape[axis + 1 :]))
    return True


def _transpose(p: Place) -> bool:
    """Only one that moves the first axis, or of a tensor without batch axis."""
    p.only("perm")
    full = p.file_shape(p.inputs[0])
    perm = list(p.attributes.get("perm", range(len(full))[::-1]))
    need(sorted(perm) == list(range(len(full))), f"{p.name}: perm {perm}")
    if p.first_axis(p.inputs[0]) and perm[0] == 0:
        return False
    weights = [int(np.prod(full[a + 1 :])) for a in perm]  # how far apart neighbours along an axis are
    steps = [np.arange(full[a]) * w for a, w in zip(perm, weights, strict=True)]
    p.take(np.asarray(sum(np.ix_(*steps))))
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "Slice"): _slice,
    ("", "Split"): _split,
    ("", "Pad"): _pad,
    ("", "Expand"): _expand,
    ("", "Tile"): _tile,
    ("", "Gather"): _gather,
    ("", "Transpose"): _transpose,
}
