# SPDX-License-Identifier: Apache-2.0
"""Where the bound comes from: the sources of difference switched on one after the other, in the order in
which values meet them. What each one adds, added up, is the bound."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

from ..domains.pair_product import PairProduct
from ..domains.pair_sources import PairSources, sources
from ..graph import Graph
from .branch import largest, ranges
from .certificate import bounded
from .layers import describe
from .lockstep import entries, lockstep
from .question import Ends

TABLES = "tables"
NOTHING = 1e-6  # of the bound: what outward rounding alone amounts to


def shares(real: Graph, whole: Graph, ends: Ends) -> dict[str, Any]:
    """Of the output element with the largest bound (no splitting): what every source adds to its bound.

    `tables` comes first where there are any: their entries are never off.
    """
    both = lockstep(real, whole)
    at, names = entries(both, whole, *ends), sorted(set(bounded(whole)[0].values()))
    found = ranges(both, PairProduct, at, set(range(len(both.steps))))
    bounds = largest(both, found, names)
    name = max(names, key=lambda n: float(bounds[n].max()))
    element = int(bounds[name].argmax())
    layers = describe(both, whole, found)
    cut = {layer["node"] for layer in layers if layer.get("saturates")}
    steps, order = both.steps, sources(both.steps, cut)
    totals = []
    for k in range(len(order) + 1):
        part = ranges(both, partial(PairSources, steps, set(order[:k])), at, {both.values[name]})
        totals.append(float(largest(both, part, [name])[name].ravel()[element]))
    adds = [totals[0], *(now - before for before, now in pairwise(totals))]
    rows: list[dict[str, Any]] = [
        {"layer": layer, "source": kind, "adds": each, "share": each / totals[-1] if totals[-1] else 0.0}
        for (layer, kind), each in zip([("", TABLES), *order], adds, strict=True)
    ]
    if abs(rows[0]["share"]) < NOTHING:
        del rows[0]
    return {"output": f"{name}[{element}]", "bound": float(bounds[name].ravel()[element]), "rows": rows}
