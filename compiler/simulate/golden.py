# SPDX-License-Identifier: Apache-2.0
"""The golden model on many vectors, and exact quantisation of real inputs."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import run
from ..errors import CompileError
from ..graph import Graph, Value
from ..passes.run_time_bits import with_bits

Ints = NDArray[np.int64]
_NEAR_TIE = 1e-6


def quantise(value: Value, real: NDArray[np.float64]) -> Ints:
    """q = clip(rhe(x / scale) + zero, lo, hi) of the exact quotient; real N x shape."""
    assert value.quant is not None
    lo, hi = value.ends
    far = 16 * (hi - lo + 1)  # beyond, the clip decides
    if not np.isfinite(real).all():
        raise CompileError(value.name, "NaN or infinite input", "finite numbers")
    scale = value.quant.scale[0]
    quotient = real / float(scale)
    rounded = np.rint(quotient)
    doubtful = np.abs(np.abs(quotient - np.trunc(quotient)) - 0.5) < _NEAR_TIE
    doubtful &= np.abs(quotient) < far
    if doubtful.any():
        rounded[doubtful] = [round(Fraction(float(x)) / scale) for x in real[doubtful]]
    return np.clip(np.clip(rounded, -far, far).astype(np.int64) + value.quant.zero, lo, hi)


def dequantise(value: Value, integers: Ints) -> NDArray[np.float64]:
    """scale * (q - zero), rounded to float64."""
    assert value.quant is not None
    return np.asarray(float(value.quant.scale[0]) * (integers - value.quant.zero))


def golden(graph: Graph, inputs: Mapping[str, Ints], bits: int = 8) -> dict[str, Ints]:
    """Every stored value of the integer graph, N x shape, for N integer input vectors."""
    at_bits = with_bits(graph, bits)
    names = [value.name for value in graph.stored()]
    count = len(next(iter(inputs.values())))
    rows: dict[str, list[Ints]] = {name: [] for name in names}
    for i in range(count):
        values = run(at_bits, {name: array[i] for name, array in inputs.items()})
        for name in names:
            rows[name].append(values[name])
    return {
        name: np.array(found, np.int64).reshape(count, *graph.values[name].shape)
        for name, found in rows.items()
    }
