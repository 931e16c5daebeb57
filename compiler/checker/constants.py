# SPDX-License-Identifier: Apache-2.0
"""Inputs and constants of an ONNX file: their types, and the nodes that only move constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .files import MAX_ELEMENTS, need

Array = NDArray[Any]
_CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}
_LITERALS = {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
}


def tensor_array(tensor: Any) -> Array:
    """The array of a TensorProto that holds its own data."""
    outside = tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
    need(not outside, f"{tensor.name}: data in another file")
    need(np.prod([float(n) for n in tensor.dims]) <= MAX_ELEMENTS, f"{tensor.name}: too large")
    need(all(n >= 0 for n in tensor.dims), f"{tensor.name}: a negative extent")
    if tensor.data_type in (25, 26):
        return _two_bits(tensor)
    return np.asarray(numpy_helper.to_array(tensor))


def _two_bits(tensor: Any) -> Array:
    """UINT2 and INT2: element i lies in byte i / 4, from bit 2 (i mod 4) on."""
    held, count = tensor.raw_data or bytes(tensor.int32_data), int(np.prod(tensor.dims))
    need(len(held) == (count + 3) // 4, f"{tensor.name}: {len(held)} bytes for {count} elements of 2 bits")
    values = [(held[i // 4] >> 2 * (i % 4)) % 4 for i in range(count)]
    if tensor.data_type == 26:
        values = [v - 4 if v & 2 else v for v in values]
    kind = "int2" if tensor.data_type == 26 else "uint2"
    return np.array(values, np.int64).reshape(tensor.dims).astype(np.dtype(kind))


def input_kind(entry: Any) -> tuple[Any, tuple[int, ...]]:
    """Integer type of an input (None: real) and its shape without batch axis."""
    tensor, types = entry.type.tensor_type, onnx.TensorProto
    kinds: dict[int, Any] = {types.FLOAT: None, types.DOUBLE: None, types.FLOAT16: None}
    kinds |= {types.INT8: np.int8, types.UINT8: np.uint8, types.INT16: np.int16, types.UINT16: np.uint16}
    need(tensor.elem_type in kinds, f"{entry.name}: type of the input")
    sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
    need(all(n > 0 for n in sizes[1:]), f"{entry.name}: a dynamic shape")
    need(np.prod([float(n) for n in sizes[1:]]) <= MAX_ELEMENTS, f"{entry.name}: too large")
    if len(sizes) == 1 and sizes[0] > 1:
        return kinds[tensor.elem_type], (sizes[0],)
    need(not sizes or sizes[0] in (0, 1), f"{entry.name}: a batch of {sizes[:1]}")
    return kinds[tensor.elem_type], tuple(sizes[1:]) or (1,)


def quantiser(name: str, constants: Mapping[str, Array], inputs: list[str], kind: Any) -> tuple[Array, Array]:
    """Scales and zero points (0 of type `kind` when left out) of a quantiser's inputs 1 and 2."""
    need(len(inputs) > 1 and inputs[1] in constants, f"{name}: a scale that is not constant")
    scale, zero = constants[inputs[1]].astype(np.float64), np.zeros((), kind)
    if len(inputs) > 2 and inputs[2]:
        need(inputs[2] in constants, f"{name}: a zero point that is not constant")
        zero = constants[inputs[2]]
    need(scale.size and np.isfinite(scale).all() and (scale > 0).all(), f"{name}: scale")
    need(zero.size in (1, scale.size), f"{name}: {zero.size} zero points")
    return scale, zero


def moved(name: str, op: str, xs: list[Array], attributes: dict[str, Any]) -> Array:
    """The result of a node whose inputs are constants; no arithmetic but square roots."""
    axes = attributes.get("axes", tuple(int(v) for v in xs[1].ravel()) if len(xs) > 1 else ())
    match op:
        case "Constant":
            need(len(attributes) == 1, f"{name}: attributes")
            ((kind, value),) = attributes.items()
            need(kind == "value" or kind in _LITERALS, f"{name}: {kind}")
            return tensor_array(value) if kind == "value" else np.array(value, _LITERALS[kind])
        case "Gather":
            return np.asarray(np.take(xs[0], xs[1].astype(np.int64), axis=attributes.get("axis", 0)))
        case "Concat":
            return np.concatenate(xs, axis=attributes["axis"])
        case "Unsqueeze":
            return np.expand_dims(xs[0], axes)
        case "Squeeze":
            return np.asarray(np.squeeze(xs[0], axes or None))
        case "Cast":
            need(attributes["to"] in _CASTS, f"{name}: a cast to type {attributes['to']}")
            return xs[0].astype(_CASTS[attributes["to"]])
        case "Transpose":
            return xs[0].transpose(attributes.get("perm"))
        case "Reshape":
            need(not attributes.get("allowzero") and (xs[1] != 0).all(), f"{name}: a zero in a shape")
            return xs[0].reshape([int(n) for n in xs[1].ravel()])
        case "Sqrt" | "Pow":
            half = op == "Sqrt" or (xs[1].size == 1 and xs[1].ravel()[0] == 0.5)
            need(half and all(x.dtype.kind == "f" for x in xs) and (xs[0] > 0).all(), f"{name}: a power")
            return np.asarray(np.sqrt(xs[0].astype(np.float64)))  # IEEE: correctly rounded
        case _:
            need(op == "Identity", f"{name}: the checker computes no {op} of constants")
            return xs[0]
