# SPDX-License-Identifier: Apache-2.0
"""Scales and integers of QuantizeLinear and DequantizeLinear nodes. Unsigned ones are stored as q less half
their range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..ops.base import IntegerWeights, Scaled, Unsupported
from ..ranges import INT8, INT16

Constants = Mapping[str, NDArray[Any]]


STORED = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}  # of activations
STORED |= {"int2": (-2, 1), "uint2": (0, 3), "int16": (-32768, 32767), "uint16": (0, 65535)}
WEIGHTS = (*STORED, "int32")  # int4 is a type of ml_dtypes, no numpy integer
Move = Callable[[NDArray[Any]], NDArray[Any]]
PER_TENSOR = (
    "per-tensor activation scales (NNCF: QuantizationParameters(per_channel=False) of the activations)"
)


@dataclass(frozen=True)
class Quantised:
    """A dequantised constant: q - zero and the scale of every element (a view where they repeat)."""

    integers: NDArray[np.int64]
    scales: NDArray[np.float64]

    @property
    def real(self) -> NDArray[np.float64]:
        """scale * (q - zero): exact for int8 and float32, else rounded once."""
        return np.asarray(self.scales * self.integers)

    def moved(self, move: Move) -> Quantised:
        """The same elements in other places."""
        return Quantised(move(self.integers), move(self.scales))

    def per_channel(self, count: int) -> tuple[Fraction, ...] | None:
        """One exact scale per slice of axis 0 (or one for all of `count`); None where they vary within."""
        rows = self.scales.reshape(count if self.scales.size >= count else 1, -1)
        if (rows != rows[:, :1]).any():
            return None
        return tuple(Fraction(float(s)) for s in np.broadcast_to(rows[:, 0], (count,)))


def integer_weights(
    op: Any, weight: Quantised | None, bias: Quantised | None, source: Scaled | None
) -> IntegerWeights | None:
    """The file's own integers for a layer; None where int8 (if it reads 16 bits, or may: int16) with a scale
    per channel does not hold them.

    A factor per channel that was folded in since goes into the scales. A bias in another unit than
    x_scale * w_scale, or changed by a fold, is left to be rounded; where the file does not say what x_scale
    is (`source` None), any.
    """
    if weight is None or weight.real.size != op.weights.size:
        return None
    scales, factors = weight.per_channel(len(op.weights)), _factors(weight, op.weights)
    if scales is None or factors is None:
        return None
    scales = tuple(s * Fraction(abs(f) or 1.0) for s, f in zip(scales, factors.tolist(), strict=True))
    integers = weight.integers.reshape(op.weights.shape)
    integers = integers * np.sign(factors).astype(np.int64).reshape(-1, *(1,) * (integers.ndim - 1))
    code = "int8" if INT8[0] <= integers.min() <= integers.max() <= INT8[1] else "int16"
    fits = INT16[0] <= integers.min() <= integers.max() <= INT16[1]
    if code == "int16" and (not fits or (source is not None and not source.wide)):
        return None
    units = None if bias is None else bias.per_channel(len(op.bias))
    if source is None or bias is None or units is None or not np.array_equal(bias.real.ravel(), op.bias):
        return IntegerWeights(integers, scales, code)
    fits = all(abs(u / (source.scale * s) - 1) < 1e-6 for u, s in zip(units, scales, strict=True))
    return IntegerWeights(integers, scales, code, bias.integers.ravel() if fits else None)


def _factors(weight: Quantised, now: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The factor per output channel between the file's weights and a layer's, to rounding; None if none."""
    rows, mine = now.reshape(len(now), -1), weight.real.reshape(len(now), -1)
    top = np.abs(mine).argmax(axis=1)[:, None]
    before, after = np.take_along_axis(mine, top, 1), np.take_along_axis(rows, top, 1)
    factors = np.divide(after, before, out=np.ones_like(after), where=before != 0)
    fit = np.isclose(rows, factors * mine, rtol=1e-14, atol=0.0).all() and np.isfinite(factors).all()
    return factors.ravel() if fit else None


def _parameters(proto: onnx.NodeProto, constants: Constants, kind: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point; a missing zero point is 0 of type `kind`."""
    if proto.input[1] not in constants:
        raise Unsupported("a scale that is not constant", "static quantisation")
    scale = np.asarray(constants[proto.input[1]])
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise Unsupported("a scale that is not positive and finite", "a valid quantiser")
    zero = np.zeros((), kind)
    if len(proto.input) > 2 and proto.input[2]:
        if proto.input[2] not in constants:
            raise Unsupported("a zero point that is not constant", "static quantisation")
        zero = np.asarray(constants[proto.input[2]])
    return scale, zero


def quantised_type(proto: onnx.NodeProto, constants: Constants) -> Any:
    """numpy type of what a QuantizeLinear node returns: of its zero point, else output_dtype, else uint8."""
    if len(proto.input) > 2 and proto.input[2] in constants:
        return constants[proto.input[2]].dtype
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    code = attributes.get("output_dtype", 0)
    return onnx.helper.tensor_dtype_to_np_dtype(code) if code else np.dtype(np.uint8)


def activation_scale(proto: onnx.NodeProto, constants: Constants, kind: Any) -> Scaled:
    """Quantisation of an activation by a (De)QuantizeLinear node: per tensor, integers of type `kind`."""
    scale, zero = _parameters(proto, constants, kind)
    if scale.size != 1 or zero.size != 1:
        raise Unsupported("an activation quantised per axis", PER_TENSOR)
    if str(zero.dtype) not in STORED:
        raise Unsupported(f"activations of type {zero.dtype}", "int8, uint8, int16 or uint16")
    lo, hi = STORED[str(zero.dtype)]
    shift = taken_off(zero.dtype)
    return Scaled(Fraction(float(scale.ravel()[0])), int(zero.ravel()[0]) - shift, lo - shift, hi - shift)


def taken_off(kind: Any) -> int:
    """Unsigned activations are stored as q - 128, of 16 bits as q - 32768."""
    lo, hi = STORED[str(np.dtype(kind))]
    return 0 if lo else max(128, (hi + 1) // 2)


def weight_of(proto: onnx.NodeProto, constants: Constants) -> Quantised:
    """A constant through DequantizeLinear: one scale, one per slice of an axis, or one per block of it."""
    stored = constants[proto.input[0]]
    scale, zero = _parameters(proto, constants, stored.dtype)
    if str(stored.dtype) not in WEIGHTS:
        raise Unsupported(f"weights of type {stored.dtype}", "int8 weights, int32 biases")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    axis, block = int(attributes.get("axis", 1)) % max(stored.ndim, 1), int(attributes.get("block_size", 0))

    def everywhere(array: NDArray[Any]) -> NDArray[Any]:
        if array.size == 1:
            return np.broadcast_to(array.reshape(()), stored.shape)
        if block and array.ndim == stored.ndim:
            array = np.repeat(array, block, axis).take(range(stored.shape[axis]), axis)
        elif array.size == stored.shape[axis]:
            array = array.reshape([-1 if a == axis else 1 for a in range(stored.ndim)])
        else:
            raise Unsupported(f"{array.size} scales for axis {axis} of shape {stored.shape}")
        return np.broadcast_to(array, stored.shape)

    centred = stored.astype(np.int64) - everywhere(zero.astype(np.int64))
    return Quantised(centred, everywhere(scale.astype(np.float64)))
