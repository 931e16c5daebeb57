# SPDX-License-Identifier: Apache-2.0
"""Scales and integers of QuantizeLinear and DequantizeLinear nodes. uint8 is stored as q - 128."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..ops.base import Scaled, Unsupported

Constants = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Quantised:
    """A dequantised constant: integers, float32 scales along `axis` (or one), zero points."""

    integers: NDArray[np.int64]
    scales: NDArray[np.float64]
    zeros: NDArray[np.int64]
    axis: int

    @property
    def real(self) -> NDArray[np.float64]:
        """scale * (q - zero), exact in float64."""
        shape = [1] * self.integers.ndim
        if self.scales.size > 1:
            shape[self.axis] = self.scales.size
        centred = self.integers - self.zeros.reshape(shape if self.zeros.size > 1 else [1] * len(shape))
        return np.asarray(self.scales.reshape(shape) * centred)

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is 0 and scales run along axis 0."""
        return not self.zeros.any() and (self.scales.size == 1 or self.axis == 0)

    def transposed(self) -> Quantised:
        """The same matrix with its axes swapped."""
        return replace(self, integers=self.integers.T, axis=1 - self.axis)

    def per_channel(self, count: int) -> tuple[Fraction, ...]:
        """One exact scale per output channel."""
        return tuple(Fraction(float(s)) for s in np.broadcast_to(self.scales.ravel(), (count,)))


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
    if scale.size != 1:
        raise Unsupported("an activation quantised per axis", "per-tensor activation scales")
    if zero.dtype not in (np.int8, np.uint8):
        raise Unsupported(f"activations of type {zero.dtype}", "int8 or uint8")
    shift = 128 if zero.dtype == np.uint8 else 0
    return Scaled(Fraction(float(scale.ravel()[0])), int(zero.ravel()[0]) - shift, -128, 127)


def weight_of(proto: onnx.NodeProto, constants: Constants) -> Quantised:
    """A constant through DequantizeLinear: int8, uint8 or int32 (bias)."""
    integers = constants[proto.input[0]]
    scale, zero = _parameters(proto, constants, integers.dtype)
    if integers.dtype not in (np.int8, np.uint8, np.int32):
        raise Unsupported(f"weights of type {integers.dtype}", "int8 weights, int32 biases")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    if attributes.get("block_size"):
        raise Unsupported("block-wise quantised weights", "per-channel scales")
    axis = int(attributes.get("axis", 1)) % max(integers.ndim, 1)
    if scale.size > 1 and scale.size != integers.shape[axis]:
        raise Unsupported(f"{scale.size} scales for axis {axis} of shape {integers.shape}")
    return Quantised(
        integers.astype(np.int64), scale.astype(np.float64).ravel(), zero.astype(np.int64).ravel(), axis
    )
