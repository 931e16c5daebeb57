# SPDX-License-Identifier: Apache-2.0
"""The networks of which leaves may be enumerated: one small input, then Dense and Requantise in turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .files import need
from .layers import Meaning, Network
from .pairs import Rounding, Step
from .rounding import AVERAGE, MEAN, TINY, Floats, Ints, rounded, slack

INPUTS, NEURONS = 8, 1 << 11
PART = 1 << 11  # inputs rounded at a time: what a processor holds near
RHO = 2.0**-40  # more than the relative error of a sum of so many numbers that are not negative


@dataclass(frozen=True)
class Pair:
    """x = clip(w x + b, limits) beside the integers' weights, bias and zero point, and their Rounding."""

    w: Floats
    b: Floats
    counts: Floats
    bias: Floats
    zero: int
    then: Rounding
    folded: tuple[int, Floats, Floats]  # see single.py


@dataclass(frozen=True)
class Chain:
    """All layers, and the meaning of the last integers."""

    pairs: list[Pair]
    out: Meaning

    def real(self, x: Floats) -> Floats:
        """The float network at x (N, inputs), within `off` of the truth."""
        for p in self.pairs:
            x = np.clip(x @ p.w.T + p.b, *p.then.limits)
        return x

    def whole(self, q: Ints) -> Ints:
        """The integer network at q (N, inputs): sums of whole numbers below 2^53 are exact in float64."""
        for p in self.pairs:
            acc, t = (q - p.zero).astype(np.float64) @ p.counts.T + p.bias, p.then
            q = np.empty(acc.shape, np.int64)
            for i in range(0, len(acc), PART):
                part = rounded(acc[i : i + PART].astype(np.int64), t.m, t.s, t.mode, t.zero) + t.zero
                q[i : i + PART] = np.clip(part, t.lo, t.hi)
        return q

    def off(self, low: Floats, high: Floats) -> Floats:
        """How far `real` is from the truth, at most, anywhere in a box, by the interval rule."""
        off = np.zeros(low.shape)
        for p in self.pairs:
            terms, size = p.w.shape[1] + 1, np.abs(p.w)
            most = np.maximum(np.abs(low), np.abs(high)) + off
            lost = slack(terms, size @ most + np.abs(p.b))
            m, r = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
            y, wide = p.w @ m + p.b, (size @ r + lost) * (1 + RHO)
            off = (size @ off + lost) * (1 + RHO) + TINY
            low, high = np.clip(y - wide, *p.then.limits), np.clip(y + wide, *p.then.limits)
        return off


def chain(steps: list[Step], whole: Network, values: set[str]) -> Chain:
    """Rejected unless the networks have this form and nothing but the last value is bounded."""
    need(len(whole.inputs) == len(values) == 1, "leaves by cells: several inputs or outputs")
    need(int(np.prod(whole.shapes[whole.inputs[0]])) <= INPUTS, "leaves by cells: too many inputs")
    last, kept = whole.inputs[0], []
    for step in steps:
        need(step.layer.inputs == (last,), "leaves by cells: layers that are no chain")
        last = step.layer.output
        if step.layer.op != "Reshape":
            kept.append(step)
    ops = [step.layer.op for step in kept]
    need(kept and ops == ["Dense", "Requantise"] * (len(kept) // 2), "leaves by cells: other layers")
    need(values == {last}, "leaves by cells: not the last value")
    need(sum(step.shape[0] for step in kept[::2]) + INPUTS < NEURONS, "leaves by cells: too many neurons")
    return Chain(
        [_pair(a, b) for a, b in zip(kept[::2], kept[1::2], strict=True)],
        whole.meanings[last],
    )


def _pair(dense: Step, then: Step) -> Pair:
    f, t, rounding = dense.layer.fields, dense.data, then.data
    need(t.lost == 0 and rounding.gain is None, "leaves by cells: fewer bits, or values rounded twice")
    need(rounding.mode not in (AVERAGE, MEAN), "leaves by cells: a mean")
    counts, bias = (np.asarray(f[key], np.float64) for key in ("weights", "bias"))
    extra, offset, gain = t.folded
    return Pair(t.w[0], t.b[0, :, 0], counts, bias, f["zero"], rounding, (extra, offset[0], gain[0]))
