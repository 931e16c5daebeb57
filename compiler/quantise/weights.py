# SPDX-License-Identifier: Apache-2.0
"""Integer weights per layer, by the code that was asked for; layers that cannot take it fall back to int8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from ..graph import Graph, Node
from ..ops import Conv
from ..ops.base import IntegerWeights
from ..passes.layout import columns, orders
from . import least_squares, pools, powers
from .scales import divide, per_channel

CODES = ("int8", "int4", "pot4", "pool64")


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
    wide: Collection[str] = (),
) -> dict[str, IntegerWeights]:
    """Weights for every weighted node; `codes` by node name, `fixed` as read from a quantised model. `wide`:
    values of 16 bits, which pools cannot take."""
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
        pool = code == "pool64" and node.inputs[0] in wide
        code = code if takes(node, code) and not pool else "int8"
        if code == "int8" and node.name in fixed:
            chosen[node.name] = fixed[node.name]
        elif code == "int8":
            scales = per_channel(op.weights, 127, power_of_two=power_of_two)
            units = np.clip(np.rint(divide(op.weights, scales)), -127, 127)
            chosen[node.name] = IntegerWeights(units.astype(np.int64), scales)
        elif code == "int4":
            chosen[node.name] = _int4(op.weights, fixed.get(node.name), power_of_two=power_of_two)
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


def _int4(
    weights: NDArray[np.float64], stored: IntegerWeights | None, *, power_of_two: bool
) -> IntegerWeights:
    """A quantised model's own integers where all of them fit, else those with the least squared error."""
    low, high = least_squares.INT4
    if stored is not None and low <= stored.integers.min() and stored.integers.max() <= high:
        return replace(stored, code="int4")
    return IntegerWeights(*least_squares.fit(weights, low, high, power_of_two=power_of_two), "int4")


def _flat(node: Node) -> NDArray[np.float64]:
    op: Any = node.op
    return np.asarray(op.weights.reshape(op.weights.shape[0], -1))
