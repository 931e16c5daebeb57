# SPDX-License-Identifier: Apache-2.0
"""ConvTranspose as a Conv over the input with zeros between its elements."""

from __future__ import annotations

import numpy as np

from .expand_lines import line
from .expand_takes import grid
from .files import need
from .place import Place


def conv_transpose(p: Place) -> bool:
    """Per axis: the full output has s (n - 1) + d (k - 1) + 1 places, and some are cut off or added."""
    if line(p):
        return True
    p.only(
        "auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"
    )
    shape = p.first()
    need(len(p.inputs) > 1 and p.inputs[1] in p.constants, f"{p.name}: weights that are not constant")
    w = p.constants[p.inputs[1]]
    get, groups = p.attributes.get, int(p.attributes.get("group", 1))
    need(w.ndim == 4 and len(shape) == 3 and len(w) == shape[0], f"{p.name}: weights {w.shape}")
    need(groups > 0 and shape[0] % groups == 0, f"{p.name}: group")
    need(tuple(get("kernel_shape", w.shape[2:])) == w.shape[2:], f"{p.name}: kernel_shape")
    strides, dilations, more = (
        get(key, (fill, fill)) for key, fill in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads, mode, wanted = get("pads", (0, 0, 0, 0)), get("auto_pad", "NOTSET"), get("output_shape")
    sizes = [len(v) for v in (strides, dilations, more, pads)]
    need(sizes == [2, 2, 2, 4] and min(*strides, *dilations) > 0, f"{p.name}: attributes")
    need(mode in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"{p.name}: auto_pad")
    lists, around = [[0], list(range(shape[0]))], [0, 0, 0, 0]
    for axis in (0, 1):
        n, k, s, d, extra = (v[axis] for v in (shape[1:], w.shape[2:], strides, dilations, more))
        full = s * (n - 1) + d * (k - 1) + 1
        begin, end = (0, 0) if mode == "VALID" else (pads[axis], pads[axis + 2])
        if wanted is not None or mode.startswith("SAME"):
            out = n * s if wanted is None else wanted[len(wanted) - 2 + axis]
            cut = full + extra - out
            need(cut >= 0, f"{p.name}: output_shape")
            begin, end = (cut // 2, cut - cut // 2)[:: 1 if mode == "SAME_UPPER" else -1]
        places = [i // s if i % s == 0 else -1 for i in range(s * (n - 1) + 1)]
        before, after = d * (k - 1) - begin, d * (k - 1) - end + extra
        lists.append(places[max(-before, 0) : len(places) - max(-after, 0)])
        around[axis], around[axis + 2] = max(before, 0), max(after, 0)
    stuffed = p.take(grid(p, lists), "stuffed")
    parts = np.split(w, groups)
    turned = np.concatenate([part.swapaxes(0, 1) for part in parts])[:, :, ::-1, ::-1]
    name = p.free("turned")
    p.constants[name] = np.ascontiguousarray(turned)
    p.put(
        "Conv", [stuffed, name, *p.inputs[2:]], group=groups, dilations=dilations, pads=around,
        kernel_shape=w.shape[2:],
    )  # fmt: skip
    return True
