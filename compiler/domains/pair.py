# SPDX-License-Identifier: Apache-2.0
"""What the pair domains work on: steps, each a word of the float network beside one of the integer network.

A step's tensors are pairs (x, y): x of the float network, y = S * (q - z) of the integer one. Each domain
gives a sense to the words; the parameters they share are derived here, with their errors (notes 2 and 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from ..graph import Rounded
from ..rounding import AVERAGE, DOUBLE, MEAN, MEAN_BITS
from .pair_box import Box, Pad
from .pair_float import Floats, Ints, above, below, lattice, rounded, scaled
from .pair_vertex import Envelope

State = TypeVar("State")
AVERAGE_ERROR = Fraction(1, 1 << 22)  # steps


@dataclass(frozen=True)
class Units:
    """What integers mean: real = scales[channel] * (q - zero), channel per element; q lies in `span`."""

    scales: tuple[Fraction, ...]
    channel: NDArray[np.int64]
    zero: int
    span: tuple[int, int]

    def integers(self, box: Box) -> tuple[Ints, Ints]:
        """First and last q - zero that a tensor with these ranges can hold."""
        return lattice(box.ly, box.uy, self.steps(), (self.span[0] - self.zero, self.span[1] - self.zero))

    @property
    def scale(self) -> Fraction:
        """The one scale of a tensor; only accumulators have several."""
        if len(self.scales) != 1:
            raise CompileError("units", f"{len(self.scales)} scales", "one scale per tensor of activations")
        return self.scales[0]

    def steps(self) -> Floats:
        """Scale of every element as a float, within u."""
        return np.array([float(scale) for scale in self.scales])[self.channel]


@dataclass(frozen=True)
class Step:
    """A pair of words: `inputs` are positions of earlier steps; arguments as in ops/base.py."""

    word: str
    inputs: tuple[int, ...]
    real: tuple[Any, ...]
    integer: tuple[Any, ...]
    shape: tuple[int, ...]
    units: Units
    node: str = ""
    origin: str = ""
    rounded: Rounded | None = None


class Affine:
    """One affine pair: xhat = W x + b, yhat = V y + c, V = (S_acc / S_in) Wq, E = V - W, c = S_acc bq.

    `size` = |V| + |W| and `offset` = |b| + |c| are what slack() wants.
    """

    def __init__(self, step: Step, unit: Units) -> None:
        (weights, bias, _), (counts, counted, zero) = step.real, step.integer
        if zero != unit.zero:
            raise CompileError(step.node, f"zero point {zero}", f"that of its input, {unit.zero}")
        if np.shape(weights) != np.shape(counts) or np.shape(bias) != np.shape(counted):
            raise CompileError(
                step.node, f"weights {np.shape(counts)}", f"the float ones, {np.shape(weights)}"
            )
        channel = step.units.channel[..., 0]
        acc = step.units.scales
        ratio = np.array([float(scale / unit.scale) for scale in acc])[channel]
        self.w: Floats = np.asarray(weights, np.float64)
        self.v: Floats = ratio[..., None] * np.asarray(counts, np.float64)
        self.e: Floats = self.v - self.w
        self.b: Floats = np.asarray(bias, np.float64)[..., None]
        exact = [float(acc[int(at)] * int(n)) for at, n in zip(channel.flat, counted.flat, strict=True)]
        self.c: Floats = np.array(exact).reshape(*channel.shape, 1)
        self.size: Floats = np.abs(self.v) + np.abs(self.w)
        self.offset: Floats = np.abs(self.b) + np.abs(self.c)
        self.terms = 2 * self.w.shape[-1] + 2


class Sum:
    """xhat = a + b or a - b (`real` = 1 and 1 or -1), yhat = va * ya + vb * yb; excess = v - real: exact,
    then rounded."""

    def __init__(self, step: Step, a: Units, b: Units) -> None:
        ma, mb, za, zb = step.integer
        if (za, zb) != (a.zero, b.zero):
            raise CompileError(
                step.node, f"zero points {za}, {zb}", f"those of its inputs, {a.zero}, {b.zero}"
            )
        if step.real not in ((1, 1, 0, 0), (1, -1, 0, 0)):
            raise CompileError(step.node, f"float factors {step.real}", "1 and 1 or -1")
        self.real = [float(r) for r in step.real[:2]]
        factors = [step.units.scale * m / unit.scale for m, unit in ((ma, a), (mb, b))]
        self.factors = [float(f) for f in factors]
        self.excess = [float(f - int(r)) for f, r in zip(factors, step.real[:2], strict=True)]


class Product:
    """xhat = xa * xb, yhat = gain * ya * yb; `excess` = gain - 1, exact, then rounded."""

    def __init__(self, step: Step, a: Units, b: Units) -> None:
        if step.integer != (a.zero, b.zero):
            raise CompileError(step.node, f"zero points {step.integer}", f"{a.zero}, {b.zero} of its inputs")
        gain = step.units.scale / (a.scale * b.scale)
        self.gain, self.excess = float(gain), abs(float(gain - 1))


class Rounding:
    """One requantisation: q = clip(round(n * m / 2^s) + zero, lo, hi) on the lattice n = acc - zero_in.

    Per element, `half` is how far rounding moves y at most, and `gain` is S_out * (m / 2^s) / S_in: 1 by
    definition after an accumulating op.
    """

    def __init__(self, step: Step, unit: Units) -> None:
        m, s, zero_in, self.zero, self.lo, self.hi, self.mode = step.integer
        if zero_in != unit.zero or self.zero != step.units.zero:
            raise CompileError(step.node, f"zero points {zero_in}, {self.zero}", "those of its values")
        each = (-1, *(1,) * (len(step.shape) - 1))
        self.m: Ints = np.broadcast_to(np.asarray(m, np.int64).reshape(each), step.shape)
        self.s: Ints = np.broadcast_to(np.asarray(s, np.int64).reshape(each), step.shape)
        self.scale = step.units.scale
        self.unit = unit
        kinds, which = np.unique(
            np.stack([unit.channel.ravel(), self.m.ravel(), self.s.ravel()]), axis=1, return_inverse=True
        )
        exact = [self.scale * Fraction(int(k[1]), 1 << int(k[2])) / unit.scales[int(k[0])] for k in kinds.T]
        self.plain = all(gain == 1 for gain in exact)
        self.gain: Floats = np.array([float(g) for g in exact])[which].reshape(step.shape)
        self.excess: Floats = np.array([float(g - 1) for g in exact])[which].reshape(step.shape)
        moved = [above(self.scale * farthest(self.mode, int(k[2]))) for k in kinds.T]
        self.half: Floats = np.array(moved)[which].reshape(step.shape)

    def ends(self, box: Box) -> tuple[Ints, Ints]:
        """Integers q that y in [ly, uy] (before `gain`) can become: exact, with the golden model's rule."""
        first, last = self.unit.integers(box)
        low, high = (rounded(n, self.m, self.s, self.mode, self.zero) + self.zero for n in (first, last))
        return np.clip(low, self.lo, self.hi), np.clip(high, self.lo, self.hi)

    def envelope(self, q: tuple[Ints, Ints]) -> Envelope:
        """The step envelope (E) of notes 3.1."""
        kl, _ = scaled(q[0] - self.zero, self.scale)
        _, ku = scaled(q[1] - self.zero, self.scale)
        return Envelope(self.half, self.half, kl, ku)


def farthest(mode: str, shift: int) -> Fraction:
    """How many steps rounding can move a result: half a one, and of two roundings the first moves it by half
    of its own unit, 2^(31 - shift) steps, too. Both are attained together, so no less would do. Of an average
    the factor is a little too large (ops/requantise.py); of a mean the first rounding leaves 15 bits."""
    if mode == AVERAGE:
        return Fraction(1, 2) + AVERAGE_ERROR
    if mode == MEAN:
        return Fraction(1, 2) + Fraction(1, 2 << MEAN_BITS)
    first = Fraction(1, 1 << (shift - 30)) if mode == DOUBLE and shift > 31 else 0
    return Fraction(1, 2) + first


def cut(step: Step, box: Box) -> Envelope:
    """Envelope of `truncate`: q loses its low 8 - B bits, y falls by 0 .. 2^(8-B) - 1 steps; exact ends."""
    (bits,) = step.integer
    lost = (1 << (8 - bits)) - 1
    scale, zero = step.units.scale, step.units.zero
    first, last = step.units.integers(box)
    kl, _ = scaled(((first + zero) & ~lost) - zero, scale)
    _, ku = scaled(((last + zero) & ~lost) - zero, scale)
    return Envelope(above(scale * lost), 0.0, kl, ku)


@dataclass(frozen=True)
class Entry:
    """A network input: its box of exact reals and its quantiser (lo, hi: what the integers can hold). `grid`:
    inputs are integers already, and nothing is rounded; the ends are such numbers."""

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    units: Units
    lo: int
    hi: int
    grid: bool = False

    def box(self) -> Box:
        """Ranges before the input quantiser: x = y, d = 0."""
        shape = self.units.channel.shape
        low = np.array([below(v) for v in self.lower]).reshape(shape)
        high = np.array([above(v) for v in self.upper]).reshape(shape)
        return Box(low, high, low, high, np.zeros(shape), np.zeros(shape))

    def integers(self) -> tuple[Ints, Ints]:
        """q = clip(rhe(x / S) + z, lo, hi) of both ends, exactly."""
        scale, zero, shape = self.units.scale, self.units.zero, self.units.channel.shape
        ends = [
            np.array([min(max(round(v / scale) + zero, self.lo), self.hi) for v in side], np.int64)
            for side in (self.lower, self.upper)
        ]
        return ends[0].reshape(shape), ends[1].reshape(shape)

    def envelope(self) -> Envelope:
        """The input quantiser as a step function; beyond what lo, hi can hold it saturates."""
        half = 0.0 if self.grid else above(self.units.scale / 2)
        first, last = self.integers()
        kl, _ = scaled(first - self.units.zero, self.units.scale)
        _, ku = scaled(last - self.units.zero, self.units.scale)
        return Envelope(half, half, kl, ku)


class PairDomain(Protocol, Generic[State]):
    """The words of a pair domain; every result is a state whose `ranges` hold the truth."""

    def enter(self, entry: Entry) -> State: ...
    def gather(self, x: State, index: Ints, pad: Pad) -> State: ...
    def reshape(self, x: State, shape: tuple[int, ...]) -> State: ...
    def concat(self, xs: Sequence[State], axis: int) -> State: ...
    def affine(self, x: State, terms: Affine) -> State: ...
    def add(self, a: State, b: State, terms: Sum) -> State: ...
    def multiply(self, a: State, b: State, terms: Product) -> State: ...
    def requantise(self, x: State, terms: Rounding, limits: tuple[float, float]) -> State: ...
    def truncate(self, x: State, step: Step) -> State: ...
    def max(self, x: State, axis: int) -> State: ...
    def table(self, x: State, terms: Any) -> State: ...
    def softmax(self, x: State, terms: Any) -> State: ...
    def blurred(self, x: State, by: Floats) -> State: ...
    def ranges(self, x: State) -> Box: ...
