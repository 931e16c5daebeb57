# SPDX-License-Identifier: Apache-2.0
"""factor * x + offset per channel: BatchNormalization, a constant added or multiplied. Folded by a pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Domain, OnnxNode, Op, Shape, Unsupported

Exacts = tuple[Fraction, ...]
MOST = Fraction(1 << 500)  # of a gain: what is multiplied by it overflows every float32
NORMALISATION = 8  # roundings: of the factor v + epsilon, sqrt, quotient, product; then what it is used in


def _sqrt(value: Fraction) -> Fraction:
    """Square root to about 100 bits: far below the last bit of a double."""
    scale = 1 << 200
    return Fraction(isqrt(value.numerator * scale // value.denominator), 1 << 100)


def exact(array: NDArray[Any]) -> list[Fraction]:
    """The rationals that the floats of an array are, flattened."""
    return [Fraction(float(x)) for x in np.ravel(array)]


def gains(factor: Iterable[Fraction]) -> tuple[float, ...]:
    """max(|f|, 1 / |f|), at most MOST; that for 0."""
    return tuple(float(min(max(abs(f), 1 / abs(f)), MOST) if f else MOST) for f in factor)


@dataclass(frozen=True, eq=False)
class ChannelAffine(Op):
    """y[c] = factor[c] * x[c] + offset[c]; exact rationals, one per channel (axis 0).

    For a float32 evaluation: `size` sums the magnitudes of what offset is the sum of, `rounds` is how many
    roundings a term goes through at most, `gain` max(|factor|, 1 / |factor|), multiplied where factors are.
    """

    factor: Exacts
    offset: Exacts
    size: Exacts
    gain: tuple[float, ...]
    rounds: int = 1

    onnx = ("BatchNormalization",)

    @classmethod
    def parse(cls, node: OnnxNode) -> ChannelAffine:
        if node.get("training_mode", 0) or not node.get("spatial", 1):
            raise Unsupported("training_mode = 1 or spatial = 0", "an inference-mode export")
        if any(constant is None for constant in node.constants[1:5]):
            raise Unsupported("parameters that are not constant", "an inference-mode export")
        gamma, beta, mean, variance = (exact(c) for c in node.constants[1:5] if c is not None)
        epsilon = Fraction(float(np.float32(node.get("epsilon", 1e-5))))
        if min(variance) + epsilon <= 0:
            raise Unsupported("a variance that is not positive")
        factor = [g / _sqrt(v + epsilon) for g, v in zip(gamma, variance, strict=True)]
        offset = [b - m * f for b, m, f in zip(beta, mean, factor, strict=True)]
        size = tuple(abs(b) + abs(m * f) for b, m, f in zip(beta, mean, factor, strict=True))
        return cls(tuple(factor), tuple(offset), size, gains(factor), NORMALISATION)

    @classmethod
    def line(cls, factor: Exacts, offset: Exacts) -> ChannelAffine:
        """One operation."""
        return cls(factor, offset, tuple(map(abs, offset)), gains(factor))

    @classmethod
    def of_node(cls, node: OnnxNode) -> ChannelAffine | None:
        """Add, Sub, Mul or Div of a tensor and a constant that varies at most along the tensor's channels."""
        held = [i for i, constant in enumerate(node.constants) if constant is not None]
        if not held:
            return None
        constant, shape, left = node.constants[held[0]], node.shapes[1 - held[0]], held[0] == 0
        assert constant is not None
        values = cls._per_channel(constant, shape)
        ones, none = (Fraction(1),) * len(values), (Fraction(0),) * len(values)
        match node.op_type:
            case "Add":
                return cls.line(ones, values)
            case "Sub" if left:
                return cls.line(tuple(-one for one in ones), values)
            case "Sub":
                return cls.line(ones, tuple(-v for v in values))
            case "Mul":
                return cls.line(values, none)
            case _ if left or 0 in values:
                raise Unsupported("a division by a tensor or by zero", "constant divisors")
            case _:
                return cls.line(tuple(1 / v for v in values), none)

    @staticmethod
    def _per_channel(constant: NDArray[Any], shape: Shape) -> Exacts:
        aligned = constant.reshape((1,) * max(0, len(shape) + 1 - constant.ndim) + constant.shape)
        if aligned.ndim != len(shape) + 1 or any(n != 1 for i, n in enumerate(aligned.shape) if i != 1):
            raise Unsupported(f"a constant of shape {constant.shape}", "one value per channel")
        if aligned.shape[1] not in (1, shape[0]):
            raise Unsupported(f"a constant of shape {constant.shape} for {shape[0]} channels")
        return tuple(exact(np.broadcast_to(aligned.ravel(), (shape[0],))))

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0] if len(self.factor) == shapes[0][0] else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        raise NotImplementedError("folded before any domain reads the graph")
