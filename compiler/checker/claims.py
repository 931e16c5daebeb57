# SPDX-License-Identifier: Apache-2.0
"""What a certificate says of outputs and layers, and the parts of it that need no bound over the box."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from .analysis import Analysis
from .envelopes import Entry
from .files import floats, integer, integers, mapping, need, sequence
from .layers import Network, final
from .pairs import Rounding, Step
from .rounding import Floats, Ints, down, lattice, rounded, times, up
from .shares import Share, lost
from .spans import SUMS, spans


@dataclass(frozen=True)
class Claim:
    """One output: the value that is bounded (the logits under a softmax), and what is said of it."""

    name: str
    value: str
    bound: Floats
    attack: Floats
    bound_e9: int
    witness: dict[str, list[Fraction]]
    domains: Any


def read_claims(said: Any, whole: Network, *, single: bool = False) -> list[Claim]:
    """One claim per output of the network; finite, 0 <= attack <= bound."""
    claims = []
    for name, entry in mapping(said, "outputs", set(whole.outputs)).items():
        maker, keys = final(whole, name), {"value", "bound", "attack", "bound_e9", "witness", "domains"}
        softmax = maker is not None and maker.op == "Softmax"
        value = name if maker is None else maker.inputs[0]
        more = {"softmax", "probability_bound"} if softmax else {"argmax"} if maker is not None else set()
        mapping(entry, f"output {name}", keys | more)
        need(entry["value"] == value, f"{name}: bounds {entry['value']!r}, expected {value!r}")
        need(not softmax or entry["softmax"] == "the bound is on the logits", f"{name}: softmax")
        need("argmax" not in more or entry["argmax"] == "the bound is on what is compared", f"{name}: argmax")
        size = int(np.prod(whole.shapes[value]))
        bound, attack = (floats(entry[key], f"{name}: {key}", size) for key in ("bound", "attack"))
        need((attack >= 0).all() and (bound >= 0).all(), f"{name}: a negative bound or attack")
        need((attack <= bound).all(), f"{name}: an attack above the bound")
        largest = float(bound.max())
        if softmax and maker is not None:
            count = whole.shapes[value][-1]
            share = Share.of(maker, whole.meanings[name], count, (0, 0))
            error = share.error() + (lost(count) if single else 0.0)
            least = min(0.5 * largest + error, 1.0)  # a probability
            (largest,) = floats([entry["probability_bound"]], f"{name}: probability_bound", 1).tolist()
            need(largest >= least, f"{name}: probability_bound below {least}")
        e9 = -int(-Fraction(largest) * 10**9 // 1)
        need(
            integer(entry["bound_e9"], f"{name}: bound_e9", 0, 1 << 1100) == e9,
            f"{name}: bound_e9 is not {e9}",
        )
        witness = witness_of(entry["witness"], f"{name}: witness", whole)
        claims.append(Claim(name, value, bound, attack, e9, witness, entry["domains"]))
    return claims


def witness_of(said: Any, where: str, whole: Network) -> dict[str, list[Fraction]]:
    """An input of the network, exactly."""
    return {
        key: [Fraction(v) for v in floats(x, "witness", int(np.prod(whole.shapes[key]))).tolist()]
        for key, x in mapping(said, where, set(whole.inputs)).items()
    }


def shown(
    witness: dict[str, list[Fraction]],
    values: list[str],
    steps: list[Step],
    whole: Network,
    entries: dict[str, Entry],
    where: str,
    *,
    single: bool,
) -> dict[str, tuple[Floats, Floats]]:
    """integer - float of these values at an input in the box, at least and at most.

    The integer side is evaluated exactly, the float side enclosed by the interval rules at one point.
    """
    point, q, found = {}, {}, {}
    for name, x in witness.items():
        entry = entries[name]
        if entry.grid:
            x = [entry.scale * (entry.quantised(v) - entry.zero) for v in x]
        inside = all(a <= v <= b for a, v, b in zip(entry.lower, x, entry.upper, strict=True))
        need(inside, f"{where}: the witness lies outside the box")
        point[name] = replace(entry, lower=tuple(x), upper=tuple(x))
        q[name] = np.array([entry.quantised(v) for v in x], np.int64).reshape(entry.shape)
    boxes = dict(Analysis(intervals=True, zonotope=False, single=single).run(steps, point))
    numbers = spans(whole, {name: (n, n) for name, n in q.items()})
    for value in values:
        meaning = whole.meanings[value]
        low, high = times(numbers[value][0] - meaning.zero, meaning.scales[0])
        lx, ux, ly, uy = boxes[value][:4]
        need(((ly <= high) & (low <= uy)).all(), f"{where}: the checker contradicts itself")
        found[value] = down(low - ux), up(high - lx)
    return found


def check_witness(
    claims: list[Claim], steps: list[Step], whole: Network, entries: dict[str, Entry], *, single: bool
) -> None:
    """The witness lies in the box and shows the stated attack; no difference there is above its bound."""
    for claim in claims:
        ends = shown(claim.witness, [claim.value], steps, whole, entries, claim.name, single=single)
        low, high = (end.ravel() for end in ends[claim.value])
        i = int(claim.attack.argmax())
        most = max(high[i], -low[i])
        need(claim.attack[i] <= most, f"{claim.name}[{i}]: the witness does not show the attack")
        need((np.maximum(low, -high) <= claim.bound).all(), f"{claim.name}: the witness exceeds the bound")


def check_layers(said: Any, steps: list[Step], whole: Network, boxes: dict[str, Floats]) -> None:
    """Ranges of accumulators and the neurons that can saturate."""
    for step, entry in zip(steps, sequence(said, "layers", len(steps)), strict=True):
        layer, where = step.layer, f"layers: {step.layer.name}"
        more = {"range", "range_in_domain", "bits"} if layer.op in SUMS else set()
        more |= {"saturates"} if layer.op == "Requantise" else set()
        mapping(entry, where, {"node", "origin", "op"} | more)
        need((entry["node"], entry["origin"], entry["op"]) == (layer.name, layer.origin, layer.op), where)
        if layer.op in SUMS:
            low, high = whole.hulls[layer.output]
            need(integers(entry["range"], where, -(1 << 62), 1 << 62, 2) == (low, high), f"{where}: range")
            width = max((end if end >= 0 else -1 - end).bit_length() for end in (int(low), int(high))) + 1
            need(integer(entry["bits"], where, 1, 64) == width, f"{where}: bits")
            meaning, box = whole.meanings[layer.output], boxes[layer.output]
            units = np.array([float(s) for s in meaning.scales]).reshape(-1, *(1,) * (box.ndim - 2))
            first, last = lattice(box[2], box[3], np.broadcast_to(units, box.shape[1:]), (low, high))
            a, b = integers(entry["range_in_domain"], where, low, high, 2)
            need(a <= first.min() and last.max() <= b, f"{where}: range_in_domain")
        elif layer.op == "Requantise":
            box = boxes[layer.inputs[0]]
            neurons = set(np.flatnonzero(_saturates(step.data, box)).tolist())
            listed = integers(entry["saturates"], where, 0, box[0].size - 1)
            need(len(set(listed)) == len(listed) and neurons <= set(listed), f"{where}: saturates")


def _saturates(t: Rounding, box: Floats) -> Any:
    """Neurons that lo or hi can cut, where that limit does not stand for the float activation's own."""
    first, last = lattice(box[2], box[3], t.step, t.span)
    ends: list[Ints] = [rounded(n, t.m, t.s, t.mode, t.zero) + t.zero for n in (first, last)]
    scale = float(t.scale)
    own = [
        abs(scale * (q - t.zero) - x) <= 0.5000001 * scale
        for q, x in zip((t.lo, t.hi), t.limits, strict=True)
    ]
    return ((ends[0] < t.lo) & (not own[0])) | ((ends[1] > t.hi) & (not own[1]))
