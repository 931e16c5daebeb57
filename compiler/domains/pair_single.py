# SPDX-License-Identifier: Apache-2.0
"""How far one layer of the float network is from its real value when it is computed in float32.

u = 2^-24. Every product, sum and quotient is off by at most u times itself, or by 2^-126 where the result or
an operand is so small that it may be flushed to 0. A term of an inner product goes through its product and
as many additions as there are other terms, in whatever order they are added, fused with products or not; a
term that is 0 changes nothing. So n terms are off by gamma_n = n u / (1 - n u) of their magnitudes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Rounded
from .pair import Step
from .pair_box import Box
from .pair_float import Floats, down, up

U32 = 2.0**-24
FLUSHED = 2.0**-126  # results and operands below may become 0
LEAST = 2.0**-149  # what is smaller is 0 in float32
MOST = 2.0**126  # sums that stay below cannot overflow
FUNCTION = 16 * U32  # of 1 + |x| + |f(x)|: how far a function of the float network may be off
ENTERED = 2 * U32  # of |x|: an input is rounded to float32, or is float32(scale) times an integer
ALL = 2.0**-4  # of a sum's magnitude: the most that may be lost
PAID = 1 + 2.0**-20  # what is computed here is itself rounded, and carries errors of second order


def noise(step: Step, before: Sequence[Box], after: Box) -> Floats | None:
    """Per element of the step's result, at most; None for words that compute nothing. OverflowError where
    float32 might."""
    sizes = [largest(box) for box in (*before, after)]
    match step.word:
        case "input":
            found = ENTERED * sizes[-1] + FLUSHED
        case "affine":
            weights, bias, _ = step.real
            folded = step.rounded or plain(np.ravel(bias))
            parts = (np.reshape(part, (*np.shape(bias), 1)) for part in (folded.size, folded.gain))
            return of_sums(np.abs(np.asarray(weights, np.float64)), sizes[0], folded.count, *parts)
        case "add" | "multiply":
            found = U32 * sizes[-1] + 2 * FLUSHED * (2 + sizes[0] + sizes[1])
        case "softmax":
            found = np.full(step.shape, softmax_lost(step.shape[-1]))
        case "table":
            found = FUNCTION * (1 + sizes[0] + sizes[-1])
        case _:
            return None
    if not sizes[-1].max() < MOST:
        raise OverflowError("numbers that float32 may not hold")
    return np.asarray(PAID * found)


def softmax_lost(n: int) -> float:
    """Of a probability, of n: exponentials off by 16 u and u |x|, p |x| < 1/2, their sum, a quotient."""
    return (2 * n + 40) * U32


def of_sums(weights: Floats, sizes: Floats, count: int, offset: Floats, gain: Floats) -> Floats:
    """weights (..., M, K), magnitudes, of terms of at most `sizes` (..., K, P), `count` further roundings;
    offset, gain (..., M, 1) as in Rounded."""
    terms = (weights > 0).astype(np.float64) @ (sizes >= LEAST).astype(np.float64) + (offset > 0) + count
    lost, magnitude = terms * U32, weights @ sizes + offset
    full = gain * (magnitude + LEAST)  # a factor of 0 hides what it takes off
    if not full.max() < MOST or lost.max() > ALL:
        raise OverflowError("sums that float32 may not hold")
    each = 2 * (terms + 1) + weights.sum(axis=-1, keepdims=True) + sizes.sum(axis=-2, keepdims=True)
    return np.asarray(PAID * (lost / (1 - lost) * magnitude + 2 * FLUSHED * gain * each))


def plain(bias: Floats, count: int = 0) -> Rounded:
    """Of a layer that is one node of the file."""
    return Rounded(count, np.abs(np.asarray(bias, np.float64)), np.ones(len(bias)))


def wider(box: Box, by: Floats) -> Box:
    """Ranges after x has moved by at most `by`, and y not at all."""
    low, high, under, over = down(box.lx - by), up(box.ux + by), down(box.ld - by), up(box.ud + by)
    return Box(low, high, box.ly, box.uy, under, over).tighten()


def largest(box: Box) -> Floats:
    """Magnitudes of x."""
    return np.maximum(np.abs(box.lx), np.abs(box.ux))
