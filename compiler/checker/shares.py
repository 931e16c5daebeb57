# SPDX-License-Identifier: Apache-2.0
"""Softmax: its integers, their ranges, and how a share of exponentials can move between two networks.

With odds o = p / (1 - p) a change of the logits by d multiplies o_i by exp(d_i) over a mean of the others'
exp(d_j). So ln o_i moves by g, d_i - max d_j <= g <= d_i - min d_j, and p to p / (p + (1 - p) exp(-g)).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .files import need
from .forms import tighten
from .layers import Layer, Meaning
from .rounding import Floats, Ints, above, below, down, lattice, times, up
from .single import UNIT

EVERY = 1 << 16
TOGETHER = 1 << 19  # numbers in one array
HUGE = 690.0  # exponents that stay floats


def check_law(layer: Layer, read: Meaning, out: Meaning, *, byte: bool) -> None:
    """The table is what exp says of the scale that is read, the quotient what its result's scale says."""
    f, name, scale = layer.fields, layer.name, float(read.scales[0])
    if f["table"].ndim == 1:
        need(byte, f"{name}: a table for fewer integers than it reads")
        steps, one = np.arange(256.0), 2.0**15
    else:
        steps, one = np.stack([np.arange(0.0, EVERY, 256), np.arange(256.0)]), 2.0**28
    need(f["table"].shape == steps.shape, f"{name}: table")
    need((np.abs(f["table"] - one * np.exp(-steps * scale)) <= 0.5 + 1e-6).all(), f"{name}: table is not exp")
    parts = out.scales[0] * (1 << f["bits"]) - 1 - Fraction(f["extra"], 1 << 24)
    need(abs(parts) <= Fraction(1, 1 << 25), f"{name}: scale of probabilities")
    need(f["zero"] == out.zero <= f["top"], f"{name}: zero point")


def exponents(table: Ints, below_top: Ints) -> Ints:
    """exp of minus so many steps."""
    if table.ndim == 1:
        return np.asarray(table[below_top])
    return np.asarray(table[0][below_top // 256] * table[1][below_top % 256] // (1 << 32))


def stored(layer: Layer, e: Ints, total: Ints) -> Ints:
    """The integer of exponentials e of these totals."""
    f = layer.fields
    total = total + (f["extra"] * total + (1 << 23)) // (1 << 24)
    whole, rest = e * (1 << f["bits"]) // total, e * (1 << f["bits"]) % total
    twice = 2 * rest - total
    more = (twice > 0) | ((twice == 0) & (whole % 2 == 1))
    return np.asarray(np.minimum(whole + more + f["zero"], f["top"]))


def share_span(layer: Layer, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Of every element over the box, a largest element m of the row after the other.

    Where m is given, a share rises with its own element and falls with the others, of which one is m.
    Exponentials of 16 bits that one rounding puts out of order count as the least or largest on their side.
    """
    table, shape = layer.fields["table"], low.shape
    all_of = exponents(table, np.arange(256 if table.ndim == 1 else EVERY))
    under, over = np.minimum.accumulate(all_of), np.maximum.accumulate(all_of[::-1])[::-1]
    rows: dict[bytes, tuple[Ints, Ints]] = {}
    found = []
    for a, b in zip(low.reshape(-1, shape[-1]), high.reshape(-1, shape[-1]), strict=True):
        key = a.tobytes() + b.tobytes()
        if key not in rows:
            rows[key] = _row(layer, a, b, under, over)
        found.append(rows[key])
    least, most = zip(*found, strict=True)
    return np.reshape(least, shape), np.reshape(most, shape)


def _row(layer: Layer, low: Ints, high: Ints, under: Ints, over: Ints) -> tuple[Ints, Ints]:
    kinds: dict[tuple[int, int], list[int]] = {}  # elements with the same ends
    for i, key in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        kinds.setdefault(key, []).append(i)
    least, most = (np.array([key[side] for key in kinds])[:, None] for side in (0, 1))
    often, one, ends = np.array([[len(at)] for at in kinds.values()]), under[0], []
    part = max(TOGETHER // len(kinds), 1)
    for start in range(least.max(), most.max() + 1, part):
        m = np.arange(start, min(start + part, most.max() + 1))
        small, large = under[m - least], over[np.maximum(m - most, 0)]  # (kinds, m)
        reach = most >= m
        gain = np.where(reach, one - small, one).min(axis=0)
        best = stored(layer, large, (often * small).sum(axis=0) - small + large + np.where(reach, 0, gain))
        alone = reach & ((often * reach).sum(axis=0) == 1)
        own = np.where(alone, one, small)
        worst = stored(layer, own, (often * large).sum(axis=0) - large + own)
        ends.append((worst.min(axis=1), best.max(axis=1)))
    worst, best = np.min([end[0] for end in ends], axis=0), np.max([end[1] for end in ends], axis=0)
    found = np.empty((2, low.size), np.int64)
    for at, *pair in zip(kinds.values(), worst, best, strict=True):
        found[:, at] = np.array(pair)[:, None]
    return found[0], found[1]


def real_span(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Ranges of the shares of real exponentials, one element after the other, outward."""
    found, off = [], 2.0**-44 + low.shape[-1] * 2.0**-52
    for own, others in ((low, high), (high, low)):
        part = np.empty_like(own)
        for i in range(own.shape[-1]):
            far = np.delete(others, i, axis=-1) - own[..., i : i + 1]
            part[..., i] = 1 / (1 + np.exp(np.minimum(far, HUGE)).sum(axis=-1))
        found.append(part)
    return np.maximum(found[0] - off, 0.0), np.minimum(found[1] + off, 1.0)


@dataclass(frozen=True)
class Share:
    """An integer softmax beside the real one; `top`: its largest integer less the zero point, as `span`."""

    scale: Fraction
    top: int
    span: tuple[int, int]
    near: float

    @classmethod
    def of(cls, layer: Layer, out: Meaning, n: int, span: tuple[int, int]) -> Share:
        """`near`: half a step; exponentials within 0.5 of a sum of 2^15 at least, or within 1 + 1/16 of 2^24;
        a divisor whose factor has 24 bits, rounded to a whole number; nothing unless the number is cut."""
        f, scale = layer.fields, out.scales[0]
        short = f["table"].ndim == 1
        off = 0.51 * n * 2.0**-15 if short else 1.07 * n * 2.0**-24
        if scale * (1 << f["bits"]) != 1:
            off += 2.0**-24 + (2.0**-16 if short else 2.0**-25)
        return cls(scale, f["top"] - out.zero, span, above(scale) / 2 + off)

    def error(self) -> float:
        """Of a probability, whatever it is."""
        return max(self.near, 1 - below(self.scale * self.top))

    def box(self, box: Floats) -> Floats:
        """Ranges behind it."""
        lx, ux, ly, uy, ld, ud = box
        x, y, top = real_span(lx, ux), real_span(ly, uy), below(self.scale * self.top)
        if lx.shape[-1] > 1:
            most, least = _other(ud), -_other(-ld)
        else:
            most, least = ud, ld
        g = down(ld - most), up(ud - least)
        there, back = _moved(x, g), _moved(y, (-g[1], -g[0]))
        moves = np.maximum(there[0], -back[1]), np.minimum(there[1], -back[0])
        low = np.minimum(down(y[0] - self.near), top)
        high = np.minimum(up(y[1] + self.near), above(self.scale * self.top))
        first, last = lattice(low, high, np.full(low.shape, float(self.scale)), self.span)
        ends = times(first, self.scale)[0], times(last, self.scale)[1]
        lost = down(np.minimum(-self.near, top - y[1]))
        return tighten(np.stack([*x, *ends, down(moves[0] + lost), up(moves[1] + self.near)]))


def _other(x: Floats) -> Floats:
    """The largest of the other elements of a row."""
    found = np.empty_like(x)
    for i in range(x.shape[-1]):
        found[..., i] = np.delete(x, i, axis=-1).max(axis=-1)
    return found


def _moved(p: tuple[Floats, Floats], g: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """By how much a share p moves, least and most, when its log odds move by g: most with an end of g, where
    p = 1 / (1 + exp(g / 2)) or at an end of p."""

    def move(by: Floats) -> Floats:
        middle = np.minimum(np.maximum(1 / (1 + np.exp(by / 2)), p[0]), p[1])
        return np.stack([q / (q + (1 - q) * np.exp(-by)) - q for q in (p[0], middle, p[1])])

    low, high = np.maximum(g[0], -HUGE), np.minimum(g[1], HUGE)
    off = [(16 + np.abs(end)) * 2.0**-50 for end in (low, high)]
    least = np.where(g[0] < -HUGE, -p[1], move(np.minimum(low, HUGE)).min(axis=0) - off[0])
    most = np.where(g[1] > HUGE, 1 - p[0], move(np.maximum(high, -HUGE)).max(axis=0) + off[1])
    return least, most


def lost(n: int) -> float:
    """Of a probability in float32: exponentials of n differences, their sum, a quotient."""
    return (2 * n + 40) * UNIT
