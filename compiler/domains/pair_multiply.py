# SPDX-License-Identifier: Apache-2.0
"""Products: x = xa xb beside y = gain ya yb.

ya yb - xa xb = xa db + yb da = xb da + ya db exactly, because y = x + d on both sides.
"""

from __future__ import annotations

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


def multiplied(a: Forms, b: Forms, terms: Product) -> Forms:
    """Linear around the middles m of the ranges; what is left is a product of two radii r.

    x = mxb xa + mxa xb - mxa mxb +- rxa rxb
    d = xa db + (xb + db) da, each product likewise: the coefficients below.
    """
    n, box = a.cx.size, (a.box, b.box)
    (mxa, rxa), (mxb, rxb) = (centre(x.lx, x.ux) for x in box)
    (mda, rda), (mdb, rdb) = (centre(x.ld, x.ud) for x in box)
    myb, ryb = centre(box[1].ly, box[1].uy)
    a, b = reduced(a, LIMIT // (2 * n)), reduced(b, LIMIT // (2 * n))
    symbols = np.union1d(a.symbols, b.symbols)
    gx, gd = np.zeros((symbols.size, n)), np.zeros((symbols.size, n))
    cx, cd = -mxa * mxb, -(mxa * mdb + myb * mda)
    size = np.abs(mxa * mxb) + np.abs(mxa * mdb) + np.abs(myb * mda)
    y = [np.maximum(np.abs(x.ly), np.abs(x.uy)) for x in box]
    rx, rd = rxa * rxb, rxa * rdb + ryb * rda + terms.excess * y[0] * y[1]
    for form, p, q, s in ((a, mxb, myb, mdb), (b, mxa, mxa + mda, mda)):  # x: p x,  d: q d + s x
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
