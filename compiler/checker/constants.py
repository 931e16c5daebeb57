# SPDX-License-Identifier: Apache-2.0
"""Inputs and constants of an ONNX file: their types, and the nodes that only move constants."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .files import MAX_ELEMENTS, need

Array = NDArray[Any]
_CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}
_PLAIN = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
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
    need(zero.size == 1 or scale.size in (1, zero.size), f"{name}: {zero.size} zero points")
    return scale, zero


def extents(name: str, shape: tuple[int, ...], attributes: dict[str, Any]) -> Array:
    """What a Shape of a tensor of this shape gives: from axis `start` up to axis `end`, both clamped."""
    need(set(attributes) <= {"start", "end"}, f"{name}: attributes")
    return np.array(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], np.int64)


def _elementwise(name: str, op: str, xs: list[Array]) -> Array:
    """Integers stay integers, quotients go towards 0; sums, products and quotients of reals are doubles."""
    size = np.prod(np.broadcast_shapes(*(x.shape for x in xs)), dtype=float)
    need(size <= MAX_ELEMENTS, f"{name}: too large")
    if op in ("Max", "Min"):
        return np.asarray(reduce(np.maximum if op == "Max" else np.minimum, xs))
    if len(xs) == 1:
        return np.asarray(np.abs(xs[0]) if op == "Abs" else -xs[0])
    if op == "Equal":
        return np.asarray(np.equal(*xs))
    if {x.dtype.kind for x in xs} != {"f"}:
        need({x.dtype for x in xs} == {np.dtype(np.int64)}, f"{name}: {op} of these constants")
        return _quotient(name, *xs) if op == "Div" else np.asarray(_PLAIN[op](*xs))
    with np.errstate(all="ignore"):
        found = np.asarray(_PLAIN[op](*(x.astype(np.float64) for x in xs)))
    need(np.isfinite(found).all(), f"{name}: not finite")
    return found


def _quotient(name: str, a: Array, b: Array) -> Array:
    """Of int64, exact and towards 0."""
    need(b.all(), f"{name}: a division by 0")
    found = [abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1) for p, q in np.broadcast(a, b)]
    return np.array(found, np.int64).reshape(np.broadcast_shapes(a.shape, b.shape))


def _rest(name: str, xs: list[Array], attributes: dict[str, Any]) -> Array:
    """Of int64, with the sign of the divisor, or with fmod of what is divided."""
    a, b = xs
    need(a.dtype == b.dtype == np.int64 and b.all(), f"{name}: Mod of these constants")
    found = [p - q * (p // q) for p, q in np.broadcast(a.astype(object), b.astype(object))]
    if attributes.get("fmod", 0):
        found = [(abs(p) % abs(q)) * (1 if p >= 0 else -1) for p, q in np.broadcast(a, b)]
    return np.array(found, np.int64).reshape(np.broadcast_shapes(a.shape, b.shape))


def _slice(name: str, xs: list[Array], attributes: dict[str, Any]) -> Array:
    """Starts, ends, axes and steps, as attributes before opset 10 and as inputs from there on."""
    kinds = ("starts", "ends", "axes", "steps")
    given = attributes or dict(zip(kinds, ([int(n) for n in x.ravel()] for x in xs[1:]), strict=False))
    need(set(given) <= set(kinds) and {"starts", "ends"} <= set(given), f"{name}: attributes")
    starts, ends = given["starts"], given["ends"]
    axes, steps = given.get("axes", range(len(starts))), given.get("steps", [1] * len(starts))
    need(len(starts) == len(ends) == len(axes) == len(steps), f"{name}: as many of each")
    need(0 not in steps and len({a % xs[0].ndim for a in axes}) == len(axes), f"{name}: steps or axes")
    found = xs[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        found = found.take(sliced(found.shape[axis], start, end, step), axis)
    return found


def sliced(extent: int, start: int, end: int, step: int) -> range:
    """What a Slice takes of an axis. Its ends are cut: Python would not move a start in front of it."""
    start, end = (n + extent if n < 0 else n for n in (start, end))
    low, high = (0, extent) if step > 0 else (-1, extent - 1)
    return range(min(max(start, 0), high), min(max(end, low), high), step)


def _filled(name: str, op: str, xs: list[Array], attributes: dict[str, Any]) -> Array:
    """ConstantOfShape, Expand and Range: as many elements as their inputs say."""
    if op == "Range":
        need(all(x.size == 1 and x.dtype == np.int64 for x in xs), f"{name}: a range of these constants")
        ends = range(*(int(x.ravel()[0]) for x in xs))
        need(len(ends) <= MAX_ELEMENTS, f"{name}: too large")
        return np.array(ends, np.int64)
    shape = tuple(int(n) for n in xs[-1].ravel())
    if op == "Expand":
        shape = np.broadcast_shapes(xs[0].shape, shape)
    need(all(n >= 0 for n in shape) and prod(shape) <= MAX_ELEMENTS, f"{name}: too large")
    if op == "Expand":
        return np.broadcast_to(xs[0], shape)
    value = tensor_array(attributes["value"]) if "value" in attributes else np.zeros(1, np.float32)
    need(value.size == 1, f"{name}: value")
    return np.full(shape, value.ravel()[0], value.dtype)


def _product(name: str, xs: list[Array], attributes: dict[str, Any]) -> Array:
    """Of extents, over the axes that are named, or over all."""
    need(set(attributes) <= {"axes", "keepdims", "noop_with_empty_axes"}, f"{name}: attributes")
    axes, kept = _axes(xs, attributes), bool(attributes.get("keepdims", 1))
    need(axes or not attributes.get("noop_with_empty_axes"), f"{name}: no axes")
    need(xs[0].dtype == np.int64, f"{name}: a product of what are no extents")
    found = np.prod(xs[0].astype(object), axis=axes or None, keepdims=kept)
    need(all(abs(n) < 1 << 63 for n in np.ravel(found)), f"{name}: too large")
    return np.asarray(found, np.int64)


def _axes(xs: list[Array], attributes: dict[str, Any]) -> tuple[int, ...]:
    given = attributes.get("axes", xs[1].ravel().tolist() if len(xs) > 1 else ())
    return tuple(map(int, given))


def moved(name: str, op: str, xs: list[Array], attributes: dict[str, Any]) -> Array:
    """The result of a node whose inputs are constants; of reals each sum, product, quotient and root is the
    nearest double."""
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
            return np.expand_dims(xs[0], _axes(xs, attributes))
        case "Squeeze":
            return np.asarray(np.squeeze(xs[0], _axes(xs, attributes) or None))
        case "Cast":
            need(attributes["to"] in _CASTS, f"{name}: a cast to type {attributes['to']}")
            return xs[0].astype(_CASTS[attributes["to"]])
        case "Transpose":
            return xs[0].transpose(attributes.get("perm"))
        case "Reshape":
            need((xs[1] != 0).all(), f"{name}: a zero in a shape")
            return xs[0].reshape([int(n) for n in xs[1].ravel()])
        case "Slice":
            return _slice(name, xs, attributes)
        case "ConstantOfShape" | "Expand" | "Range":
            return _filled(name, op, xs, attributes)
        case "Mod" | "ReduceProd":
            return (_rest if op == "Mod" else _product)(name, xs, attributes)
        case _:
            return _computed(name, op, xs)


def _computed(name: str, op: str, xs: list[Array]) -> Array:
    """Element by element."""
    match op:
        case "Where":
            size = np.prod(np.broadcast_shapes(*(x.shape for x in xs)), dtype=float)
            need(size <= MAX_ELEMENTS and xs[1].dtype == xs[2].dtype, f"{name}: too large, or of two types")
            return np.asarray(np.where(*xs))
        case "Abs" | "Neg" | "Max" | "Min" | "Add" | "Sub" | "Mul" | "Div" | "Equal":
            return _elementwise(name, op, xs)
        case "Sqrt" | "Pow":
            power = float(xs[1].ravel()[0]) if op == "Pow" and xs[1].size == 1 else 0.5 * (op == "Sqrt")
            need(
                power in (0.5, -0.5) and all(x.dtype.kind == "f" for x in xs) and (xs[0] > 0).all(),
                f"{name}: a power",
            )
            root = np.sqrt(xs[0].astype(np.float64))  # IEEE: correctly rounded
            return np.asarray(root if power > 0 else 1.0 / root)
        case _:
            need(op == "Identity", f"{name}: the checker computes no {op} of constants")
            return xs[0]
