# SPDX-License-Identifier: Apache-2.0
"""QONNX quantisers in the reference. A constant becomes the reals it stands for; an activation of two levels
goes through a layer Sign, with which the reference is what the file says."""

from __future__ import annotations

from typing import Any

import numpy as np

from .expand import Place
from .expand_trunc import trunc
from .files import need
from .place import OWN

_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")


def _given(p: Place, i: int) -> Any:
    need(i < len(p.inputs) and p.inputs[i] in p.constants, f"{p.name}: input {i} is not constant")
    return p.constants[p.inputs[i]].astype(np.float32)


def _rounded(x: Any, mode: str) -> Any:
    size, half = np.abs(x), np.float32(0.5)
    match mode:
        case "ROUND" | "HALF_EVEN":
            return np.rint(x)
        case "CEIL":
            return np.ceil(x)
        case "FLOOR":
            return np.floor(x)
        case "UP" | "DOWN":
            return np.sign(x) * (np.ceil(size) if mode == "UP" else np.floor(size))
    need(mode in ("HALF_UP", "HALF_DOWN"), f"rounding {mode}")
    return np.sign(x) * (np.floor(size + half) if mode == "HALF_UP" else np.ceil(size - half))


def _quant(p: Place) -> bool:
    p.only("signed", "narrow", "rounding_mode")
    scale, zero, bits = _given(p, 1), _given(p, 2), _given(p, 3)
    whole = bits.size == 1 and 1 <= bits.min() <= 32 and (bits == np.rint(bits)).all()
    need(whole and (zero == np.rint(zero)).all(), f"{p.name}: bits or zero point")
    need(scale.size and np.isfinite(scale).all() and (scale > 0).all(), f"{p.name}: scale")
    n, signed = int(bits.ravel()[0]), bool(p.attributes.get("signed", 1))
    narrow, mode = int(bool(p.attributes.get("narrow", 0))), str(p.attributes.get("rounding_mode", "ROUND"))
    lo, hi = (-(2 ** (n - 1)) + narrow, 2 ** (n - 1) - 1) if signed else (0, 2**n - 1 - narrow)
    if p.inputs[0] not in p.constants and signed and n == 1 and not zero.any():
        _sign(p, scale)
        return True
    if p.inputs[0] not in p.constants:
        need(mode.upper() in ("ROUND", "HALF_EVEN"), f"{p.name}: rounding {mode} of an activation")
        _activation(p, scale, zero, (lo, hi), np.int8 if signed else np.uint8)
        return True
    x = _given(p, 0) / scale + zero
    need(x.shape == p.constants[p.inputs[0]].shape, f"{p.name}: scales of shape {scale.shape}")
    if signed and n == 1:
        _real(p, np.where(x >= 0, 1, -1) - zero, scale)
    else:
        q = _rounded(np.minimum(np.maximum(x, np.float32(lo)), np.float32(hi)), mode.upper())
        _real(p, np.minimum(q.astype(np.float64), hi) - zero, scale)
    return True


def _bipolar(p: Place) -> bool:
    p.only()
    scale = _given(p, 1)
    if p.inputs[0] not in p.constants:
        _sign(p, scale)
        return True
    x = _given(p, 0)
    need(scale.size and np.isfinite(scale).all() and (scale > 0).all(), f"{p.name}: scale")
    _real(p, np.where(x >= 0, 1, -1), scale)
    return True


def _sign(p: Place, scale: Any) -> None:
    need(scale.size == 1 and np.isfinite(scale).all() and (scale > 0).all(), f"{p.name}: scale")
    size = p.constant("scale", scale.ravel()[0], np.float32)
    y = p.put("Sign", [p.inputs[0], size], "sign", name=p.name, domain=OWN)
    _stored(p, y, (-1, 1), [size, p.constant("zero", 0, np.int8)])


def _real(p: Place, q: Any, scale: Any) -> None:
    need(np.abs(q).max(initial=0) < 1 << 29, f"{p.name}: products that a double does not hold")
    p.constants[p.outputs[0]] = np.asarray(q.astype(np.float64) * scale.astype(np.float64))


def _activation(p: Place, scale: Any, zero: Any, ends: tuple[int, int], kind: Any) -> None:
    first, last = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    need(scale.size == zero.size == 1, f"{p.name}: scales per axis")
    need(first <= ends[0] and ends[1] <= last and ends[0] < ends[1], f"{p.name}: bits")
    need(ends != (-1, 0), f"{p.name}: one bit and a zero point")
    need(first <= int(zero.ravel()[0]) <= last, f"{p.name}: zero point")
    _stored(
        p,
        p.inputs[0],
        ends,
        [p.constant("scale", scale.ravel()[0], np.float32), p.constant("zero", zero.ravel()[0], kind)],
    )


def _stored(p: Place, x: str, ends: tuple[int, int], pair: list[str]) -> None:
    kind = p.constants[pair[1]].dtype
    q = p.put("QuantizeLinear", [x, *pair], "q")
    p.put("DequantizeLinear", [p.cut_to(q, ends, kind), *pair])


QONNX = {
    (domain, op): expansion
    for domain in _DOMAINS
    for op, expansion in (
        ("Quant", _quant),
        ("IntQuant", _quant),
        ("BipolarQuant", _bipolar),
        ("Trunc", trunc),
    )
}
