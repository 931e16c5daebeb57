# SPDX-License-Identifier: Apache-2.0
"""Network inputs, and what rounds: each step function as the envelope that its ranges allow."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .forms import tighten
from .pairs import Affine, Rounding
from .relax import Corners, Envelope
from .rounding import Floats, above, below, down, lattice, moved, rounded, slack, times, up


@dataclass(frozen=True)
class Entry:
    """A network input: exact ends of its box, and its quantiser."""

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    scale: Fraction
    zero: int
    shape: tuple[int, ...]
    ends: tuple[int, int] = (-128, 127)  # of its integers
    grid: bool = False  # inputs are integers already; lower and upper are numbers that they stand for

    def quantised(self, value: Fraction) -> int:
        """The integer of a real number."""
        return min(max(round(value / self.scale) + self.zero, self.ends[0]), self.ends[1])


def quantised(entry: Entry) -> tuple[Floats, Envelope]:
    """Ranges of a network input before its quantiser, and the quantiser."""
    low = np.array([below(v) for v in entry.lower]).reshape(entry.shape)
    high = np.array([above(v) for v in entry.upper]).reshape(entry.shape)
    zero = np.zeros(entry.shape)
    ends = [np.array([entry.quantised(v) - entry.zero for v in side]) for side in (entry.lower, entry.upper)]
    kl, ku = times(ends[0], entry.scale)[0], times(ends[1], entry.scale)[1]
    half = 0.0 if entry.grid else above(entry.scale / 2)
    env = Envelope(half, half, kl.reshape(entry.shape), ku.reshape(entry.shape))
    return np.stack([low, high, low, high, zero, zero]), env


def rounding(t: Rounding, box: Floats) -> Envelope:
    """A Requantise of y in these ranges."""
    first, last = lattice(box[2], box[3], t.step, t.span)
    q = [np.clip(rounded(n, t.m, t.s, t.mode, t.zero) + t.zero, t.lo, t.hi) - t.zero for n in (first, last)]
    half = moved(t.scale, t.s, t.mode)
    return Envelope(half, half, times(q[0], t.scale)[0], times(q[1], t.scale)[1])


def cleared(t: Affine, box: Floats) -> Envelope:
    """The low bits of q cleared, y in these ranges."""
    first, last = lattice(box[2], box[3], np.full(box[0].shape, float(t.scale)), t.span)
    kl, ku = (times(((n + t.zero) & ~t.lost) - t.zero, t.scale)[i] for i, n in enumerate((first, last)))
    return Envelope(above(t.scale * t.lost), 0.0, kl, ku)


def scaled(box: Floats, factors: tuple[Floats, Floats]) -> Floats:
    """Ranges of yhat = gain * y beside x, excess = gain - 1."""
    gain, excess = factors
    (md, rd), (mx, rx) = centre(box[4], box[5]), centre(box[0], box[1])
    size = np.abs(md) + rd + np.abs(mx) + rx + np.max(np.abs(box[2:4]), axis=0)
    more = slack(4, (np.abs(gain) + np.abs(excess) + 1) * size)
    gap = around(gain * md + excess * mx, gain * rd + np.abs(excess) * rx + more)
    return tighten(np.stack([box[0], box[1], gain * box[2] - more, gain * box[3] + more, *gap]))


def stepped(box: Floats, env: Envelope, limits: tuple[float, float]) -> Floats:
    """Ranges after x = clip(xhat, limits) beside a step function of yhat."""
    zero = np.zeros_like(box[0])
    low, high = Corners(box, env, limits).spread(zero, zero, zero, zero, zero)
    return tighten(np.stack([np.clip(box[0], *limits), np.clip(box[1], *limits), env.kl, env.ku, low, high]))


def centre(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Middle and radius, rounded up."""
    m = 0.5 * low + 0.5 * high
    return m, up(np.maximum(high - m, m - low))


def around(m: Floats, r: Floats) -> tuple[Floats, Floats]:
    """[m - r, m + r], outward."""
    return down(m - r), up(m + r)
