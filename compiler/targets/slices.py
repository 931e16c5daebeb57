# SPDX-License-Identifier: Apache-2.0
"""Values that are made where a Concat would copy them to: slices of its output.

before: a -> A, b -> B, Concat(A, B) copies both into C     after: A and B are parts of C, nothing is copied

Only where each input is one run of bytes in the output: joined by rows (channels are innermost), at a single
place, or as vectors; and where nobody but the Concat reads the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .plan import Plan, Step

Slices = Mapping[str, tuple[str, int]]  # storage -> the storage that it is part of, and where it begins there


def joins(plan: Plan) -> Iterator[Slices]:
    """Of each Concat the inputs that can be slices of its output."""
    made = {step.target for step in plan.steps}
    for step in plan.steps:
        if step.kind == "concat" and step.view["outer"] == 1:
            found, at = {}, 0
            for source, size in zip(step.sources, step.view["chunks"], strict=True):
                alike = plan.words[source] == plan.words[step.target]
                if source in made and alike and _alone(plan, source, step):
                    found[source] = (step.target, at)
                at += size
            yield found


def _alone(plan: Plan, source: str, concat: Step) -> bool:
    once = concat.sources.count(source) == 1
    return once and plan.readers(source) == [concat] and source not in plan.outputs


def whole_of(slices: Slices, storage: str) -> tuple[str, int]:
    """The storage that is no slice, and where in it another one begins: slices of slices resolved."""
    at = 0
    while storage in slices:
        storage, more = slices[storage]
        at += more
    return storage, at
