# SPDX-License-Identifier: Apache-2.0
"""Tensors of the float network that are maxima of affine functions of few inputs each: what a convolution,
its ReLU and its maximum pool make of the input. Such a maximum is convex: a box's corners tell everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..domains.pair import Step
from ..domains.pair_float import Floats, Ints
from .lockstep import Lockstep

SUPPORT = 64  # inputs of one element, at most
NUMBERS = 1 << 22  # coefficients of all elements


@dataclass(frozen=True)
class Taps:
    """Per element the largest of its taps, coef @ inputs[reads] + const, and `floor`.

    reads (n, S), -1 for none; coef (n, T, S); const (n, T).
    """

    reads: Ints
    coef: Floats
    const: Floats
    floor: float = -np.inf


@dataclass(frozen=True)
class Tensor:
    """Elements of some taps, or (None) of the network's input, by their places; -1 is 0."""

    taps: Taps | None
    at: Ints


@dataclass(frozen=True)
class Sums:
    """Sums over maxima: w (G, M, K) times the elements at (G, K, P), plus b (G, M). The maxima are a tensor,
    the step at `source`, of which `held` are the places in `taps`."""

    taps: Taps
    at: Ints
    w: Floats
    b: Floats
    source: int
    held: Ints

    def row(self, element: int) -> tuple[Ints, Floats, float]:
        """Elements (without padding), their weights, and what is added; `element` is flat, (G, M, P)."""
        _, rows, _ = self.w.shape
        group, rest = divmod(element, rows * self.at.shape[2])
        row, place = divmod(rest, self.at.shape[2])
        at, w = self.at[group, :, place], self.w[group, row]
        inside = (at >= 0) & (w != 0)
        return at[inside], w[inside], float(self.b[group, row])


def sums_over_maxima(both: Lockstep) -> Iterator[tuple[str, Sums]]:
    """Values of the float network that are sums over such maxima, of a network with one input."""
    if len(both.inputs) != 1 or both.single:
        return
    names, tensors = _named(both), dict[int, Tensor]()
    for position, step in enumerate(both.steps):
        if step.word == "input":
            tensors[position] = Tensor(None, np.arange(step.units.channel.size).reshape(step.shape))
        x = tensors.get(step.inputs[0]) if len(step.inputs) == 1 else None
        if x is None:
            continue
        if step.word == "affine" and x.taps is not None:
            if position in names and (x.taps.const.shape[1] > 1 or x.taps.floor == 0):
                source = step.inputs[0]
                while both.steps[source].word in ("gather", "reshape"):
                    source = both.steps[source].inputs[0]
                yield names[position], Sums(x.taps, x.at, *_terms(step), source, tensors[source].at.ravel())
        elif (after := _after(step, x)) is not None:
            tensors[position] = after


def _named(both: Lockstep) -> dict[int, str]:
    """Steps by the values that they are but for their shape."""
    names = {}
    for name, at in both.values.items():
        while both.steps[at].word == "reshape":
            at = both.steps[at].inputs[0]
        names[at] = name
    return names


def _terms(step: Step) -> tuple[Floats, Floats]:
    weights, bias, _ = step.real
    return np.asarray(weights, np.float64), np.asarray(bias, np.float64)


def _after(step: Step, x: Tensor) -> Tensor | None:
    match step.word:
        case "gather":
            index = np.asarray(step.integer[0])
            if (index < 0).any() and step.real[1] != 0:
                return None
            return replace(x, at=np.where(index >= 0, x.at.ravel()[index], -1))
        case "reshape":
            return replace(x, at=x.at.reshape(step.shape))
        case "affine":
            return _affine(step, x)
        case "requantise" if x.taps is not None and step.real[1] == np.inf and step.real[0] in (0, -np.inf):
            return replace(x, taps=replace(x.taps, floor=max(x.taps.floor, float(step.real[0]))))
        case "max":
            return _largest(step, x)
        case _:
            return None


def _affine(step: Step, x: Tensor) -> Tensor | None:
    """Of the input itself; one tap each."""
    w, b = _terms(step)
    groups, rows, inner = w.shape
    places = x.at.shape[2]
    if groups * rows * places * inner > NUMBERS:
        return None
    full = (groups, rows, places)
    reads = np.broadcast_to(x.at.transpose(0, 2, 1)[:, None], (*full, inner)).reshape(-1, inner)
    coef = np.broadcast_to(w[:, :, None], (*full, inner)).reshape(-1, 1, inner)
    const = np.broadcast_to(b[..., None], full).reshape(-1, 1)
    return Tensor(Taps(reads, coef, const), np.arange(const.size).reshape(full))


def _largest(step: Step, x: Tensor) -> Tensor | None:
    """Taps of all that is compared, over the inputs of all."""
    at = np.moveaxis(x.at, step.integer[0], 0)
    if x.taps is None or (at < 0).any():
        return None
    old, at = x.taps, at.reshape(len(at), -1).T
    n, count, many = len(at), at.shape[1], old.const.shape[1]
    own = [np.unique(reads[reads >= 0]) for reads in old.reads[at].reshape(n, -1)]
    width = max(len(each) for each in own)
    if width > SUPPORT or n * count * many * width > NUMBERS:
        return None
    reads, coef = np.full((n, width), -1), np.zeros((n, count, many, width))
    for i, each in enumerate(own):
        reads[i, : len(each)] = each
        for j, element in enumerate(at[i]):
            held = old.reads[element] >= 0
            to = np.searchsorted(each, old.reads[element][held])
            np.add.at(coef[i, j].T, to, old.coef[element][:, held].T)
    taps = Taps(reads, coef.reshape(n, -1, width), old.const[at].reshape(n, -1), old.floor)
    return Tensor(taps, np.arange(n).reshape(step.shape))
