# SPDX-License-Identifier: Apache-2.0
"""Give channels whose bias dwarfs their weights a coarser scale, so that the bias fits the accumulator.

Dead channels (weights near or at zero after BatchNormalization or weight decay) would otherwise have a scale
so fine that the bias does not fit 32 bits, or none at all.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops.base import IntegerWeights
from .least_squares import INT4, round_to
from .pools import WIDTH, assign
from .powers import nearest
from .scales import float32_scale

BIAS_BITS = 26  # what a bias may take of the accumulator
WIDE_BITS = BIAS_BITS + 8  # where activations have 16 bits


def make_room(
    op: Any, chosen: IntegerWeights, input_scale: Fraction, bits: int = BIAS_BITS
) -> IntegerWeights:
    """The weights of a float Conv or Dense with the scales of such channels raised, in the same code."""
    rows = op.weights.reshape(len(op.bias), -1)
    integers = chosen.integers.reshape(rows.shape).copy()
    dyadic = all(_power(s.numerator) and _power(s.denominator) for s in chosen.scales)
    scales = list(chosen.scales)
    for i, row in enumerate(rows):
        least = abs(float(op.bias[i])) / float(input_scale) / (1 << bits)
        if least > float(scales[i]) or (least > 0 and not integers[i].any()):
            scales[i] = float32_scale(least, power_of_two=dyadic)
            integers[i] = _recode(row / float(scales[i]), integers, chosen.code)
    return replace(chosen, integers=integers.reshape(chosen.integers.shape), scales=tuple(scales))


def _power(n: int) -> bool:
    return n & (n - 1) == 0


def _recode(units: NDArray[np.float64], layer: NDArray[np.int64], code: str) -> NDArray[np.int64]:
    """A row in units of its new scale, by the rules of its code; pool vectors stay those of the layer."""
    if code == "int4":
        return round_to(units, *INT4)
    if code == "pot4":
        return nearest(units)
    if code == "pool64":
        pool = np.unique(layer.reshape(-1, WIDTH), axis=0)
        member = assign(units.reshape(-1, WIDTH), pool.astype(np.float64))
        return np.asarray(pool[member].reshape(-1))
    return np.clip(np.rint(units), -127, 127).astype(np.int64)
