# SPDX-License-Identifier: Apache-2.0
"""ConvTranspose: zeros between the elements, then a convolution whose kernels are turned round."""

from __future__ import annotations

import numpy as np

from ...ops.base import MAX_ELEMENTS, Unsupported
from .lines import line
from .site import Site


def conv_transpose(site: Site) -> bool:
    """y = Conv(x with stride - 1 zeros between elements, w turned round)."""
    if line(site):
        return True
    shape, weights, groups = site.first, site.given(1), int(site.get("group", 1))
    if weights is None or weights.ndim != 4 or len(shape) != 3 or weights.shape[0] != shape[0]:
        found = () if weights is None else weights.shape
        raise Unsupported(f"weights of shape {found} for an input of shape {shape}", "(C, O, KH, KW)")
    if groups < 1 or shape[0] % groups:
        raise Unsupported(f"group {groups} for {shape[0]} channels")
    kernel = weights.shape[2:]
    if tuple(site.get("kernel_shape", kernel)) != kernel:
        raise Unsupported(f"kernel_shape {site.get('kernel_shape', ())} beside weights {weights.shape}")
    strides, dilations = (tuple(site.get(key, (1, 1))) for key in ("strides", "dilations"))
    spans = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    begins, ends = _pads(site, kernel, strides, dilations)
    positions = site.positions()
    extents = [(n - 1) * s + 1 for n, s in zip(shape[1:], strides, strict=True)]
    if shape[0] * extents[0] * extents[1] > MAX_ELEMENTS:
        raise Unsupported(f"a map of {extents} with zeros put in", f"at most {MAX_ELEMENTS} elements")
    wide = np.full((1, shape[0], *extents), -1)
    wide[:, :, :: strides[0], :: strides[1]] = positions
    # Output row i reads rows i - begin ... of the wide map; a negative number of them is cut off.
    first = [span - begin for span, begin in zip(spans, begins, strict=True)]
    last = [span - end for span, end in zip(spans, ends, strict=True)]
    rows, columns = (slice(max(-a, 0), n - max(-b, 0)) for a, b, n in zip(first, last, extents, strict=True))
    stuffed = site.take(wide[:, :, rows, columns], "stuffed")
    pads = [max(n, 0) for n in (*first, *last)]
    turned = _turned(site, groups, weights.shape)
    site.put(
        "Conv", [stuffed, turned, *site.inputs[2:]], group=groups, dilations=dilations, pads=pads,
        kernel_shape=kernel,
    )  # fmt: skip
    return True


def _pads(
    site: Site, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """What is cut off the full output at the beginning and the end of each axis; less than nothing: added."""
    more = tuple(site.get("output_padding", (0, 0)))
    pads, mode = tuple(site.get("pads", (0, 0, 0, 0))), site.get("auto_pad", "NOTSET")
    if [len(each) for each in (kernel, strides, dilations, more, pads)] != [2, 2, 2, 2, 4]:
        raise Unsupported("attributes of another rank", "two axes")
    if min(*strides, *dilations) < 1 or mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"strides {strides}, dilations {dilations}, auto_pad {mode!r}", "explicit pads")
    wanted = site.get("output_shape", None)
    if wanted is None and mode.startswith("SAME"):
        wanted = [n * s for n, s in zip(site.first[1:], strides, strict=True)]
    if wanted is None:
        pads = (0, 0, 0, 0) if mode == "VALID" else pads
        return list(pads[:2]), [p - m for p, m in zip(pads[2:], more, strict=True)]
    begins, ends = [], []
    for n, k, s, d, m, out in zip(site.first[1:], kernel, strides, dilations, more, wanted[-2:], strict=True):
        total = s * (n - 1) + m + (k - 1) * d + 1 - out
        if total < 0:
            raise Unsupported(f"an output of {out} from {n} with stride {s}", "explicit pads")
        begins.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
        ends.append(total - begins[-1] - m)
    return begins, ends


def _turned(site: Site, groups: int, shape: tuple[int, ...]) -> str:
    """(C, O / groups, KH, KW) -> (O, C / groups, KH, KW), both kernel axes reversed."""
    inputs, outputs, *kernel = shape
    split = site.constant("split.shape", (groups, inputs // groups, outputs, *kernel))
    joined = site.constant("joined.shape", (groups * outputs, inputs // groups, *kernel))
    found = site.put("Reshape", [site.inputs[1], split], "split")
    found = site.put("Transpose", [found], "swapped", perm=[0, 2, 1, 3, 4])
    found = site.put("Reshape", [found, joined], "joined")
    for axis, size in zip((2, 3), kernel, strict=True):
        back = site.constant(f"back{axis}.at", np.arange(size - 1, -1, -1))
        found = site.put("Gather", [found, back], f"back{axis}", axis=axis)
    return found
