# SPDX-License-Identifier: Apache-2.0
"""Sliding windows: output sizes and im2col indices, shared by convolution and pooling."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import MAX_ELEMENTS, OnnxNode, Unsupported

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, left, bottom, right


def output_size(size: Pair, kernel: Pair, strides: Pair, dilations: Pair, pads: Pads) -> Pair:
    """Output (height, width) of a window sliding over a padded (height, width)."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = (size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3])
    height, width = ((p - s) // t + 1 for p, s, t in zip(padded, spans, strides, strict=True))
    return height, width


@lru_cache(maxsize=256)
def im2col(
    size: tuple[int, int, int], kernel: Pair, strides: Pair, dilations: Pair, pads: Pads
) -> NDArray[np.int64]:
    """Flat source positions (C, KH * KW, OH * OW) in a (C, H, W) tensor; -1 is padding."""
    channels, height, width = size
    out_h, out_w = output_size((height, width), kernel, strides, dilations, pads)
    rows = np.arange(kernel[0])[:, None] * dilations[0] + np.arange(out_h)[None, :] * strides[0] - pads[0]
    cols = np.arange(kernel[1])[:, None] * dilations[1] + np.arange(out_w)[None, :] * strides[1] - pads[1]
    y = rows[:, None, :, None]
    x = cols[None, :, None, :]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    flat = np.where(inside, y * width + x, -1).reshape(kernel[0] * kernel[1], out_h * out_w)
    planes = np.arange(channels)[:, None, None] * (height * width)
    index: NDArray[np.int64] = np.where(flat[None] >= 0, flat[None] + planes, -1)
    index.setflags(write=False)
    return index


def parse_window(node: OnnxNode, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilations and explicit pads of an ONNX window op on (C, H, W)."""
    shape = node.shapes[0]
    if len(shape) != 3:
        raise Unsupported(f"input of shape {shape} without batch", "a two-dimensional (C, H, W) input")
    strides = tuple(node.get("strides", (1, 1)))
    dilations = tuple(node.get("dilations", (1, 1)))
    pads = tuple(node.get("pads", (0, 0, 0, 0)))
    mode = node.get("auto_pad", "NOTSET")
    for what, extents in (("kernel", kernel), ("strides", strides), ("dilations", dilations)):
        if len(extents) != 2 or min(extents) < 1:
            raise Unsupported(f"{what} {extents}", "two positive numbers")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = same_pads(shape[1:], kernel, strides, dilations, upper=mode == "SAME_UPPER")
    elif mode == "VALID":
        pads = (0, 0, 0, 0)
    elif mode != "NOTSET":
        raise Unsupported(f"auto_pad {mode!r}", "explicit pads")
    if len(pads) != 4:
        raise Unsupported(f"pads {pads}", "four numbers")
    if min(pads) < 0:
        raise Unsupported(f"negative pads {pads}", "a Slice before the window")
    height, width = output_size(shape[1:], (kernel[0], kernel[1]), strides, dilations, pads)
    if min(height, width) < 1:
        raise Unsupported(f"a {kernel} window on {shape}", "a smaller kernel or larger pads")
    taps = shape[0] * kernel[0] * kernel[1] * height * width
    if taps > 8 * MAX_ELEMENTS:
        raise Unsupported(f"a window op that reads {taps} elements", f"at most {8 * MAX_ELEMENTS}")
    return {"size": tuple(shape), "strides": strides, "dilations": dilations, "pads": pads}


def same_pads(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    *,
    upper: bool,
) -> Pads:
    """ONNX auto_pad: output = ceil(input / stride), the odd pad at the end (SAME_UPPER) or the beginning."""
    begin, end = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if upper else large)
        end.append(large if upper else small)
    return begin[0], begin[1], end[0], end[1]
