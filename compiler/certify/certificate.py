# SPDX-License-Identifier: Apache-2.0
"""The certificate: over this box no output differs from the float network by more than its bound."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Entry
from ..domains.pair_box import Box
from ..domains.pair_crown import PairCrown
from ..domains.pair_interval import PairInterval
from ..domains.pair_product import PairProduct
from ..domains.pair_single import softmax_lost
from ..domains.pair_softmax import Law
from ..domains.pair_window import Passes
from ..domains.pair_zonotope import PairZonotope
from ..graph import Graph
from ..ops import MatMul, Requantise, Softmax
from ..ops.final import final
from ..rounding import AVERAGE, HALF_EVEN, MEAN
from .attack import FEW, Attack, attack, contradicted, improved, stronger
from .best_first import Pieces, search
from .branch import Bounds, Make, largest, ranges, ranges_within
from .corner_rows import Behind
from .corners import Ends, known, narrowed, promising
from .effort import Effort, Ended, never
from .layers import describe
from .lockstep import Lockstep, entries, lockstep
from .objective import described, ends_of
from .pieces import Cut

FORMAT = "tinybound-certificate-1"
MARGIN = Fraction(1, 10**9)  # so that a checker which adds in another order confirms the claim
LAST = Fraction(1, 1 << 44)  # of the largest number in any layer: where all that is bounded is rounding
FINE = 256 * MARGIN  # the same beside 16-bit integers, whose bounds are so much smaller than what is added
Floats = NDArray[np.float64]
ONCE = Effort()
CORNERS = 0.5  # of the time that is left
GAIN = 0.999  # of the largest bound: pieces by neurons that lower it by less are not worth a checker's time
AGAIN = 4  # times the evaluations of the first search for differences, where there is time
FORM = 128  # multiply-adds that take as long as a number in the form of one product
ARITHMETIC = ("real", "float32")  # of the float network: `semantics.reference`
DOMAINS: tuple[tuple[str, Make], ...] = (
    ("interval", PairInterval),
    ("zonotope", PairZonotope),
    ("product", PairProduct),
    ("crown", PairCrown),
)


@dataclass(frozen=True)
class Certificate:
    """A bound per output element with its evidence. Same input, same `dump()`, but for the seconds."""

    bound: Bounds  # per bounded value
    attack: Attack
    values: Mapping[str, str]  # output -> the value that is bounded (what a final op reads)
    probability: Mapping[str, float]  # output of a Softmax -> bound on its probabilities
    alone: Mapping[str, Bounds]  # the bound by each domain alone
    hashes: Mapping[str, str]
    fields: Mapping[str, Any]
    seconds: float

    @property
    def arithmetic(self) -> str:
        """Of the float network: `real` or `float32`."""
        return str(self.fields["semantics"]["reference"])

    @property
    def largest(self) -> float:
        """The largest bound of any output element; of a Softmax its probabilities, not the logits."""
        return max(self._largest(name) for name in self.values)

    @property
    def error_e9(self) -> int:
        """The largest bound in units of 1e-9, rounded up: what generated headers carry."""
        return bound_e9(np.array([self.largest]))

    def _largest(self, name: str) -> float:
        return self.probability.get(name, float(self.bound[self.values[name]].max()))

    def with_hashes(self, hashes: Mapping[str, str]) -> Certificate:
        """The same certificate, tied to these files."""
        return replace(self, hashes=dict(sorted(hashes.items())))

    def outputs_json(self) -> dict[str, Any]:
        """Per output: bound, attack, witness, and what each domain alone proves."""
        outputs: dict[str, Any] = {}
        for name, value in self.values.items():
            gaps = self.attack.found[value]
            witness = self.attack.witness[value][int(gaps.argmax())]
            outputs[name] = {
                "value": value,
                "bound": self.bound[value].ravel().tolist(),
                "attack": gaps.ravel().tolist(),
                "bound_e9": bound_e9(np.array([self._largest(name)])),
                "witness": {key: x.ravel().tolist() for key, x in witness.items()},
                "domains": {kind: each[value].ravel().tolist() for kind, each in self.alone.items()},
            }
            if name in self.probability:
                outputs[name]["softmax"] = "the bound is on the logits"
                outputs[name]["probability_bound"] = self.probability[name]
            elif value != name:
                outputs[name]["argmax"] = "the bound is on what is compared"
        return outputs

    def document(self) -> dict[str, Any]:
        """certificate.json as an object."""
        head = {"format": FORMAT, "hashes": dict(self.hashes)}
        return {**head, **self.fields, "outputs": self.outputs_json(), "seconds": self.seconds}

    def dump(self) -> bytes:
        """certificate.json."""
        return (json.dumps(self.document(), indent=1) + "\n").encode()


def certify(
    float_graph: Graph,
    integer_graph: Graph,
    lower: Mapping[str, Any] | NDArray[Any],
    upper: Mapping[str, Any] | NDArray[Any],
    *,
    hashes: Mapping[str, str],
    bits: int | None = None,
    seed: int = 0,
    effort: Effort = ONCE,
    grid: bool = False,
    budget: int | None = None,
    single: bool = False,
    weights: Mapping[str, Floats] | None = None,
) -> Certificate:
    """Bound |integer - float| over the box, attack the bound, and describe the layers.

    lower, upper: an array (floats or Fractions) of the input's shape, or one per name of an input. `bits`:
    the run-time activation bits that integer_graph has been cut to, for the record. `effort`: how far the box
    is searched (a time limit makes the result depend on the machine); `grid`: inputs are integers already,
    and only the reals in the box that they stand for count; `budget`: evaluations of the attack (default:
    what takes a few seconds); `single`: the float network is computed in float32, in whatever order;
    `weights`: per output, of a combination of all bounded elements that is bounded too.
    """
    start = time.perf_counter()
    both = lockstep(float_graph, integer_graph, single=single)
    ends = [side if isinstance(side, Mapping) else {both.inputs[0]: side} for side in (lower, upper)]
    at = entries(both, integer_graph, ends[0], ends[1], grid=grid)
    values, probability = bounded(integer_graph, single=single)
    names = sorted(set(values.values()))
    size = sum(len(entry.lower) for entry in at.values())
    kinds = DOMAINS if (_work(both) + _forms(integer_graph)) * size <= effort.work else DOMAINS[:1]
    ended = never if weights else effort.ended
    passes = Passes(effort.passes, stop=effort.over, end=ended, heard=effort.passed)
    search_on = size > FEW and effort.pieces > 1
    later = search_on and promising(both)  # crown is made once more, with ends by corners
    crown = partial(PairCrown, passes=passes, at_once=not later)
    makes = [(kind, crown if make is PairCrown else make) for kind, make in kinds]
    alone, found = _alone(both, at, names, makes, effort, over=ended)
    sides: Ends = {}
    if len(alone) == len(DOMAINS) and search_on:
        sides, found = _with_corners(both, at, found, effort, passes.again(), anyhow=later)
        alone[DOMAINS[-1][0]] = largest(both, found, names)
    twins = {name: twin_of(float_graph, integer_graph, name) for name in names}
    search_for = partial(attack, float_graph, integer_graph, both, at, brief=effort.brief, over=effort.ended)
    budget = budget or _budget(both)
    before = time.perf_counter()
    evidence = search_for(twins, seed=seed, budget=budget)
    left, took = effort.until - time.perf_counter(), time.perf_counter() - before
    if size > FEW and effort.pieces > 1 and took * 2 * AGAIN < left < np.inf:
        more = search_for(twins, seed=seed + 1, budget=budget, times=AGAIN, over=effort.part(0.5))
        evidence = stronger(evidence, more)
    uncut = split = Pieces(alone["interval"], (None,), ("product",), ())
    if len(alone) == len(DOMAINS):
        split = search(both, at, alone, evidence.largest, effort, {i: found[i] for i in both.values.values()})
    evidence = improved(evidence, integer_graph, both, at, split.near)
    least = {name: np.minimum.reduce([each[name] for each in alone.values()]) for name in names}
    after = max(float(np.minimum(split.bound[name], least[name]).max()) for name in names)
    if size > FEW and after > GAIN * max(float(each.max()) for each in least.values()):
        split = uncut
    margin = FINE if any(value.word == "int16" for value in integer_graph.stored()) else MARGIN
    rest = LAST * Fraction(max(_magnitude(box) for box in found.values()))
    bound = {name: claim(np.minimum(least[name], split.bound[name]), margin, rest) for name in names}
    cut = len(split.tree) > 1 or split.methods == ("cells",)
    contradicted(bound, evidence)
    fields = {
        "semantics": {"requantise": _rule(integer_graph), "bits": bits, "reference": ARITHMETIC[single]},
        "mode": "grid" if grid else "box",
        "method": ", ".join(alone) + ": the least" * (len(alone) > 1) + ", worst piece" * cut,
        "domain": {name: _domain(at[both.values[name]]) for name in both.inputs},
        "tree": [_cut(place) for place in split.tree],
        **({"passes": passes.described()} if "crown" in alone and passes.unusual else {}),
        **({"leaves": list(split.methods)} if cut and set(split.methods) != {"product"} else {}),
        **({"corners": {n: [side.written() for side in each] for n, each in sides.items()}} if sides else {}),
        "layers": describe(both, integer_graph, found),
    }
    claims = {
        kind: {name: claim(b, margin, rest) for name, b in each.items()} for kind, each in alone.items()
    }
    if weights is not None:
        flat = np.concatenate([weights[name].ravel() for name in values])
        both_ends = ends_of(both, at, list(values.values()), flat, bound, passes.again())
        parts = [sum(weights[name].ravel() for name in values if values[name] == value) for value in names]
        seen = search_for(twins, seed=seed, budget=budget, weights=np.concatenate(parts)[None])
        rest *= max(1, sum(map(Fraction, np.abs(flat).tolist())))
        fields["objective"] = described(both_ends, weights, seen, partial(claim, margin=margin, rest=rest))
    chance = {name: _chance(bound[values[name]], error) for name, error in probability.items()}
    seconds = round(time.perf_counter() - start, 3)
    return Certificate(bound, evidence, values, chance, claims, dict(sorted(hashes.items())), fields, seconds)


def _alone(
    both: Lockstep,
    at: Mapping[int, Entry],
    names: list[str],
    kinds: Sequence[tuple[str, Make]],
    effort: Effort,
    over: Callable[[], bool],
) -> tuple[dict[str, Bounds], dict[int, Box]]:
    """What each domain proves of the whole box, and the ranges of all steps by the last one. By intervals
    alone, which take no time, if it is `over` before the others are done."""
    every, alone = set(range(len(both.steps))), dict[str, Bounds]()
    intervals = found = ranges(both, kinds[0][1], at, every)
    try:
        for kind, make in kinds:
            found = ranges(both, make, at, every, over) if alone else intervals
            alone[kind] = largest(both, found, names)
            effort.progress(0.0, min(max(float(each.max()) for each in b.values()) for b in alone.values()))
    except Ended:
        return {kinds[0][0]: alone[kinds[0][0]]}, intervals
    return alone, found


def _with_corners(
    both: Lockstep,
    at: Mapping[int, Entry],
    found: dict[int, Box],
    effort: Effort,
    passes: Passes,
    *,
    anyhow: bool,
) -> tuple[Ends, dict[int, Box]]:
    """Ends by corners, and the ranges of all steps with them."""
    sides = narrowed(both, at, found, effort.part(CORNERS))
    try:
        if sides or anyhow:
            behind = Behind(both, at, sides, effort.part(CORNERS))
            found = ranges_within(both, at, known(both, sides), passes, effort.ended, behind.narrowed)
            sides |= behind.sides
        return sides, found
    except Ended:
        return {}, found


def claim(bound: Floats, margin: Fraction = MARGIN, rest: Fraction = Fraction(0)) -> Floats:
    """A little more than the bound (which may be negative), in 10 significant digits, rounded up: by a share
    of it, and by `rest`."""
    context = Context(prec=10, rounding=ROUND_CEILING)
    flat = []
    for value in bound.ravel().tolist():
        exact = Fraction(value) + abs(Fraction(value)) * margin + rest
        digits = float(context.divide(Decimal(exact.numerator), Decimal(exact.denominator)))
        flat.append(digits if Fraction(digits) >= exact else float(np.nextafter(digits, np.inf)))
    return np.array(flat).reshape(bound.shape)


def _magnitude(box: Box) -> float:
    """The largest number in the ranges of a layer."""
    return max(float(np.abs(end).max(initial=0.0)) for end in (box.lx, box.ux, box.ly, box.uy))


def bound_e9(bound: Floats) -> int:
    """The largest element in units of 1e-9, rounded up."""
    return max((-int(-Fraction(value) * 10**9 // 1) for value in bound.ravel().tolist()), default=0)


def _rule(whole: Graph) -> str:
    """The --requant that an integer network follows; sums with rules of their own keep half to even."""
    modes = {node.op.mode for node in whole.nodes if isinstance(node.op, Requantise)}
    return min(modes - {HALF_EVEN, AVERAGE, MEAN}, default="onnx")


def twin_of(real: Graph, whole: Graph, name: str) -> str:
    """The float value beside an integer value."""
    node = whole.producer(name)
    return name if node is None else real.node(node.origin).output


def bounded(whole: Graph, *, single: bool = False) -> tuple[dict[str, str], dict[str, float]]:
    """Output -> value that is bounded; output of a Softmax -> error of its law, and of a float32 Softmax."""
    values, errors = {}, {}
    for name in whole.outputs:
        node = final(whole, name)
        values[name] = name if node is None else node.inputs[0]
        if node is not None and isinstance(node.op, Softmax):
            n, op, scale = whole.values[node.inputs[0]].shape[-1], node.op, whole.values[node.output].quant
            assert scale is not None
            law = Law.of(op.table, (op.bits, op.extra, op.zero, op.top), scale.scale[0], n)
            errors[name] = law.error + softmax_lost(n) * single
    return values, errors


def _chance(bound: Floats, error: float) -> float:
    """Softmax moves by at most half the largest change of a logit (maximum norm), plus the table's error; and
    by no more than 1."""
    return min(float(claim(np.array([0.5 * float(bound.max()) + error]))[0]), 1.0)


def _forms(whole: Graph) -> int:
    """What products of two tensors add to that: each has a form of its own, which no BLAS makes."""
    return FORM * sum(node.op.macs() for node in whole.nodes if isinstance(node.op, MatMul))


def _work(both: Lockstep) -> int:
    """Multiply-adds of one network."""
    return sum(step.real[0].size * step.shape[2] for step in both.steps if step.word == "affine")


def _budget(both: Lockstep) -> int:
    return int(min(20_000, max(300, 2_000_000_000 // max(_work(both), 1))))


def _rational(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _domain(entry: Entry) -> dict[str, Any]:
    return {
        "lower": [_rational(v) for v in entry.lower],
        "upper": [_rational(v) for v in entry.upper],
        "scale": _rational(entry.units.scale),
        "zero": entry.units.zero,
        "range": [entry.lo, entry.hi],
    }


def _cut(cut: Cut) -> list[Any] | None:
    return None if cut is None else [*cut[:-1], _rational(cut[-1])]
