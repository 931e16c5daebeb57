# SPDX-License-Identifier: Apache-2.0
"""QONNX's Trunc, versions 1 and 2: round(round(x / scale + zero) / 2^n), and back.

before: y = Trunc(x, scale, zero, in_bits, out_bits), or with out_scale = 2^n scale between the bits
after:  x stored in steps of scale; a table from each integer to its quotient, rounded as the file says; y
        stored in steps of scale (version 1: y is about x / 2^n) or of out_scale (version 2: y is about x)
"""

from __future__ import annotations

from fractions import Fraction
from math import log2
from typing import Any

import numpy as np

from ...ops.base import Unsupported
from ...ops.trunc import ROUNDINGS
from .site import Site

MOST_LOST, MOST_BITS = 8, 16
REMEDY = "Quant in its place, or in front of it a Quant of its scale"


def trunc(site: Site) -> bool:
    """Trunc of an activation."""
    numbers = [_number(site, i) for i in range(1, len(site.inputs))]
    if len(numbers) not in (4, 5):
        raise Unsupported(f"{len(site.inputs)} inputs", "5 or 6")
    scale, zero, in_bits, out_bits = numbers[0], numbers[1], numbers[2], numbers[-1]
    second = len(numbers) == 5
    shift = round(log2(numbers[3] / scale)) if second and min(scale, numbers[3]) > 0 else in_bits - out_bits
    mode = str(site.get("rounding_mode", "FLOOR")).upper()
    signed = bool(site.get("signed", 1)) if second else None
    if mode not in ROUNDINGS:
        raise Unsupported(f"rounding_mode = {mode}", f"one of {', '.join(ROUNDINGS)}")
    whole = all(n == int(n) for n in (zero, in_bits, out_bits))
    if not whole or scale <= 0 or not 0 <= shift <= MOST_LOST or not 1 <= out_bits <= MOST_BITS:
        raise Unsupported(
            f"a Trunc by {shift} bits to {out_bits:g}", "0 to 8 bits fewer, to at most 16, whole numbers"
        )
    divisor, source = 1 << int(shift), _stored(site, scale, int(zero), int(in_bits), signed)
    if second and (numbers[3] != scale * divisor or int(zero) % divisor):
        raise Unsupported("an output scale or zero point that is no multiple of the input's", "zero point 0")
    factor, offset, unit, point = 1.0, 0.0, scale * divisor, int(zero) // divisor
    if not second:
        factor, unit, point = 1 / divisor, scale, int(zero)
        offset = float(Fraction(scale) * point * (Fraction(1, divisor) - 1))  # of few bits: exact
    pair = [site.constant("factor", factor, np.float64), site.constant("offset", offset, np.float64)]
    y = site.put("Trunc", [source, *pair], "cut", name=site.name, domain="tinybound", rounding=mode)
    ends = _ends(int(out_bits), bool(signed), bool(site.get("narrow", 0))) if second else None
    if signed is None and site.inputs[0] in site.stored:
        signed = site.stored[site.inputs[0]].zero not in (point - 128, point - 32768)
    _quantised(site, y, unit, point, ends, _kind(int(out_bits), signed))
    return True


def _number(site: Site, i: int) -> float:
    found = site.given(i)
    if found is None or found.size != 1 or not np.isfinite(found).all():
        raise Unsupported(f"input {i} that is not one number", "a Trunc per tensor")
    return float(np.float32(found.ravel()[0]))


def _stored(site: Site, scale: float, zero: int, bits: int, signed: bool | None) -> str:
    """The input with its own quantiser, or with the one that the Trunc says it has."""
    x = site.inputs[0]
    if x in site.stored:
        if site.stored[x].scale != Fraction(scale):
            raise Unsupported("a Trunc of another scale than its input's", REMEDY)
        return x
    if bits > (MOST_BITS if signed is not None else MOST_BITS - 1):
        raise Unsupported(f"a Trunc of {bits} bits without a quantiser in front", REMEDY)
    kind = _kind(bits, signed)
    pair = site.constant("scale", scale, np.float32), site.constant("zero", zero, kind)
    q = site.put("QuantizeLinear", [x, *pair], "q")
    return site.put("DequantizeLinear", [q, *pair], "stored")


def _kind(bits: int, signed: bool | None) -> Any:
    """The least type of so many bits; where the file does not say whether there is a sign, one for both."""
    wide = bits + (signed is None) > 8
    return (np.uint16 if wide else np.uint8) if signed is False else (np.int16 if wide else np.int8)


def _ends(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - narrow


def _quantised(site: Site, y: str, scale: float, zero: int, ends: tuple[int, int] | None, kind: Any) -> None:
    info = np.iinfo(kind)
    if not info.min <= zero <= info.max:
        raise Unsupported(f"zero point {zero}", "one inside the range of integers")
    pair = site.constant("out.scale", scale, np.float32), site.constant("out.zero", zero, kind)
    q = site.put("QuantizeLinear", [y, *pair], "y")
    if ends is not None and ends != (info.min, info.max):
        limits = site.constant("lowest", ends[0], kind), site.constant("highest", ends[1], kind)
        q = site.put("Clip", [q, *limits], "clipped")
    site.put("DequantizeLinear", [q, *pair])
