# SPDX-License-Identifier: Apache-2.0
"""Ranges of every float value over calibration inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import Exact
from ..domains.interval import Interval
from ..errors import CompileError
from ..graph import Graph
from ..ops import Take
from ..ops.base import Scaled
from ..passes.activations import KEEPS

Ranges = dict[str, tuple[float, float]]
AFFORDABLE = 2.0  # factor between what a box can reach and what was seen
MARGIN = 1.05


def calibrate(
    graph: Graph, samples: Mapping[str, NDArray[Any]], known: Mapping[str, Scaled] | None = None
) -> Ranges:
    """(min, max) of each value over N samples per graph input, arrays N x shape.

    A value that is quantised already (`known`) is rounded and cut: with activations of few bits, what is
    computed from it goes elsewhere than the real numbers do.
    """
    counts = {name: len(array) for name, array in samples.items()}
    if not counts or min(counts.values()) == 0:
        raise CompileError("calibration", "no samples", "at least one input", "--calibration X.npz")
    count = min(counts.values())
    ranges: Ranges = {}
    for i in range(count):
        values = {
            name: _held(known, name, np.asarray(array[i], np.float64)) for name, array in samples.items()
        }
        for node in graph.nodes:
            found = node.op.meaning(Exact(), *(values[name] for name in node.inputs))
            values[node.output] = _held(known, node.output, found)
        for name, value in values.items():
            lo, hi = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(lo, float(value.min())), max(hi, float(value.max())))
    broken = [name for name, ends in ranges.items() if not np.isfinite(ends).all()]
    if broken:
        raise CompileError("calibration", f"{broken[0]!r} is not finite on the samples", "finite activations")
    return ranges


def _held(known: Mapping[str, Scaled] | None, name: str, x: NDArray[Any]) -> NDArray[Any]:
    """What a value is once it is stored."""
    scaled = (known or {}).get(name)
    return x if scaled is None else scaled.nearest(x)


def reachable(
    graph: Graph,
    lower: Mapping[str, NDArray[Any]],
    upper: Mapping[str, NDArray[Any]],
    known: Mapping[str, Scaled] | None = None,
) -> Ranges:
    """(lowest, highest) of each value over an input box by interval arithmetic: never too narrow.

    A value that is quantised already (`known`) holds no more than its integers can represent.
    """
    d, boxes = Interval(), dict[str, Any]()
    for name in graph.inputs:
        boxes[name] = np.asarray(lower[name], np.float64), np.asarray(upper[name], np.float64)
    for node in graph.nodes:
        box = node.op.meaning(d, *(boxes[name] for name in node.inputs))
        held = (known or {}).get(node.output)
        boxes[node.output] = box if held is None else d.clip(box, *held.reals)
    return {name: (float(lo.min()), float(hi.max())) for name, (lo, hi) in boxes.items()}


def with_pads(graph: Graph, ranges: Ranges) -> Ranges:
    """Ranges that also hold what a Take pads with, of the value whose scale it takes over."""
    wide = dict(ranges)
    for node in graph.nodes:
        if isinstance(node.op, Take) and (node.op.positions < 0).any():
            source = node.inputs[0]
            while (maker := graph.producer(source)) and isinstance(maker.op, KEEPS):
                source = maker.inputs[0]
            low, high = wide[source]
            wide[source] = min(low, node.op.pad), max(high, node.op.pad)
    return wide


def widen(seen: Ranges, limits: Ranges | None) -> Ranges:
    """What activations should cover: all that the box can reach where that is at most twice what was seen.

    A neuron that provably never saturates costs up to one bit of resolution and buys a far tighter bound.
    Elsewhere what was seen, and a little more when the samples came from a box.
    """
    if limits is None:
        return seen
    wide: Ranges = {}
    for name, (lo, hi) in seen.items():
        low, high = limits[name]
        wide[name] = (
            low if low >= AFFORDABLE * lo else max(low, MARGIN * lo),
            high if high <= AFFORDABLE * hi else min(high, MARGIN * hi),
        )
    return wide


def samples_of_box(
    lower: Mapping[str, NDArray[Any]], upper: Mapping[str, NDArray[Any]], count: int, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Inputs in a box: a quarter of the coordinates at each end, half of them random; N x shape by name.

    All inputs come from one generator: two that were drawn alike would never show what their difference or
    their product can be.
    """
    rng, found = np.random.default_rng(seed), {}
    for name, low in lower.items():
        inside = rng.uniform(size=(count, *low.shape))
        end = rng.uniform(size=inside.shape)
        mix = np.where(end < 0.25, 0.0, np.where(end > 0.75, 1.0, inside))
        found[name] = np.asarray(low + mix * (upper[name] - low))
    return found
