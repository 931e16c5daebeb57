# SPDX-License-Identifier: Apache-2.0
"""Give every value of an integer graph its range, derived from the ranges of the graph's inputs.

before: values with stale or no ranges            after: the hull of what the interval domain finds
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..domains.exact import run
from ..domains.interval import Interval
from ..graph import Graph, Quant, Value, check
from ..ranges import Range


def derive_ranges(graph: Graph, spans: Mapping[str, tuple[int, int]], units: Mapping[str, Quant]) -> Graph:
    """`spans` are the (lo, hi) of each input's integers, `units` what every value's integers mean."""
    boxes = {
        name: tuple(np.full(graph.values[name].shape, end, np.int64) for end in spans[name])
        for name in graph.inputs
    }
    values = {
        name: Value(name, graph.values[name].shape, units[name], Range(int(lo.min()), int(hi.max())))
        for name, (lo, hi) in run(graph, boxes, Interval()).items()
    }
    return check(Graph(graph.name, graph.inputs, graph.outputs, graph.nodes, values), integer=True)
