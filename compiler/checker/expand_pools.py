# SPDX-License-Identifier: Apache-2.0
"""Pools with rounded up sizes or with padding that does not count; PRelu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .expand_lines import line
from .files import need
from .onnx_ops import same_pads
from .place import Place


def _pool(p: Place) -> bool:
    if line(p):
        return True
    get = p.attributes.get
    mean, up, whole = p.op == "AveragePool", get("ceil_mode", 0), get("count_include_pad", 0)
    kernel, mode = get("kernel_shape", ()), get("auto_pad", "NOTSET")
    strides, dilations, pads = get("strides", (1, 1)), get("dilations", (1, 1)), get("pads", (0, 0, 0, 0))
    ranks = [len(v) for v in (kernel, strides, dilations, pads, p.first())]
    if ranks != [2, 2, 2, 4, 3] or (up and mode != "NOTSET"):
        return False
    need(min(*strides, *kernel, *dilations) > 0 <= min(pads), f"{p.name}: window")
    need(max(*kernel, *pads) <= 1 << 16, f"{p.name}: too large")
    if mode.startswith("SAME"):
        need(tuple(dilations) == (1, 1), f"{p.name}: {mode} with dilations")
        pads = same_pads(p.first()[1:], kernel, strides, dilations, upper=mode == "SAME_UPPER")
    pads = (0, 0, 0, 0) if mode == "VALID" else tuple(pads)
    if not up and (not mean or whole or not any(pads)):
        return False
    ends, windows = list(pads), []
    for i in (0, 1):
        n, s, d, begin, end = p.first()[1 + i], strides[i], dilations[i], pads[i], pads[i + 2]
        reach = d * (kernel[i] - 1) + 1
        starts = range(-begin, n + end - reach + 1, s)
        if up and starts and starts[-1] + reach < n + end and starts[-1] + s < n:
            starts = range(-begin, starts[-1] + s + 1, s)
            ends[i + 2] = starts[-1] + reach - n
        low, high = (-begin, n + end) if whole else (0, n)
        taps = [range(a, a + reach, d) for a in starts]
        need(all(_between(each, 0, n) for each in taps), f"{p.name}: a window of padding")
        windows.append([_between(each, low, high) for each in taps])
    if mean:
        _means(p, windows, strides, dilations)
    else:
        p.put(p.op, p.inputs[:1], kernel_shape=kernel, strides=strides, pads=ends, dilations=dilations)
    return True


def _between(taps: range, low: int, high: int) -> range:
    """Those of a window's taps, at least one, that are at least `low` and less than `high`."""
    below, until = (len(range(taps.start, end, taps.step)) for end in (low, high))
    return taps[below:until]


def _alike(windows: list[range], stride: int) -> list[list[range]]:
    """Neighbours of one length that begin `stride` elements apart."""
    found: list[list[range]] = []
    for w in windows:
        last = found[-1][-1] if found else range(0)
        if len(last) == len(w) and w.start == last.start + stride and found:
            found[-1].append(w)
        else:
            found.append([w])
    return found


def _means(p: Place, windows: list[list[range]], strides: Any, dilations: Any) -> None:
    """Mean by mean of windows of one size, joined by columns, then by rows."""
    c, h, w = p.first()
    groups = [_alike(at, s) for at, s in zip(windows, strides, strict=True)]
    count = [len(found) for found in groups]
    need(count[0] * count[1] <= 256, f"{p.name}: {count} sizes of windows")
    index, lines = np.arange(c * h * w).reshape(1, c, h, w), []
    for i, across in enumerate(groups[0]):
        means = []
        for j, along in enumerate(groups[1]):
            (top, bottom), (left, right) = ((x[0].start, x[-1][-1] + 1) for x in (across, along))
            part = p.take(index[:, :, max(top, 0) : bottom, max(left, 0) : right], f"part{i}.{j}")
            more = {
                "kernel_shape": (len(across[0]), len(along[0])),
                "strides": strides,
                "dilations": dilations,
                "pads": (max(-top, 0), max(-left, 0), max(bottom - h, 0), max(right - w, 0)),
                "count_include_pad": 1,
            }
            means.append(p.put("AveragePool", [part], f"mean{i}.{j}" if count != [1, 1] else "", **more))
        if count[1] > 1:
            means = [p.put("Concat", means, f"row{i}" if count[0] > 1 else "", axis=3)]
        lines += means
    if count[0] > 1:
        p.put("Concat", lines, axis=2)


def _prelu(p: Place) -> bool:
    p.only()
    need(len(p.inputs) == 2 and p.inputs[1] in p.constants, f"{p.name}: slopes")
    above, limit = p.put("Relu", p.inputs[:1], "positive"), p.free("limit")
    p.constants[limit] = np.zeros((), np.float32)
    if p.opset < 11:
        below = p.put("Clip", p.inputs[:1], "negative", max=0.0)
    else:
        below = p.put("Clip", [p.inputs[0], "", limit], "negative")
    p.put("Add", [above, p.put("Mul", [below, p.inputs[1]], "scaled")])
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "AveragePool"): _pool,
    ("", "MaxPool"): _pool,
    ("", "PRelu"): _prelu,
}
