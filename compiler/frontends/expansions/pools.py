# SPDX-License-Identifier: Apache-2.0
"""Pools: over a whole map, with rounded up sizes, with padding that does not count."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...ops.base import MAX_ELEMENTS, Unsupported
from ...ops.window import same_pads
from .lines import line
from .moves import axes_of
from .site import Site

Window = tuple[int, int]
MAX_PARTS = 256  # rectangles of windows of one size


def global_max_pool(site: Site) -> bool:
    """A window as large as the map."""
    if len(site.first) < 2:
        raise Unsupported(f"input of shape {site.first} without batch", "an input (C, ...) of rank 2 or more")
    site.put("MaxPool", site.inputs[:1], kernel_shape=site.first[1:])
    return True


def reduce(site: Site) -> bool:
    """ReduceMean, ReduceSum, ReduceMax over any axes but the batch: a pool of a map that a Take makes."""
    shape, axes, op = site.first, site.integers(1, "axes"), site.proto.op_type
    pool = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}.get(op, "")
    if not axes and site.get("noop_with_empty_axes", 0):
        site.put("Identity", site.inputs[:1])
        return True
    what = {"ReduceMean": "mean", "ReduceMax": "maximum"}.get(op, "sum")
    if not axes:
        raise Unsupported(f"a {what} over all axes, the batch among them", "axes")
    found, kept = axes_of(axes, len(shape) + 1), bool(site.get("keepdims", 1))
    out = tuple(1 if a in found else n for a, n in enumerate(shape, 1) if kept or a not in found)
    if not out:
        raise Unsupported(f"{what} over axes {found} of shape {(1, *shape)}", "keepdims = 1")
    if pool and len(shape) > 1 and found == list(range(2, len(shape) + 1)):
        if kept:
            site.put(pool, site.inputs[:1])
        else:
            site.reshape(site.put(pool, site.inputs[:1], "kept"), out)
        return True
    gone = [a - 1 for a in found]
    others = [a for a in range(len(shape)) if a not in gone]
    count = prod(shape[a] for a in others)
    places = site.places(site.inputs[0]).transpose(*others, *gone).reshape(count, -1, 1)
    source = site.moved(site.inputs[0], places, "map")
    if pool:
        pooled = site.put(pool, [source], what, name=site.name)
    else:
        pooled = site.put("Total", [source], "total", name=site.name, domain="tinybound")
    site.reshape(pooled, out, name=f"{site.name}.shape")
    return True


def uneven_pool(site: Site) -> bool:
    """MaxPool with ceil_mode as longer pads. AveragePool whose windows hold different numbers of elements as
    one AveragePool per kind of window, joined: so every mean is rounded once."""
    if line(site):
        return True
    average, ceil = site.proto.op_type == "AveragePool", site.get("ceil_mode", 0)
    kernel, pads = tuple(site.get("kernel_shape", ())), tuple(site.get("pads", (0, 0, 0, 0)))
    strides, dilations = (tuple(site.get(key, (1, 1))) for key in ("strides", "dilations"))
    size, mode = site.first[1:], site.get("auto_pad", "NOTSET")
    plain = {len(size), len(kernel), len(strides), len(dilations), len(pads) // 2} == {2}
    dilated = dilations != (1, 1) and mode.startswith("SAME")
    if not plain or dilated or min(*strides, *kernel, *dilations) < 1 or (ceil and mode != "NOTSET"):
        return False  # the op says what is wrong
    if mode.startswith("SAME"):
        pads = same_pads(size, kernel, strides, dilations, upper=mode == "SAME_UPPER")
    elif mode == "VALID":
        pads = (0, 0, 0, 0)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    room = [n + a + b - s for n, a, b, s in zip(size, pads[:2], pads[2:], spans, strict=True)]
    if min(*room, *pads) < 0 or (room[0] // strides[0] + 2) * (room[1] // strides[1] + 2) > MAX_ELEMENTS:
        return False
    counted = site.get("count_include_pad", 0) or not any(pads)
    if not ceil and (not average or counted):
        return False
    longer, axes = list(pads), []
    for axis, (n, s, d, span) in enumerate(zip(size, strides, dilations, spans, strict=True)):
        begin, end = pads[axis], pads[axis + 2]
        out = (n + begin + end - span) // s + 1
        if ceil and (n + begin + end - span) % s and out * s < n + begin:  # a last window that starts inside
            out += 1
            longer[axis + 2] = (out - 1) * s + span - n - begin
        limits = (-begin, n + end) if counted else (0, n)
        starts = [i * s - begin for i in range(out)]
        if not all(_within(a, span, d, (0, n)) for a in starts):
            raise Unsupported("a window of padding only", "pads smaller than the kernel")
        axes.append(_runs([_within(a, span, d, limits) for a in starts], s))
    if average:
        _means(site, axes, strides, dilations)
    else:
        site.put("MaxPool", site.inputs[:1], kernel_shape=kernel, strides=strides, pads=longer,
                 dilations=dilations)  # fmt: skip
    return True


def _within(start: int, span: int, dilation: int, limits: Window) -> range:
    """The taps of a window that lie in limits[0] ... limits[1] - 1."""
    before = max(0, -((start - limits[0]) // dilation))
    return range(start + before * dilation, min(start + span, limits[1]), dilation)


def _runs(windows: Sequence[range], stride: int) -> list[tuple[int, int, int]]:
    """(first tap, one after the last, taps of a window) of neighbouring windows with as many taps."""
    runs: list[tuple[int, int, int]] = []
    before = 0
    for taps in windows:
        if runs and runs[-1][2] == len(taps) and taps[0] - before == stride:
            runs[-1] = (runs[-1][0], taps[-1] + 1, len(taps))
        else:
            runs.append((taps[0], taps[-1] + 1, len(taps)))
        before = taps[0]
    return runs


def _means(
    site: Site, axes: Sequence[Sequence[tuple[int, int, int]]], strides: Window, dilations: Window
) -> None:
    """A pool per rectangle of places whose windows are alike, and their results side by side."""
    rows, columns = axes
    if len(rows) * len(columns) > MAX_PARTS:
        raise Unsupported(f"{len(rows)} x {len(columns)} sizes of windows", f"at most {MAX_PARTS}")
    several, positions = len(rows) * len(columns) > 1, site.positions()
    height, width = positions.shape[2:]
    lines = []
    for i, (top, bottom, tall) in enumerate(rows):
        means = []
        for j, (left, right, wide) in enumerate(columns):
            at = f"{i}.{j}"
            inside = positions[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            pads = (max(-top, 0), max(-left, 0), max(bottom - height, 0), max(right - width, 0))
            means.append(
                site.put(
                    "AveragePool", [site.take(inside, f"part{at}")], f"mean{at}" if several else "",
                    kernel_shape=(tall, wide), strides=strides, dilations=dilations,
                    pads=pads, count_include_pad=1,
                )
            )  # fmt: skip
        name = f"row{i}" if len(rows) > 1 else ""
        lines.append(site.put("Concat", means, name, axis=3) if len(means) > 1 else means[0])
    if len(rows) > 1:
        site.put("Concat", lines, axis=2)
