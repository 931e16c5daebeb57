# SPDX-License-Identifier: Apache-2.0
"""Networks whose integer side can be enumerated: one input of few elements, then Dense and Clip in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..domains.pair import Step, Units
from ..domains.pair_float import Floats, Ints
from ..domains.pair_single import plain
from ..graph import Rounded
from ..rounding import DOUBLE, HALF_EVEN, SINGLE
from .lockstep import Lockstep

INPUTS = 8  # elements: more make cells too many to enumerate
TERMS = 1 << 11  # numbers in one inner product, and symbols: what RHO of linear.py pays for
MODES = (HALF_EVEN, SINGLE, DOUBLE)


@dataclass(frozen=True)
class Layer:
    """x = clip(w x + b, a, c) beside q = clip(round(n m / 2^s) + zero, lo, hi), which is scale (q - zero).

    n = counts (q - zero_in) + bias.
    """

    w: Floats
    b: Floats
    a: float
    c: float
    counts: Floats  # whole numbers: their products and sums are exact in float64
    bias: Floats
    zero_in: int
    m: Ints
    s: Ints
    mode: str
    zero: int
    lo: int
    hi: int
    rounded: Rounded
    scale: Fraction


@dataclass(frozen=True)
class Chain:
    """The layers from the one input to the one bounded value, and what that value's integers mean; `single`:
    the float network is computed in float32."""

    layers: tuple[Layer, ...]
    units: Units
    single: bool = False


def chain_of(both: Lockstep, names: Sequence[str]) -> Chain | None:
    """The chain, or None where the networks have another form."""
    steps = both.steps
    alone = len(both.inputs) == 1 and len(names) == 1 and both.values[names[0]] == len(steps) - 1
    if not alone or steps[0].units.channel.size > INPUTS:
        return None
    if any(step.inputs != (i,) for i, step in enumerate(steps[1:])):
        return None
    kept = [step for step in steps[1:] if step.word != "reshape"]  # moves no element
    pairs = list(zip(kept[::2], kept[1::2], strict=len(kept) % 2 == 0))
    if not pairs or len(kept) % 2 or not all(_plain(*pair) for pair in pairs):
        return None
    layers = tuple(_layer(*pair) for pair in pairs)
    fits = sum(len(layer.w) for layer in layers) + INPUTS < TERMS
    return Chain(layers, kept[-1].units, both.single) if fits else None


def _plain(affine: Step, rounding: Step) -> bool:
    if affine.word != "affine" or rounding.word != "requantise" or rounding.integer[-1] not in MODES:
        return False
    shape = np.shape(affine.real[0])
    return shape[0] == 1 and affine.shape[2] == 1 and max(shape) < TERMS


def _layer(affine: Step, rounding: Step) -> Layer:
    (w, b, _), (counts, bias, zero_in) = affine.real, affine.integer
    m, s, _, zero, lo, hi, mode = rounding.integer
    ms, ss = (np.broadcast_to(np.asarray(v, np.int64), np.shape(b)[1:]).copy() for v in (m, s))
    real = [np.ascontiguousarray(v[0], np.float64) for v in (w, b, counts, bias)]
    a, c = (float(v) for v in rounding.real)
    rounded = affine.rounded or plain(real[1])
    ends, scale = (a, c, real[2], real[3], zero_in), rounding.units.scale
    return Layer(real[0], real[1], *ends, ms, ss, mode, zero, lo, hi, rounded, scale)
