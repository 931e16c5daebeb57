# SPDX-License-Identifier: Apache-2.0
"""QONNX's Trunc: as real numbers x / 2^n (version 1) or x (version 2), zero points aside."""

from __future__ import annotations

from fractions import Fraction
from math import log2
from typing import Any

import numpy as np

from .files import need
from .place import OWN, Place


def trunc(p: Place) -> bool:
    """Five inputs in version 1, six in version 2."""
    p.only("rounding_mode", "signed", "narrow")
    held = [p.constants.get(i) for i in p.inputs[1:]]
    need(len(held) in (4, 5) and all(h is not None and h.size == 1 for h in held), f"{p.name}: inputs")
    values = [float(np.float32(h.ravel()[0])) for h in held if h is not None]
    second = len(values) == 5
    scale, zero, bits, out_bits = values[0], values[1], values[2], values[-1]
    need(np.isfinite(values).all() and scale > 0 and values[-2] > 0, f"{p.name}: scale or bits")
    need(zero % 1 == 0 and 1 <= out_bits <= 16 and out_bits % 1 == 0, f"{p.name}: zero point or bits")
    lost = round(log2(values[3] / scale)) if second else bits - out_bits
    need(lost in range(9), f"{p.name}: {lost} bits")
    divisor = 2 ** int(lost)
    signed = bool(p.attributes.get("signed", 1))
    unsigned = second and not signed
    known, x = p.stored.get(p.inputs[0]), p.inputs[0]
    if known is not None:
        need(known[0] == Fraction(scale), f"{p.name}: another scale than its input's")
    else:
        need(bits <= (16 if second else 15), f"{p.name}: no quantiser in front of {bits} bits")
        pair = [
            p.constant("scale", scale, np.float32),
            p.constant("zero", zero, _type(bits if second else bits + 1, unsigned)),
        ]
        x = p.put("DequantizeLinear", [p.put("QuantizeLinear", [x, *pair], "q"), *pair], "stored")
    if second:
        need(values[3] == scale * divisor and zero % divisor == 0, f"{p.name}: output scale or zero point")
        factor, offset, unit, zero = 1.0, 0.0, values[3], zero / divisor
    else:
        factor, unit = 1 / divisor, scale
        offset = float(Fraction(scale) * int(zero) * (1 - divisor) / divisor)
        unsigned = known is not None and zero - known[1] in (128, 32768)
    mode = str(p.attributes.get("rounding_mode", "FLOOR")).upper()
    need(mode in ("ROUND", "CEIL", "FLOOR"), f"{p.name}: rounding {mode}")
    line = [p.constant("factor", factor, np.float64), p.constant("offset", offset, np.float64)]
    y = p.put("Trunc", [x, *line], "cut", name=p.name, domain=OWN)
    told = second or known is not None
    kind = _type(out_bits if told else out_bits + 1, unsigned)
    pair = [p.constant("out.scale", unit, np.float32), p.constant("out.zero", zero, kind)]
    q = p.put("QuantizeLinear", [y, *pair], "y")
    if second:
        narrow, n = int(bool(p.attributes.get("narrow", 0))), int(out_bits)
        ends = (-(2 ** (n - 1)) + narrow, 2 ** (n - 1) - 1) if signed else (0, 2**n - 1 - narrow)
        q = p.cut_to(q, ends, kind)
    p.put("DequantizeLinear", [q, *pair])
    return True


def _type(bits: float, unsigned: bool) -> Any:
    """Of 8 or 16 bits; one bit more for a sign that there may be."""
    return (np.uint8 if unsigned else np.int8) if bits <= 8 else (np.uint16 if unsigned else np.int16)
