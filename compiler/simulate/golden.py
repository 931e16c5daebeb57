# SPDX-License-Identifier: Apache-2.0
"""The golden model on many vectors, and exact quantisation of real inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
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


def golden(
    graph: Graph,
    inputs: Mapping[str, Ints],
    bits: int = 8,
    names: Iterable[str] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Ints]:
    """Every stored value of the integer graph, or those of `names`, N x shape, for N integer vectors.

    CancelledError before the next vector once `stop` says so: threads cannot be interrupted.
    """
    at_bits = with_bits(graph, bits)
    count = len(next(iter(inputs.values())))
    kept = [value.name for value in graph.stored()] if names is None else names
    found = {name: np.empty((count, *graph.values[name].shape), np.int64) for name in kept}

    def fill(i: int) -> None:
        if stop():
            raise CancelledError
        values = run(at_bits, {name: array[i] for name, array in inputs.items()})
        for name, rows in found.items():
            rows[i] = values[name]

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets go of the interpreter where the time goes
        list(pool.map(fill, range(count)))
    return found
