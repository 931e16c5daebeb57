# SPDX-License-Identifier: Apache-2.0
"""Ops that put elements at constant positions, each by what numpy does to an array of positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ops.base import MAX_ELEMENTS, Unsupported
from ..constants import sliced
from ..qdq import taken_off
from .site import Site

LARGEST = 1e6  # beyond it a number means "never the largest", and would ruin the scale of its tensor


def slice_(site: Site) -> bool:
    """Slice: attributes until opset 9, inputs from 10 on."""
    starts, ends = site.integers(1, "starts"), site.integers(2, "ends")
    if starts is None or ends is None:
        raise Unsupported("a Slice without starts or ends")
    axes = site.integers(3, "axes") or tuple(range(len(starts)))
    steps = site.integers(4, "steps") or (1,) * len(starts)
    positions = site.positions()
    site.take(sliced(positions, [_axis(axis, positions.ndim) for axis in axes], starts, ends, steps))
    return True


def split(site: Site) -> bool:
    """Split: one Take per output that is used."""
    positions = site.positions()
    axis, count = _axis(site.get("axis", 0), positions.ndim), len(site.proto.output)
    extent = positions.shape[axis]
    sizes = site.integers(1, "split")
    if sizes is None:
        each = -(-extent // site.get("num_outputs", count))
        sizes = tuple(min(each, extent - each * i) for i in range(count))
    if len(sizes) != count or sum(sizes) != extent:
        raise Unsupported(f"parts {list(sizes)} of {extent}", "parts that add up")
    parts = np.split(positions, np.cumsum(sizes)[:-1], axis=axis)
    for i, part in enumerate(parts):
        if site.proto.output[i]:
            site.take(part, result=i)
    return True


def pad(site: Site) -> bool:
    """Pad with a number, or by the map's own elements (reflect, edge, wrap); negative pads cut off."""
    positions, mode = site.positions(), site.get("mode", "constant")
    pads, value = site.integers(1, "pads"), site.given(2)
    axes = site.integers(3, "axes") or tuple(range(positions.ndim))
    value = np.asarray(site.get("value", 0.0)) if value is None else value
    if pads is None or len(pads) != 2 * len(axes):
        raise Unsupported(f"pads {pads}", "a beginning and an end per axis")
    number = _number(site, value)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise Unsupported(f"mode {mode!r}", "constant, reflect, edge or wrap")
    around, cut = [(0, 0)] * positions.ndim, [slice(None)] * positions.ndim
    for axis, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        at = _axis(axis, positions.ndim)
        around[at] = (max(begin, 0), max(end, 0))
        cut[at] = slice(max(-begin, 0), positions.shape[at] + sum(around[at]) - max(-end, 0))
        if mode != "constant" and min(begin, end) < 0:
            raise Unsupported(f"negative pads {list(pads)} in mode {mode}", "a Slice")
    _affordable([n + sum(more) for n, more in zip(positions.shape, around, strict=True)])
    more: dict[str, Any] = {"constant_values": -1} if mode == "constant" else {}
    site.take(np.pad(positions, around, mode, **more)[tuple(cut)], pad=number)
    return True


def _number(site: Site, value: NDArray[Any]) -> float:
    """The real number that a Pad puts in; among quantised integers what the integer stands for."""
    held = float(value.ravel()[0]) if value.size else 0.0
    if not abs(held) < LARGEST:
        raise Unsupported(f"a Pad with {held}", "pads of the MaxPool behind it")
    if site.inputs[0] not in site.marks:
        return held
    mark = site.marks[site.inputs[0]]
    if mark.scale is None:
        raise Unsupported("Pad of integers before their scale", "DequantizeLinear in front of it")
    return float(mark.scale.scale * (int(held) - taken_off(mark.kind) - mark.scale.zero))


def expand(site: Site) -> bool:
    """Expand: broadcasting, of both shapes."""
    target = site.integers(1, "shape") or ()
    shape = np.broadcast_shapes(site.full(site.inputs[0]), target)
    _affordable(shape)
    site.take(np.broadcast_to(site.positions(), shape))
    return True


def tile(site: Site) -> bool:
    """Tile: repeats per axis."""
    repeats = site.integers(1, "repeats") or ()
    positions = site.positions()
    if len(repeats) != positions.ndim:
        raise Unsupported(f"repeats {list(repeats)}", f"{positions.ndim} numbers")
    _affordable([n * r for n, r in zip(positions.shape, repeats, strict=True)])
    site.take(np.tile(positions, repeats))
    return True


def gather(site: Site) -> bool:
    """Gather with constant indices."""
    positions, indices = site.positions(), site.given(1)
    axis = _axis(site.get("axis", 0), positions.ndim)
    if indices is None:
        raise Unsupported("Gather without indices", "constant indices")
    _affordable([n * (indices.size if i == axis else 1) for i, n in enumerate(positions.shape)])
    site.take(np.take(positions, indices.astype(np.int64), axis=axis))
    return True


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} of rank {rank}")
    return axis % rank


def _affordable(shape: Sequence[int]) -> None:
    if np.prod([float(n) for n in shape]) > MAX_ELEMENTS:
        raise Unsupported(f"an output of shape {tuple(shape)}", f"at most {MAX_ELEMENTS} elements")
