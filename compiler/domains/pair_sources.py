# SPDX-License-Identifier: Apache-2.0
"""The product domain on a network that does not exist: the integer one with some sources of difference off.

Off, a layer's weights are the float ones, a rounding keeps what it is given, a saturation cuts where the
float activation does. The ranges prove nothing about the real network; they tell where its bound comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from .pair import Affine, Entry, Product, Rounding, Step, Sum
from .pair_box import Box, Pad
from .pair_float import Ints
from .pair_forms import Forms
from .pair_interval import FREE, scaled_up, stepped
from .pair_product import PairProduct, met
from .pair_softmax import Itself
from .pair_table import Pointwise
from .pair_vertex import Envelope

INPUT, WEIGHTS, ROUNDING, SATURATION, BITS = (
    "input rounding", "weights", "activation rounding", "saturation", "cleared bits",
)  # fmt: skip
NEAR = 1e-6  # of a step: as good as an integer
Source = tuple[str, str]  # layer (or input), one of the above


def sources(steps: Sequence[Step], saturating: set[str]) -> list[Source]:
    """All sources in the order in which values meet them; saturation only of the layers named."""
    found: dict[Source, None] = {}
    for step in steps:
        match step.word:
            case "input":
                found[step.node, INPUT] = None
            case "affine" | "add" | "multiply":
                found[step.node, WEIGHTS] = None
            case "truncate":
                found[step.node, BITS] = None
            case "requantise":
                found[step.node, ROUNDING] = None
                if step.node in saturating:
                    found[step.node, SATURATION] = None
    return list(found)


@dataclass(frozen=True)
class _Unrounded(Entry):
    """An input that is not quantised."""

    def envelope(self) -> Envelope:
        box = self.box()
        return Envelope(0.0, 0.0, box.lx, box.ux)


class PairSources(PairProduct):
    """PairProduct with the sources `on` alone; the words must come in the order of `steps`."""

    def __init__(self, steps: Sequence[Step], on: set[Source]) -> None:
        super().__init__()
        self._nodes, self._on = iter([step.node for step in steps]), on
        self._clears = {step.node for step in steps if step.word == "truncate"}

    def _has(self, kind: str) -> bool:
        return (self._node, kind) in self._on

    def _next(self) -> None:
        self._node = next(self._nodes)

    def enter(self, entry: Entry) -> Forms:
        self._next()
        if not self._has(INPUT):
            entry = _Unrounded(entry.lower, entry.upper, entry.units, entry.lo, entry.hi)
        return super().enter(entry)

    def gather(self, x: Forms, index: Ints, pad: Pad) -> Forms:
        self._next()
        if self._node in self._clears and not self._has(BITS):
            pad = Pad(pad.x, (pad.x, pad.x))  # padding loses its low bits as well
        return super().gather(x, index, pad)

    def reshape(self, x: Forms, shape: tuple[int, ...]) -> Forms:
        self._next()
        return super().reshape(x, shape)

    def concat(self, xs: Sequence[Forms], axis: int) -> Forms:
        self._next()
        return super().concat(xs, axis)

    def max(self, x: Forms, axis: int) -> Forms:
        self._next()
        return super().max(x, axis)

    def table(self, x: Forms, terms: Pointwise) -> Forms:
        self._next()
        unit, first = float(terms.unit.scale), terms.first - terms.unit.zero
        limits = unit * first, unit * (first + terms.count - 1)
        if (x.box.ly < limits[0]).any() or (x.box.uy > limits[1]).any():  # what was not cut ends there
            cut = Envelope(0.0, 0.0, np.clip(x.box.ly, *limits), np.clip(x.box.uy, *limits))
            x = met(self._zonotope.step(x, cut, FREE), stepped(x.box, cut, FREE))
        box = x.box  # and what was not rounded may lie between two entries
        ends = unit * np.floor(box.ly / unit + NEAR), unit * np.ceil(box.uy / unit - NEAR)
        low, high = np.minimum(*ends), np.maximum(*ends)  # of a network that does not exist, ranges may part
        return super().table(replace(x, box=replace(box, ly=low, uy=high)), terms)

    def softmax(self, x: Forms, terms: Itself) -> Forms:
        self._next()
        return super().softmax(x, terms)

    def truncate(self, x: Forms, step: Step) -> Forms:
        self._next()
        return super().truncate(x, step) if self._has(BITS) else x

    def affine(self, x: Forms, terms: Affine) -> Forms:
        self._next()
        if not self._has(WEIGHTS):
            terms = copy(terms)
            terms.v, terms.e, terms.c = terms.w, np.zeros_like(terms.w), terms.b
        return super().affine(x, terms)

    def add(self, a: Forms, b: Forms, terms: Sum) -> Forms:
        self._next()
        if not self._has(WEIGHTS):
            terms = copy(terms)
            terms.factors, terms.excess = terms.real, [0.0, 0.0]
        return super().add(a, b, terms)

    def multiply(self, a: Forms, b: Forms, terms: Product) -> Forms:
        self._next()
        if not self._has(WEIGHTS):
            terms = copy(terms)
            terms.gain, terms.excess = 1.0, 0.0
        return super().multiply(a, b, terms)

    def requantise(self, x: Forms, terms: Rounding, limits: tuple[float, float]) -> Forms:
        self._next()
        gained, box = self._zonotope.gained(x, terms), scaled_up(x.box, terms)
        envelope = self._envelope(gained.box.meet(box), terms, limits)
        return met(self._zonotope.step(gained, envelope, limits), stepped(box, envelope, limits))

    def _envelope(self, box: Box, terms: Rounding, limits: tuple[float, float]) -> Envelope:
        """As Rounding.envelope, without its lattice: what comes in need not be an integer times a scale."""
        scale = float(terms.scale)
        ends = box.ly, box.uy
        half = terms.half if self._has(ROUNDING) else np.zeros_like(terms.half)
        if self._has(ROUNDING):
            ends = scale * np.rint(box.ly / scale), scale * np.rint(box.uy / scale)
        if self._has(SATURATION):
            limits = scale * (terms.lo - terms.zero), scale * (terms.hi - terms.zero)
        return Envelope(half, half, *(np.clip(end, *limits) for end in ends))
