# SPDX-License-Identifier: Apache-2.0
"""QONNX: Quant (IntQuant) and BipolarQuant of the three domains that its exporters use.

y = (round(clamp(x / scale + zero, lowest, highest)) - zero) * scale, by bit width, sign and narrow range.
Of a constant this is integers through DequantizeLinear; of an activation QuantizeLinear, a Clip to fewer bits
and DequantizeLinear, of two levels with a layer Sign in front. Integer ends make clamp and round commute;
with an odd zero point ties go the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ops.base import Unsupported
from .qonnx_trunc import trunc
from .site import Expansion, Site

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
Array = NDArray[Any]
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.copysign(np.ceil(np.abs(x)), x),
    "DOWN": np.trunc,
    "HALF_UP": lambda x: np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x),
    "HALF_DOWN": lambda x: np.copysign(np.ceil(np.abs(x) - np.float32(0.5)), x),
}
NEAREST = ("ROUND", "HALF_EVEN")
PER_TENSOR = "per-tensor activation scales"


def quant(site: Site) -> bool:
    """Quant(x, scale, zero, bits)."""
    lo, hi = _ends(site)
    signs = hi == 0 and bool(site.get("signed", 1))  # one bit, narrow or not: -1 and 1
    mode = str(site.get("rounding_mode", "ROUND")).upper()
    if mode not in ROUNDINGS:
        raise Unsupported(f"rounding_mode = {mode}", f"one of {', '.join(ROUNDINGS)}")
    if site.inputs[0] not in site.constants:
        if signs and not _floats(site, 2).any():
            return _two_levels(site)
        _activation(site, lo, hi, mode)
        return True
    x, scale, zero = _floats(site, 0), _scale(site), _floats(site, 2)
    if signs:
        return _signs(site, x / scale + zero, _whole(zero))
    q = ROUNDINGS[mode](np.clip(x / scale + zero, lo, hi)).astype(np.int64)
    _constant(site, np.clip(q, lo, hi), _whole(zero))
    return True


def bipolar(site: Site) -> bool:
    """BipolarQuant(x, scale): the sign times a scale."""
    if site.inputs[0] not in site.constants:
        return _two_levels(site)
    return _signs(site, _floats(site, 0), np.zeros((), np.int64))


def _two_levels(site: Site) -> bool:
    """The sign is part of the network, and its result is stored as -1 and 1."""
    scale = _per_tensor(site)
    y = site.put("Sign", [site.inputs[0], scale], "sign", name=site.name, domain="tinybound")
    _stored(site, y, (-1, 1), (scale, site.constant("zero", 0, np.int8)))
    return True


def _signs(site: Site, x: Array, zero: Array) -> bool:
    _constant(site, np.where(x >= 0, 1, -1), zero)
    return True


def _floats(site: Site, i: int) -> Array:
    found = site.given(i)
    if found is None:
        raise Unsupported(f"no input {i}", "another export")
    return found.astype(np.float32)


def _scale(site: Site) -> Array:
    scale = _floats(site, 1)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise Unsupported("a scale that is not positive and finite", "a valid quantiser")
    return scale


def _whole(zero: Array) -> Array:
    if (zero != np.rint(zero)).any():
        raise Unsupported("a zero point that is not an integer", "zero point 0")
    return zero.astype(np.int64)


def _ends(site: Site) -> tuple[int, int]:
    """Lowest and highest integer."""
    bits = _floats(site, 3)
    if bits.size != 1 or bits.ravel()[0] not in range(1, 33):
        raise Unsupported(f"bit widths {np.unique(bits).tolist()[:3]}", "one whole number from 1 to 32")
    count, narrow = int(bits.ravel()[0]), bool(site.get("narrow", 0))
    if site.get("signed", 1):
        return -(1 << (count - 1)) + narrow, (1 << (count - 1)) - 1
    return 0, (1 << count) - 1 - narrow


def _constant(site: Site, q: Array, zero: Array) -> None:
    """Integers through DequantizeLinear, scales along the one axis on which they vary."""
    scale = _scale(site)
    if np.abs(q - zero).max(initial=0) >= 1 << 29:  # times a float32 scale a double holds it exactly
        raise Unsupported("quantised constants of 30 bits or more", "fewer bits")
    shape = (1,) * (q.ndim - scale.ndim) + scale.shape
    axes = [axis for axis, n in enumerate(shape) if n > 1]
    if q.shape != site.constants[site.inputs[0]].shape or len(axes) > 1 or zero.size not in (1, scale.size):
        raise Unsupported(f"scales of shape {scale.shape}", "one scale, or one per channel")
    held = site.constant("q", q, np.int32), site.constant("scale", scale.ravel(), np.float32)
    more: dict[str, Any] = {"axis": axes[0]} if axes else {}
    site.put("DequantizeLinear", [*held, site.constant("zero", zero.ravel(), np.int32)], **more)


def _activation(site: Site, lo: int, hi: int, mode: str) -> None:
    scale, zero = _per_tensor(site), _whole(_floats(site, 2))
    if zero.size != 1:
        raise Unsupported("an activation quantised per axis", PER_TENSOR)
    if mode not in NEAREST:
        raise Unsupported(f"rounding_mode = {mode} of an activation", "ROUND: the integer network's rule")
    kind = np.int8 if site.get("signed", 1) else np.uint8
    info = np.iinfo(kind)
    if lo < info.min or hi > info.max or lo == hi or (lo, hi) == (-1, 0):
        raise Unsupported(f"activations from {lo} to {hi}", "2 to 8 bits, or one bit with zero point 0")
    if not info.min <= int(zero.ravel()[0]) <= info.max:
        raise Unsupported(f"zero point {int(zero.ravel()[0])}", "one inside the range of integers")
    _stored(site, site.inputs[0], (lo, hi), (scale, site.constant("zero", zero.ravel()[0], kind)))


def _per_tensor(site: Site) -> str:
    scale = _scale(site)
    if scale.size != 1:
        raise Unsupported("an activation quantised per axis", PER_TENSOR)
    return site.constant("scale", scale.ravel()[0], np.float32)


def _stored(site: Site, x: str, ends: tuple[int, int], pair: tuple[str, str]) -> None:
    """x in steps of a scale, from a lowest to a highest integer of the zero point's type."""
    (lo, hi), kind = ends, site.constants[pair[1]].dtype
    info = np.iinfo(kind)
    q = site.put("QuantizeLinear", [x, *pair], "q")
    if (lo, hi) != (info.min, info.max):
        limits = site.constant("lowest", lo, kind), site.constant("highest", hi, kind)
        q = site.put("Clip", [q, *limits], "clipped")
    site.put("DequantizeLinear", [q, *pair])


QONNX: dict[tuple[str, str], Expansion] = {
    (domain, op): expansion
    for domain in DOMAINS
    for op, expansion in (("Quant", quant), ("IntQuant", quant), ("BipolarQuant", bipolar), ("Trunc", trunc))
}
QONNX_REMEDIES = {
    (domain, op): remedy
    for domain in DOMAINS
    for op, remedy in (
        ("FloatQuant", "Quant: integers only"),
        ("MultiThreshold", "the QONNX file before FINN's streamlining"),
    )
}
