# SPDX-License-Identifier: Apache-2.0
"""Integer weights per layer, by the code that was asked for; layers that cannot take it fall back to int8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from ..graph import Graph, Node
from ..ops import Conv
from ..ops.base import IntegerWeights, Scaled
from ..passes.layout import columns, orders
from . import least_squares, pools, powers
from .scales import divide, float32_scale, per_channel

CODES = ("int8", "int4", "pot4", "pool64")
SAME = 1e-9  # of the largest weight: doubles whose ratios are whole numbers


def takes(node: Node, code: str) -> bool:
    """Whether a layer can be stored in a code: not depthwise, and 8 consecutive input channels for pools."""
    op: Any = node.op
    if code == "int8":
        return True
    if isinstance(op, Conv) and op.groups > 1:
        return False
    return code != "pool64" or op.weights.shape[1] % pools.WIDTH == 0


def choose_weights(
    graph: Graph,
    codes: Mapping[str, str],
    fixed: Mapping[str, IntegerWeights],
    *,
    power_of_two: bool,
    stored: Mapping[str, Scaled] | None = None,
) -> dict[str, IntegerWeights]:
    """Weights for every weighted node; `codes` by node name, `fixed` as read from a quantised model.
    `stored`: how values are; pools cannot take those of 16 bits."""
    unknown = sorted({code for code in codes.values() if code not in CODES})
    if unknown:
        raise CompileError("--weights", f"code {unknown[0]!r}", f"one of {', '.join(CODES)}")
    chosen: dict[str, IntegerWeights] = {}
    pooled: list[Node] = []
    for node in graph.nodes:
        if not node.op.weighted:
            continue
        op: Any = node.op
        if not (np.isfinite(op.weights).all() and np.isfinite(op.bias).all()):
            raise CompileError(node.name, "NaN or infinite weights", "finite weights", "another export")
        code = codes.get(node.name, "int8")
        source = (stored or {}).get(node.inputs[0])
        pool = code == "pool64" and source is not None and source.wide
        code = code if takes(node, code) and not pool else "int8"
        kept = fixed.get(node.name)
        if kept is not None and kept.code == "int16" and source is not None and not source.wide:
            kept = None
        if code == "int8" and kept is not None:
            chosen[node.name] = kept
        elif code == "int8":
            scales = per_channel(op.weights, 127, power_of_two=power_of_two)
            if op.weights[0].size == 1 and not power_of_two:
                scales = _factors(op, scales, source)
            units = np.clip(np.rint(divide(op.weights, scales)), -127, 127)
            chosen[node.name] = IntegerWeights(units.astype(np.int64), scales)
        elif code == "int4":
            chosen[node.name] = _int4(op.weights, kept, power_of_two=power_of_two)
        elif code == "pot4":
            chosen[node.name] = IntegerWeights(*powers.snap(op.weights, power_of_two=power_of_two), code)
        else:
            pooled.append(node)
    order = orders(graph) if pooled else {}
    places = [columns(node, order) for node in pooled]
    rows = [_flat(node)[:, perm] for node, perm in zip(pooled, places, strict=True)]
    shared = pools.share(rows, power_of_two=power_of_two) if pooled else []
    for node, perm, (integers, scales) in zip(pooled, places, shared, strict=True):
        logical = np.empty_like(integers)
        logical[:, perm] = integers
        weights: Any = node.op
        chosen[node.name] = IntegerWeights(logical.reshape(weights.weights.shape), scales, "pool64")
    return chosen


def anew(real: Graph, whole: Graph, among: Collection[str]) -> tuple[str, ...]:
    """Layers, `among` these, whose integer weights are not the real ones times a number per channel."""
    found = []
    for node in whole.nodes:
        if node.name in among:
            mine, theirs = _flat(node).astype(np.float64), _flat(real.node(node.name))
            at = np.abs(theirs).argmax(axis=1)[:, None]
            left, right = mine * _at(theirs, at), theirs * _at(mine, at)
            if (np.abs(left - right) > SAME * np.abs(right).max(axis=1, keepdims=True)).any():
                found.append(node.name)
    return tuple(found)


def _factors(op: Any, scales: tuple[Fraction, ...], source: Scaled | None) -> tuple[Fraction, ...]:
    """Of channels with one weight: a power of two where that makes the weight a whole number. The ratio of
    scales stays what the file says, and ties are ties. Beside a bias, unless all are powers: the unit that
    comes closest to it."""
    twos = per_channel(op.weights, 127, power_of_two=True)
    units = divide(op.weights, twos).ravel()
    whole = (units == np.rint(units)) & ((op.bias == 0) | (source is not None and source.dyadic))
    if source is not None:
        scales = tuple(
            _near(float(weight), float(bias) / float(source.scale), scale)
            for weight, bias, scale in zip(op.weights.ravel(), op.bias, scales, strict=True)
        )
    return tuple(two if fits else scale for two, scale, fits in zip(twos, scales, whole, strict=True))


def _near(weight: float, bias: float, scale: Fraction) -> Fraction:
    """The scale of a weight of 64 to 127 units of which the bias, in steps of what is read, is closest to a
    whole number; `scale`, of 127 of them, where others are no closer."""
    if not weight or not bias:
        return scale
    counts = np.arange(127, 63, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        ideal = bias / weight * counts
        off = np.abs(ideal - np.rint(ideal)) / counts
    best = int(counts[np.argmin(off)])
    return scale if best == 127 else float32_scale(abs(weight) / best, power_of_two=False)


def _int4(
    weights: NDArray[np.float64], stored: IntegerWeights | None, *, power_of_two: bool
) -> IntegerWeights:
    """A quantised model's own integers where all of them fit, else those with the least squared error."""
    low, high = least_squares.INT4
    if stored is not None and low <= stored.integers.min() and stored.integers.max() <= high:
        return replace(stored, code="int4")
    return IntegerWeights(*least_squares.fit(weights, low, high, power_of_two=power_of_two), "int4")


def _at(rows: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.take_along_axis(rows, columns, axis=1)


def _flat(node: Node) -> NDArray[np.float64]:
    op: Any = node.op
    return np.asarray(op.weights.reshape(op.weights.shape[0], -1))
