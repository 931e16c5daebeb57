# SPDX-License-Identifier: Apache-2.0
"""Pools with rounded up sizes or with padding that does not count; PRelu."""

from __future__ import annotations

from collections.abc import Callable

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
    need(not mean or tuple(dilations) == (1, 1), f"{p.name}: dilations")
    need(min(*strides, *kernel, *dilations) > 0 <= min(pads), f"{p.name}: window")
    need(max(*kernel, *pads) <= 1 << 16, f"{p.name}: too large")
    if mode.startswith("SAME"):
        need(tuple(dilations) == (1, 1), f"{p.name}: {mode} with dilations")
        pads = same_pads(p.first()[1:], kernel, strides, dilations, upper=mode == "SAME_UPPER")
    pads = (0, 0, 0, 0) if mode == "VALID" else tuple(pads)
    ends, found = list(pads), []
    for i in (0, 1):
        n, s, d, begin, end = p.first()[1 + i], strides[i], dilations[i], pads[i], pads[i + 2]
        starts = range(-begin, n + end - d * (kernel[i] - 1), s)
        if up and starts and starts[-1] + d * (kernel[i] - 1) < n + end - 1 and starts[-1] + s < n:
            starts = range(-begin, starts[-1] + s + 1, s)
            ends[i + 2] = starts[-1] + d * (kernel[i] - 1) + 1 - n
        low, high = (-begin, n + end) if whole else (0, n)
        found.append([sum(low <= a + d * k < high for k in range(kernel[i])) for a in starts])
    counts = np.array([[max(a * b, 1) for b in found[1]] for a in found[0]])
    full = kernel[0] * kernel[1]
    uneven = mean and bool((counts != full).any())
    if not up and (not mean or ((whole or not any(pads)) and not uneven)):
        return False
    more = {"count_include_pad": 1} if mean else {"dilations": dilations}
    suffix = "mean" if uneven else ""
    out = p.put(p.op, p.inputs[:1], suffix, kernel_shape=kernel, strides=strides, pads=ends, **more)
    if uneven:
        name = p.free("factors")
        p.constants[name] = (full / counts)[None, None]
        p.put("Mul", [out, name])
    return True


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
