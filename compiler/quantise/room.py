# SPDX-License-Identifier: Apache-2.0
"""Give channels whose bias dwarfs their weights a coarser scale, so that the bias fits the accumulator.

Dead channels (weights near or at zero after BatchNormalization or weight decay) would otherwise have a scale
so fine that the bias does not fit 32 bits, or none at all.

And layers whose weights have few bits finer units, so that a bias is not rounded to whole weights.
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


def finer(op: Any, chosen: IntegerWeights, input_scale: Fraction, bits: int = BIAS_BITS) -> IntegerWeights:
    """Weights of few bits times a power of two, the same real ones, where a bias lies between two units; no
    bias gets more than so many bits."""
    times = 1 << max(1, 127 // max(1, int(np.abs(chosen.integers).max()))).bit_length() - 1
    units = [Fraction(float(b)) / (input_scale * s) for b, s in zip(op.bias, chosen.scales, strict=True)]
    while times > 1 and max(map(abs, units)) * times >= 1 << bits:
        times //= 2
    if chosen.code != "int8" or times < 2 or all(u.denominator == 1 for u in units):
        return chosen
    return replace(chosen, integers=chosen.integers * times, scales=tuple(s / times for s in chosen.scales))


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
