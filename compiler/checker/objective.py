# SPDX-License-Identifier: Apache-2.0
"""The bound of one combination of all bounded elements: one more layer behind both networks, of which every
symbol and every row comes from what the outputs share."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .claims import Claim, shown, witness_of
from .envelopes import Entry
from .files import floats, mapping, need
from .forms import Pad
from .layers import Layer, Network, fresh
from .pairs import Affine, Step
from .rounding import Floats, slack, up

KEYS = {"weights", "lower", "upper", "bound", "attack", "witness"}


@dataclass(frozen=True)
class Objective:
    """lower <= weights . (integer - float) <= upper; the weights of one output after the other."""

    weights: Floats
    lower: float
    upper: float
    bound: float
    attack: float
    witness: dict[str, list[Fraction]]


def read_objective(said: Any, claims: list[Claim], whole: Network) -> Objective:
    """What the certificate says; weights in the order of the claims."""
    mapping(said, "objective", KEYS)
    parts = mapping(said["weights"], "objective: weights", {claim.name for claim in claims})
    each = [floats(parts[claim.name], "objective: weights", claim.bound.size) for claim in claims]
    weights = np.concatenate(each)
    need(weights.any(), "objective: weights of 0 only")
    numbers = [said[key] for key in ("lower", "upper", "bound", "attack")]
    lower, upper, bound, attack = floats(numbers, "objective", 4).tolist()
    need(lower <= upper and bound == max(upper, -lower), "objective: ends that are not those of the bound")
    need(0 <= attack <= bound, "objective: an attack above the bound")
    return Objective(
        weights, lower, upper, bound, attack, witness_of(said["witness"], "objective: witness", whole)
    )


def check_shown(
    objective: Objective,
    claims: list[Claim],
    steps: list[Step],
    whole: Network,
    entries: dict[str, Entry],
    *,
    single: bool,
) -> None:
    """The witness lies in the box and shows the attack; what it shows is not above the bound."""
    where, values = "objective", [claim.value for claim in claims]
    ends = shown(objective.witness, values, steps, whole, entries, where, single=single)
    low, high = (np.concatenate([ends[value][side].ravel() for value in values]) for side in (0, 1))
    positive, negative = np.maximum(objective.weights, 0), np.minimum(objective.weights, 0)
    off = slack(2 * low.size, np.abs(objective.weights) @ (np.abs(low) + np.abs(high)))
    least, most = positive @ low + negative @ high - off, positive @ high + negative @ low + off
    need(objective.attack <= max(most, -least), "objective: the witness does not show the attack")
    need(least <= objective.upper and most >= objective.lower, "objective: the witness exceeds the bound")


def behind(objective: Objective, claims: list[Claim], steps: list[Step], whole: Network) -> list[Step]:
    """The steps that compute the combination; the last one's output is its value."""
    taken = {*whole.inputs, *(step.layer.output for step in steps)}

    def named(op: str, reads: tuple[str, ...], data: Any, shape: tuple[int, ...]) -> Step:
        name = fresh("objective", taken)
        taken.add(name)
        return Step(Layer(name, op, reads, name), data, shape)

    flat = [named("Reshape", (claim.value,), None, (claim.bound.size,)) for claim in claims]
    size, reads = objective.weights.size, tuple(step.layer.output for step in flat)
    joined = named("Concat", reads, 0, (size,))
    w, zero = objective.weights.reshape(1, 1, size), np.zeros((1, 1, 1))
    at = np.arange(size).reshape(1, size, 1)
    sums = Affine(w, w, 0 * w, zero, zero, zero, at, Pad(), 0, Fraction(1), 0, (0, 0), (0, zero, zero))
    return [*flat, joined, named("Combination", (joined.layer.output,), sums, (1,))]


def check_objective(objective: Objective, claims: list[Claim], box: Floats) -> None:
    """Both ends are confirmed by the ranges of the combination, or by the bounds of its elements."""
    weights, bounds = np.abs(objective.weights), np.concatenate([claim.bound for claim in claims])
    apart = weights @ bounds
    apart = float(up(apart + slack(bounds.size, apart)))
    low, high = max(float(box[4].min()), -apart), min(float(box[5].max()), apart)
    need(objective.lower <= low, f"objective: claimed {objective.lower:.10g} or more, found {low:.10g}")
    need(objective.upper >= high, f"objective: claimed {objective.upper:.10g} or less, found {high:.10g}")
