# SPDX-License-Identifier: Apache-2.0
"""Sums of which only the sign is read: stored in their own units, saturated, which changes no sign.

before: Dense -> acc -> Requantise (a scale for its range) -> q -> Sign    halves of a step may change sides
after:  Dense -> acc -> Requantise (the unit of acc) -> q -> Sign          q < 0 where acc < 0
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..graph import Graph
from ..ops import Clip, Sign, Take
from ..ops.base import Scaled
from ..passes.activations import KEEPS
from ..ranges import INT8

UNKNOWN = Scaled(Fraction(1), 0, *INT8)
APART = 1 << 24  # of the units of two channels: multipliers of 31 bits carry their ratio
ADD_BITS = 28  # of the larger factor of an Add


def only_signs(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Activations of sums that only a Sign reads, each with all values to which its integers move before."""
    found: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        maker = graph.producer(node.inputs[0])
        if isinstance(node.op, Clip) and maker is not None and maker.op.accumulates:
            moved = _moved(graph, node.output)
            if moved is not None:
                found[node.output] = moved
    return found


def _moved(graph: Graph, value: str) -> tuple[str, ...] | None:
    readers = graph.consumers(value)
    if value in graph.outputs or not readers:
        return None
    found: tuple[str, ...] = (value,)
    for node in readers:
        if isinstance(node.op, Sign):
            continue
        pads = isinstance(node.op, Take) and node.op.pad != 0  # in these units a pad would saturate
        more = _moved(graph, node.output) if isinstance(node.op, KEEPS) and not pads else None
        if more is None:
            return None
        found += more
    return found


def of_signs(units: Sequence[Fraction]) -> Scaled:
    """The unit of a sum, of several channels the finest: no sum but 0 is rounded to 0."""
    return Scaled(max(min(units), max(units) / APART), 0, *INT8)


def finest(inputs: Sequence[Scaled]) -> Scaled:
    """For an Add, whose factors are made for the scale behind it: as fine as their words allow."""
    return Scaled(max(scale.scale for scale in inputs) / (1 << ADD_BITS), 0, *INT8)
