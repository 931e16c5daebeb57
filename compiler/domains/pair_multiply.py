# SPDX-License-Identifier: Apache-2.0
"""Products: x = xa xb beside y = gain ya yb.

ya yb - xa xb = xa db + yb da = xb da + ya db exactly, because y = x + d on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pair import Product
from .pair_box import Box, centre
from .pair_float import TINY, Floats, U, up
from .pair_forms import LIMIT, Forms, reduced, unknown

Range = tuple[Floats, Floats]


def product(a: Box, b: Box, terms: Product) -> Box:
    """Ranges of the product, the difference from both ways to write it."""
    x = _times((a.lx, a.ux), (b.lx, b.ux))
    y = _times((a.ly, a.uy), (b.ly, b.uy))
    off = terms.excess * np.maximum(np.abs(y[0]), np.abs(y[1])) * (1 + 8 * U) + TINY
    ways = (
        (_times((a.lx, a.ux), (b.ld, b.ud)), _times((b.ly, b.uy), (a.ld, a.ud))),
        (_times((b.lx, b.ux), (a.ld, a.ud)), _times((a.ly, a.uy), (b.ld, b.ud))),
    )
    ends = []
    for (l1, u1), (l2, u2) in ways:
        more = 8 * U * (np.abs(l1) + np.abs(l2) + np.abs(u1) + np.abs(u2) + off)
        ends.append((l1 + l2 - off - more, u1 + u2 + off + more))
    low, high = np.maximum(ends[0][0], ends[1][0]), np.minimum(ends[0][1], ends[1][1])
    return Box(*x, y[0] - off, y[1] + off, low, high).tighten()


def _times(a: Range, b: Range) -> Range:
    """All products of two ranges, outward."""
    ends = np.stack([p * q for p in a for q in b])
    low, high = ends.min(axis=0), ends.max(axis=0)
    return low - 8 * U * np.abs(low) - TINY, high + 8 * U * np.abs(high) + TINY


@dataclass(frozen=True)
class Around:
    """A product, linear around the middles m of the ranges; what is left is a product of two radii r.

    x = mxb xa + mxa xb - mxa mxb +- rxa rxb
    d = xa db + (xb + db) da, each product likewise. Per factor (p, q, s): x' = p x, d' = q d + s x; then the
    middles cx, cd and the radii rx, rd of the rest, not yet rounded: `size` is what that acts on.
    """

    factors: tuple[tuple[Floats, Floats, Floats], ...]
    cx: Floats
    cd: Floats
    rx: Floats
    rd: Floats
    size: Floats

    def rest(self) -> Box:
        """Ranges of the rest, rounded outward."""
        more = 64 * U * (self.size + self.rx + self.rd) + TINY
        (rx, rd), cy = (up(r + more) for r in (self.rx, self.rd)), self.cx + self.cd
        return Box(self.cx - rx, self.cx + rx, cy - rx - rd, cy + rx + rd, self.cd - rd, self.cd + rd)


def linear(a: Box, b: Box, terms: Product) -> Around:
    """The product of two tensors with these ranges."""
    (mxa, rxa), (mxb, rxb) = (centre(x.lx, x.ux) for x in (a, b))
    (mda, rda), (mdb, rdb) = (centre(x.ld, x.ud) for x in (a, b))
    myb, ryb = centre(b.ly, b.uy)
    y = [np.maximum(np.abs(x.ly), np.abs(x.uy)) for x in (a, b)]
    return Around(
        ((mxb, myb, mdb), (mxa, mxa + mda, mda)), -mxa * mxb, -(mxa * mdb + myb * mda),
        rxa * rxb, rxa * rdb + ryb * rda + terms.excess * y[0] * y[1],
        np.abs(mxa * mxb) + np.abs(mxa * mdb) + np.abs(myb * mda),
    )  # fmt: skip


def multiplied(a: Forms, b: Forms, terms: Product) -> Forms:
    """The product of two forms."""
    around, n = linear(a.box, b.box, terms), a.cx.size
    a, b = reduced(a, LIMIT // (2 * n)), reduced(b, LIMIT // (2 * n))
    symbols = np.union1d(a.symbols, b.symbols)
    gx, gd = np.zeros((symbols.size, n)), np.zeros((symbols.size, n))
    cx, cd, rx, rd, size = around.cx, around.cd, around.rx, around.rd, around.size
    for form, (p, q, s) in zip((a, b), around.factors, strict=True):
        part_x, part_d = (part.reshape(-1, n) for part in form.rows())
        at = np.searchsorted(symbols, form.symbols)
        gx[at] += p.ravel() * part_x
        gd[at] += q.ravel() * part_d + s.ravel() * part_x
        cx, cd = cx + p * form.cx, cd + (q * form.cd + s * form.cx)
        rx = rx + np.abs(p) * form.rx
        rd = rd + np.abs(q) * form.rd + np.abs(s) * form.rx
        wx, wd = form.sizes()
        size = size + (np.abs(p) + np.abs(q) + np.abs(s)) * (np.abs(form.cx) + wx + np.abs(form.cd) + wd)
    more = 64 * U * (size + rx + rd) + TINY
    index = np.arange(n).reshape(cx.shape)
    return Forms(cx, cd, up(rx + more), up(rd + more), gx, gd, index, symbols, unknown(cx.shape))
