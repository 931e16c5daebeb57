# SPDX-License-Identifier: Apache-2.0
"""Maps of another size with the same elements: nearest neighbours, blocks of channels."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from .expand_takes import grid
from .files import MAX_ELEMENTS, need
from .place import Place


def _text(p: Place, key: str, default: str) -> str:
    found = p.attributes.get(key, default)
    return found.decode() if isinstance(found, bytes) else str(found)


def _resize(p: Place) -> bool:
    """Per axis the nearest of the old places to where each new one lies, in rationals."""
    p.only("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside",
           "extrapolation_value", "antialias", "keep_aspect_ratio_policy", "scales")  # fmt: skip
    need(_text(p, "mode", "nearest") == "nearest", f"{p.name}: interpolates")
    need(_text(p, "keep_aspect_ratio_policy", "stretch") == "stretch", f"{p.name}: keeps an aspect")
    full, early = p.file_shape(p.inputs[0]), p.opset < 11 or p.op == "Upsample"
    need(p.first_axis(p.inputs[0]) and not p.attributes.get("antialias", 0), f"{p.name}: axes")
    given: list[Any] = [p.constants[i] if i else None for i in p.inputs[1:]] + [None] * 3
    scales, sizes = (given[0], None) if early else (given[1], given[2])
    if sizes is not None and sizes.size:
        need(sizes.size == len(full), f"{p.name}: sizes")
        new = [int(n) for n in sizes.ravel()]
        ratios = [Fraction(a, b) for a, b in zip(new, full, strict=True)]
    else:
        need(scales is not None and scales.size == len(full), f"{p.name}: scales")
        ratios = [Fraction(s) for s in scales.ravel().tolist()]
        new = [int(ratio * n) for ratio, n in zip(ratios, full, strict=True)]
    need(min(new) > 0 and min(ratios) > 0, f"{p.name}: sizes {new}")
    need(np.prod([float(n) for n in new]) <= MAX_ELEMENTS, f"{p.name}: too large")
    need(all(r == int(r) or 1 / r == int(1 / r) for r in ratios), f"{p.name}: ratios {ratios}")
    p.take(
        grid(p, [[_from(p, i, n, m, r) for i in range(m)] for n, m, r in zip(full, new, ratios, strict=True)])
    )
    return True


def _from(p: Place, i: int, n: int, m: int, ratio: Fraction) -> int:
    kind = _text(p, "coordinate_transformation_mode", "asymmetric" if p.opset < 11 else "half_pixel")
    known = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "tf_half_pixel_for_nn")
    need(kind in known, f"{p.name}: coordinates {kind!r}")
    if kind == "tf_half_pixel_for_nn" and ratio == 1:
        place = Fraction(i)
    elif kind == "align_corners":
        place = Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)
    elif kind == "asymmetric":
        place = i / ratio
    else:
        place = Fraction(2 * i + 1, 2) / ratio
        place -= 0 if kind == "tf_half_pixel_for_nn" else Fraction(1, 2)
    if kind == "pytorch_half_pixel" and m == 1:
        place = Fraction(0)
    lower = place.numerator // place.denominator
    rest, how = place - lower, _text(p, "nearest_mode", "floor" if p.opset < 11 else "round_prefer_floor")
    upwards = {"floor": False, "ceil": rest > 0, "round_prefer_floor": 2 * rest > 1,
               "round_prefer_ceil": 2 * rest >= 1}  # fmt: skip
    need(how in upwards, f"{p.name}: nearest {how!r}")
    return min(max(lower + upwards[how], 0), n - 1)


def _blocks(p: Place) -> tuple[int, int, int, int]:
    need(p.first_axis(p.inputs[0]) and len(p.first()) == 3, f"{p.name}: no map")
    b = int(p.attributes.get("blocksize", 0))
    need(b > 0, f"{p.name}: blocks of {b}")
    c, h, w = p.first()
    return c, h, w, b


def _depth_to_space(p: Place) -> bool:
    """Element (c, y, x) is from a channel that its place within the block names."""
    p.only("blocksize", "mode")
    c, h, w, b = _blocks(p)
    mode = _text(p, "mode", "DCR")
    need(mode in ("DCR", "CRD") and c % (b * b) == 0, f"{p.name}: mode or blocks")
    few = c // (b * b)
    channel, y, x = np.ix_(np.arange(few), np.arange(h * b), np.arange(w * b))
    block = (y % b) * b + x % b
    source = block * few + channel if mode == "DCR" else channel * b * b + block
    p.take(((source * h + y // b) * w + x // b)[None])
    return True


def _space_to_depth(p: Place) -> bool:
    p.only("blocksize")
    c, h, w, b = _blocks(p)
    need(h % b == w % b == 0, f"{p.name}: blocks")
    channel, y, x = np.ix_(np.arange(c * b * b), np.arange(h // b), np.arange(w // b))
    block = channel // c
    p.take((((channel % c) * h + y * b + block // b) * w + x * b + block % b)[None])
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "Resize"): _resize,
    ("", "Upsample"): _resize,
    ("", "DepthToSpace"): _depth_to_space,
    ("", "SpaceToDepth"): _space_to_depth,
}
