# SPDX-License-Identifier: Apache-2.0
"""Maps of another size that hold the same elements: Resize to the nearest, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import numpy as np

from ...ops.base import MAX_ELEMENTS, Unsupported
from .site import Site

WHOLE = "whole factors of mode nearest, or ConvTranspose"


def resize(site: Site) -> bool:
    """By whole factors, or to every so many-th element, of mode nearest: positions along each axis."""
    positions, mode = site.positions(), site.get("mode", "nearest")
    if mode != "nearest":
        raise Unsupported(f"Resize of mode {mode!r}", WHOLE)
    if site.get("antialias", 0) or "axes" in site.attributes:
        raise Unsupported("Resize with axes or antialias", "a factor or a size for every axis")
    if site.inputs[0] in site.bare:
        raise Unsupported("Resize of a tensor without batch axis", "a batch axis of one")
    sizes, factors = _targets(site)
    if len(sizes) != positions.ndim or min(sizes) < 1:
        raise Unsupported(f"Resize to {sizes}", "a size per axis")
    if np.prod([float(n) for n in sizes]) > MAX_ELEMENTS:
        raise Unsupported(f"an output of shape {tuple(sizes)}", f"at most {MAX_ELEMENTS} elements")
    for axis, (size, factor) in enumerate(zip(sizes, factors, strict=True)):
        if 1 not in (factor.numerator, factor.denominator):
            raise Unsupported(f"Resize by {float(factor)}", WHOLE)
        taken = [_nearest(site, i, positions.shape[axis], size, factor) for i in range(size)]
        positions = np.take(positions, taken, axis=axis)
    site.take(positions)
    return True


def _targets(site: Site) -> tuple[list[int], list[Fraction]]:
    """Sizes and factors of all axes."""
    full = site.full(site.inputs[0])
    old = site.proto.op_type == "Upsample" or site.opset < 11
    scales, sizes = site.given(1 if old else 2), None if old else site.given(3)
    if sizes is not None and sizes.size:
        if site.get("keep_aspect_ratio_policy", "stretch") != "stretch" or sizes.size != len(full):
            raise Unsupported("Resize to a kept aspect ratio", WHOLE)
        found = [int(n) for n in sizes.ravel()]
        return found, [Fraction(m, n) for m, n in zip(found, full, strict=True)]
    if scales is None or scales.size != len(full) or not (np.isfinite(scales).all() and (scales > 0).all()):
        raise Unsupported(f"{site.proto.op_type} without constant factors", WHOLE)
    factors = [Fraction(float(s)) for s in scales.ravel()]
    return [floor(n * s) for n, s in zip(full, factors, strict=True)], factors


def _nearest(site: Site, i: int, old: int, new: int, factor: Fraction) -> int:
    """Where element i of an axis comes from."""
    before_11 = site.opset < 11
    mode = site.get("coordinate_transformation_mode", "asymmetric" if before_11 else "half_pixel")
    rounding = site.get("nearest_mode", "floor" if before_11 else "round_prefer_floor")
    half = Fraction(1, 2)
    if mode == "tf_half_pixel_for_nn" and factor == 1:  # axes that keep their size keep their elements
        at = Fraction(i)
    elif mode == "half_pixel" or (mode == "pytorch_half_pixel" and new > 1):
        at = (i + half) / factor - half
    elif mode == "asymmetric":
        at = i / factor
    elif mode == "tf_half_pixel_for_nn":
        at = (i + half) / factor
    elif mode == "align_corners" and new > 1:
        at = Fraction(i * (old - 1), new - 1)
    elif mode in ("align_corners", "pytorch_half_pixel"):
        at = Fraction(0)
    else:
        raise Unsupported(f"Resize with coordinates {mode!r}", "half_pixel, asymmetric or align_corners")
    found = {
        "round_prefer_floor": ceil(at - half), "round_prefer_ceil": floor(at + half),
        "floor": floor(at), "ceil": ceil(at),
    }  # fmt: skip
    if rounding not in found:
        raise Unsupported(f"nearest_mode = {rounding!r}", ", ".join(found))
    return min(max(found[rounding], 0), old - 1)


def depth_to_space(site: Site) -> bool:
    """Blocks of channels side by side; DCR: the block's place is the outer part of the channel."""
    (channels, height, width), b = _map(site), int(site.get("blocksize", 0))
    if b < 1 or channels % (b * b):
        raise Unsupported(f"blocks of {b} in {channels} channels", "a blocksize whose square divides them")
    mode = site.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Unsupported(f"mode {mode!r}", "DCR or CRD")
    count, places = channels // (b * b), site.places(site.inputs[0])
    if mode == "DCR":
        parts = places.reshape(b, b, count, height, width).transpose(2, 3, 0, 4, 1)
    else:
        parts = places.reshape(count, b, b, height, width).transpose(0, 3, 1, 4, 2)
    site.take(parts.reshape(1, count, height * b, width * b))
    return True


def space_to_depth(site: Site) -> bool:
    """Each block becomes channels, its place in it the outer part."""
    (channels, height, width), b = _map(site), int(site.get("blocksize", 0))
    if b < 1 or height % b or width % b:
        raise Unsupported(f"blocks of {b} in a map of {height} x {width}", "a blocksize that divides both")
    places = site.places(site.inputs[0]).reshape(channels, height // b, b, width // b, b)
    site.take(places.transpose(2, 4, 0, 1, 3).reshape(1, channels * b * b, height // b, width // b))
    return True


def _map(site: Site) -> tuple[int, int, int]:
    if len(site.first) != 3 or site.inputs[0] in site.bare:
        raise Unsupported(f"{site.proto.op_type} of shape {site.full(site.inputs[0])}", "(1, C, H, W)")
    channels, height, width = site.first
    return channels, height, width
