# SPDX-License-Identifier: Apache-2.0
"""The integer network against a float network of another shape: pruned, decomposed, with fewer layers.

There is no pairing of layers, so both float networks are walked over the same input: the integer network
beside its own float twin, the other network from the same states, in one domain whose forms and backward
passes share the input. The last step subtracts. Looser than a pairing, tighter than two separate bounds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import run
from ..domains.pair import Affine, Entry, PairDomain
from ..domains.pair_crown import PairCrown
from ..domains.pair_float import down, scaled, up
from ..domains.pair_interval import PairInterval
from ..domains.pair_itself import Linear, PairItself
from ..errors import CompileError
from ..graph import Graph
from ..ops.final import final
from .attack import Attack, at_point, attack, contradicted
from .branch import bounds
from .certificate import bounded, claim
from .lockstep import Lockstep, entries, lockstep, walk
from .question import Ends

Floats = NDArray[np.float64]


def bound_reference(
    real: Graph, whole: Graph, other: Graph, ends: Ends, seed: int, matched: Graph | None = None
) -> dict[str, Any]:
    """|integer network - other| over a box: at most and at least, per element of every output.

    `other` has the names of whole's inputs; its outputs are taken in order. `matched`: the integer network
    with origins in `other`, where the two have the same layers.
    """
    start, both = time.perf_counter(), lockstep(real, whole)
    at, twins = entries(both, whole, *ends), _twins(whole, other)
    bound = _bounds(both, at, other, twins)
    if matched is not None:
        pairs = lockstep(other, matched)
        close = bounds(pairs, PairCrown, entries(pairs, matched, *ends), list(twins))
        bound = {name: np.minimum(apart, claim(close[name])) for name, apart in bound.items()}
    seen = partial(_seen, whole, both, at, other, twins)
    found: Attack = attack(other, whole, both, at, twins, seed=seed, enclose=seen)
    contradicted(bound, found)
    rows = [
        {
            "output": f"{name}[{i}]",
            "attack": float(low),
            "bound": float(high),
            "ratio": high / low if low else None,
        }
        for name in twins
        for i, (low, high) in enumerate(zip(found.found[name].ravel(), bound[name].ravel(), strict=True))
    ]
    witness = {
        name: {key: x.ravel().tolist() for key, x in each[int(found.found[name].argmax())].items()}
        for name, each in found.witness.items()
    }
    method = "separate, input shared" + (", and layer by layer" if matched is not None else "")
    return {
        "method": method,
        "rows": rows,
        "witness": witness,
        "seconds": round(time.perf_counter() - start, 3),
    }


def _twins(whole: Graph, other: Graph) -> dict[str, str]:
    """Bounded value of the integer network -> value of the other one, by the order of outputs."""
    for name in whole.inputs:
        if name not in other.inputs or other.values[name].shape != whole.values[name].shape:
            shapes = [other.values[n].shape for n in other.inputs]
            raise CompileError("--reference", f"inputs of shapes {shapes}", "those of the build")
    pairs = list(zip(bounded(whole)[0].values(), bounded(other)[0].values(), strict=False))
    same = all(whole.values[a].size == other.values[b].size for a, b in pairs)
    if len(whole.outputs) != len(other.outputs) or not same:
        shapes = [other.values[n].shape for n in other.outputs]
        raise CompileError("--reference", f"outputs of shapes {shapes}", "as many elements as the build's")
    if len({b for _, b in pairs}) != len(dict.fromkeys(a for a, _ in pairs)):
        raise CompileError("--reference", "outputs that share a value", "as in the build")
    return dict(pairs)


def _bounds(
    both: Lockstep, at: Mapping[int, Entry], other: Graph, twins: Mapping[str, str]
) -> dict[str, Floats]:
    domain = PairCrown()
    wanted = {both.values[name] for name in (*both.inputs, *twins)}
    states = {position: state for position, state in walk(both, domain, at) if position in wanted}
    theirs = _walk_other(domain, other, {name: states[both.values[name]] for name in both.inputs})
    bound = {}
    for name, twin in twins.items():
        n = both.steps[both.values[name]].shape
        count = int(np.prod(n))
        sides = [domain.reshape(x, (count,)) for x in (theirs[twin], states[both.values[name]])]
        column = domain.reshape(domain.concat(sides, 0), (1, 2 * count, 1))
        one, none = np.eye(count), np.zeros((count, count))
        last = Linear(np.hstack([one, none])[None], np.zeros((1, count)), np.hstack([none, one])[None])
        box = domain.ranges(domain.affine(column, cast(Affine, last)))
        bound[name] = claim(np.maximum(box.ud, -box.ld).reshape(n))
    return bound


def _walk_other(domain: PairDomain[Any], other: Graph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """States of every value of a float network before a final op."""
    words, values = PairItself(domain), dict(inputs)
    for node in other.nodes:
        if final(other, node.output) is None:
            op: Any = node.op  # a float network has no words but those of PairItself
            values[node.output] = op.meaning(words, *(values[name] for name in node.inputs))
    return values


def _seen(
    whole: Graph,
    both: Lockstep,
    at: Mapping[int, Entry],
    other: Graph,
    twins: Mapping[str, str],
    x: Mapping[str, Any],
) -> dict[str, tuple[Floats, Floats]]:
    """integer - other at one input, between two floats, per element of the bounded values."""
    point, q = at_point(both, at, x)
    domain = PairInterval()
    inputs = {name: domain.enter(point[both.values[name]]) for name in both.inputs}
    numbers, theirs, result = run(whole, q), _walk_other(domain, other, inputs), {}
    for name, twin in twins.items():
        quant, box = whole.values[name].quant, theirs[twin].reshape(whole.values[name].shape)
        assert quant is not None
        low, high = scaled(numbers[name] - quant.zero, quant.scale[0])
        result[name] = down(low - box.ux), up(high - box.lx)
    return result
