# SPDX-License-Identifier: Apache-2.0
"""What the certificate says per layer: accumulator ranges and neurons that can saturate inside the box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Rounding, Step
from ..domains.pair_box import Box
from ..domains.pair_float import rounded
from ..graph import Graph
from .lockstep import Lockstep

MARGIN = 1e-9  # of the largest number of a tensor


def describe(both: Lockstep, whole: Graph, boxes: Mapping[int, Box]) -> list[dict[str, Any]]:
    """One entry per integer node that the bound covers, in order."""
    boxes = {position: _wider(box) for position, box in boxes.items()}
    last = {step.node: i for i, step in enumerate(both.steps)}
    layers = []
    for node in whole.nodes:
        if node.name not in last:
            continue
        position = last[node.name]
        step = both.steps[position]
        layer: dict[str, Any] = {"node": node.name, "origin": node.origin, "op": type(node.op).__name__}
        span = whole.values[node.output].range
        assert span is not None
        if node.op.accumulates:
            first, final = step.units.integers(boxes[position])
            layer["range"] = [span.lo, span.hi]
            layer["range_in_domain"] = [int(first.min()), int(final.max())]
            layer["bits"] = span.bits
        if step.word == "requantise":
            layer["saturates"] = _saturates(step, both, boxes).tolist()
        layers.append(layer)
    return layers


def _wider(box: Box) -> Box:
    """Ranges of y that a checker which adds in another order confirms: a sum's unit may be 1e-11, or of
    16-bit integers 1e-13, of its range."""
    more = MARGIN * max(np.abs(box.ly).max(initial=0.0), np.abs(box.uy).max(initial=0.0))
    return replace(box, ly=box.ly - more, uy=box.uy + more)


def _saturates(step: Step, both: Lockstep, boxes: Mapping[int, Box]) -> NDArray[np.int64]:
    """Flat positions of neurons that the integer limits can cut where the float activation does not."""
    before = step.inputs[0]
    unit = both.steps[before].units
    terms, box = Rounding(step, unit), boxes[before]
    first, final = unit.integers(box)
    low, high = (rounded(n, terms.m, terms.s, terms.mode, terms.zero) + terms.zero for n in (first, final))
    scale, (a, c) = float(terms.scale), step.real
    own_low = (
        abs(scale * (terms.lo - terms.zero) - a) <= 0.5000001 * scale
    )  # the limit stands for the float one
    own_high = abs(scale * (terms.hi - terms.zero) - c) <= 0.5000001 * scale
    cut = ((low < terms.lo) & (not own_low)) | ((high > terms.hi) & (not own_high))
    return np.flatnonzero(cut)
