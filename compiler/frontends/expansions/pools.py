# SPDX-License-Identifier: Apache-2.0
"""Pools: over a whole map, with rounded up sizes, with padding that does not count."""

from __future__ import annotations

from math import prod

import numpy as np

from ...ops.base import MAX_ELEMENTS, Unsupported
from ...ops.window import same_pads
from .lines import line
from .moves import axes_of
from .site import Site


def global_max_pool(site: Site) -> bool:
    """A window as large as the map."""
    if len(site.first) < 2:
        raise Unsupported(f"input of shape {site.first} without batch", "an input (C, ...) of rank 2 or more")
    site.put("MaxPool", site.inputs[:1], kernel_shape=site.first[1:])
    return True


def reduce_mean(site: Site) -> bool:
    """The mean over rows and columns: a global average pool, and a Reshape without keepdims."""
    shape, axes = site.first, site.integers(1, "axes")
    if not axes and site.get("noop_with_empty_axes", 0):
        site.put("Identity", site.inputs[:1])
        return True
    found = axes_of(axes or tuple(range(1, len(shape) + 1)), len(shape) + 1)
    if len(shape) < 2 or found != list(range(2, len(shape) + 1)):
        raise Unsupported(f"mean over axes {found} of shape {(1, *shape)}", "all axes behind the channels")
    if site.get("keepdims", 1):
        site.put("GlobalAveragePool", site.inputs[:1])
    else:
        site.reshape(site.put("GlobalAveragePool", site.inputs[:1], "kept"), shape[:1])
    return True


def uneven_pool(site: Site) -> bool:
    """MaxPool and AveragePool with ceil_mode as longer pads; means of fewer elements than the window has are
    means with padding, times a factor per place."""
    if line(site):
        return True
    average, ceil = site.proto.op_type == "AveragePool", site.get("ceil_mode", 0)
    kernel, pads = tuple(site.get("kernel_shape", ())), tuple(site.get("pads", (0, 0, 0, 0)))
    strides, dilations = (tuple(site.get(key, (1, 1))) for key in ("strides", "dilations"))
    size, mode = site.first[1:], site.get("auto_pad", "NOTSET")
    plain = {len(size), len(kernel), len(strides), len(dilations), len(pads) // 2} == {2}
    dilated = average and dilations != (1, 1)
    dilated |= mode.startswith("SAME") and dilations != (1, 1)
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
    longer, counts = list(pads), []
    for axis, (n, k, s, d, span) in enumerate(zip(size, kernel, strides, dilations, spans, strict=True)):
        begin, end = pads[axis], pads[axis + 2]
        out = (n + begin + end - span) // s + 1
        if ceil and (n + begin + end - span) % s and out * s < n + begin:  # a last window that starts inside
            out += 1
            longer[axis + 2] = (out - 1) * s + span - n - begin
        taps = np.arange(out)[:, None] * s + np.arange(k)[None] * d - begin
        first, last = (-begin, n + end) if site.get("count_include_pad", 0) else (0, n)
        counts.append(((taps >= first) & (taps < last)).sum(axis=1))
    factors = prod(kernel) / np.maximum(np.outer(*counts), 1)
    uneven = average and (factors != 1).any()
    counted = site.get("count_include_pad", 0) or not any(pads)
    if not ceil and (not average or (counted and not uneven)):
        return False
    more = {"count_include_pad": 1} if average else {"dilations": dilations}
    found = site.put(
        site.proto.op_type, site.inputs[:1], "mean" if uneven else "",
        kernel_shape=kernel, strides=strides, pads=longer, **more,
    )  # fmt: skip
    if uneven:
        site.put("Mul", [found, site.constant("factors", factors[None, None], np.float64)])
    return True
