# SPDX-License-Identifier: Apache-2.0
"""Leaves by cells: the integer network is constant on each cell of the input quantiser, and is evaluated
there; the float network is bounded on the part of the cell that lies in the leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from . import large
from .between import Boxes, shallow
from .chain import RHO, Chain
from .cover import Leaf
from .envelopes import Entry
from .files import need
from .halves import Halves
from .lines import Lines, drift, lines
from .rounding import Floats, Ints, U, above, below, gap, times, up

MOST, ALL = 1 << 20, 1 << 28  # cells of one leaf, and of all, of networks that are not shallow
GROUP = 1 << 15  # cells whose leaves are bounded together
SHARE = 1 << 13  # of them evaluated together
FEW = 1 << 12  # cells of a leaf that are all looked at; of more, those that the claim is close to


def bound(
    chain: Chain,
    root: Entry,
    leaves: list[Leaf],
    claim: Floats,
    *,
    single: bool = False,
    heard: Callable[[int], None] = lambda _more: None,
) -> Floats:
    """Largest |y - x| per output over all these leaves, or something between that and the claim, or the first
    ones above the claim; `single`: x is computed in float32; `heard`: told how many more leaves are done."""
    if shallow(chain) and not single and leaves:
        for worst in Halves(chain, root, _borders(root), claim).bounds(_boxes(leaves), heard):
            if (worst > claim).any():
                break  # that is enough not to accept it
        return worst
    return enumerated(chain, root, leaves, claim, heard, single=single)


def enumerated(
    chain: Chain,
    root: Entry,
    leaves: list[Leaf],
    claim: Floats,
    heard: Callable[[int], None] = lambda _more: None,
    *,
    single: bool = False,
) -> Floats:
    """The same of networks that are not shallow, or are computed in float32."""
    worst = np.zeros(len(chain.pairs[-1].w))
    counts = [leaf.count for leaf in leaves]
    enough = max(counts, default=0) <= MOST and sum(counts) <= ALL
    need(enough, "leaves by cells: too many cells")
    width = max(len(p.w) for p in chain.pairs) * sum(len(p.w) for p in chain.pairs)
    off = chain.off(np.array([below(v) for v in root.lower]), np.array([above(v) for v in root.upper]))
    for group in _groups(leaves, max(1, (1 << 22) // width)):
        worst = np.maximum(worst, _worst(chain, root, off, group, claim, heard, single=single))
    return worst


def _boxes(leaves: list[Leaf]) -> Boxes:
    (name,), both = leaves[0].entries, list[Floats]()
    for f, end in ((below, "lower"), (above, "upper")):
        ends = [getattr(leaf.entries[name], end) for leaf in leaves]
        known = {v: f(v) for v in {v for row in ends for v in row}}
        both.append(np.array([[known[v] for v in row] for row in ends]))
    first, last = (np.array([getattr(leaf, end) for leaf in leaves], np.int64) for end in ("first", "last"))
    return Boxes(first, last, *both)


def _groups(leaves: list[Leaf], most: int) -> Iterator[list[Leaf]]:
    """Small leaves together until their cells are many, and large ones."""
    for few in (True, False):
        group, cells = list[Leaf](), 0
        for leaf in (leaf for leaf in leaves if (leaf.count <= FEW) == few):
            if group and (len(group) == most or (few and cells + leaf.count > GROUP)):
                yield group
                group, cells = [], 0
            group.append(leaf)
            cells += leaf.count
        if group:
            yield group


def _worst(
    chain: Chain,
    root: Entry,
    off: Floats,
    leaves: list[Leaf],
    claim: Floats,
    heard: Callable[[int], None],
    *,
    single: bool,
) -> Floats:
    boxes = _boxes(leaves)
    low, high = boxes.low, boxes.high
    form = lines(chain, low, high)
    blur = drift(chain, form, low, high) if single else np.zeros_like(form.r)
    form = replace(form, r=form.r + blur)
    first, *borders = _borders(root)
    if leaves[0].count > FEW:
        found = np.zeros(off.shape)
        for i, leaf in enumerate(leaves):
            spans = [slice(a - first, b - first + 1) for a, b in zip(leaf.first, leaf.last, strict=True)]
            parts = [
                (np.maximum(low[i, k], borders[0][span]), np.minimum(high[i, k], borders[1][span]))
                for k, span in enumerate(spans)
            ]
            ends_of = np.array(leaf.first), np.array(leaf.last)
            found = np.maximum(found, large.bound(chain, form, i, *ends_of, parts, off + blur[i], claim))
            heard(1)
        return found
    owner = np.repeat(np.arange(len(leaves)), [leaf.count for leaf in leaves])
    q = np.concatenate([_integers(leaf) for leaf in leaves])
    found = np.zeros(off.shape)
    for i in range(0, len(q), SHARE):
        at, n = owner[i : i + SHARE], q[i : i + SHARE]
        near = [border[n - first] for border in borders]
        part = np.maximum(low[at], near[0]), np.minimum(high[at], near[1])
        found = np.maximum(found, _gaps(chain, form, off + blur[at], at, n, part).max(axis=0))
    heard(len(leaves))
    return found


def _gaps(
    chain: Chain, form: Lines, off: Floats, owner: Ints, q: Ints, part: tuple[Floats, Floats]
) -> Floats:
    """Per cell and output: the float network on the part of the cell, against the integers there."""
    p = 0.5 * part[0] + 0.5 * part[1]
    r = up(np.maximum(part[1] - p, p - part[0]))
    real = chain.real(p)
    apart = (np.abs(form.slope)[owner] * r[..., None]).sum(axis=1) + form.r[owner]
    line = form.c[owner] + (form.slope[owner] * (p - form.middle[owner])[..., None]).sum(axis=1)
    near = (form.steep[owner] * r[..., None]).sum(axis=1) + off + 4 * U * np.abs(real)
    apart, near = apart * (1 + RHO), near * (1 + RHO)
    most, least = np.minimum(line + apart, real + near), np.maximum(line - apart, real - near)
    y = times(chain.whole(q) - chain.out.zero, chain.out.scales[0])
    return gap(most, least, *y)


def _integers(leaf: Leaf) -> Ints:
    """Every vector of integers from first to last, (count, inputs)."""
    axes = [np.arange(a, b + 1) for a, b in zip(leaf.first, leaf.last, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def _borders(root: Entry) -> tuple[int, Floats, Floats]:
    """The first integer of the box, and the ends of cells from there on, outward; the outermost ones of the
    quantiser hold all that saturates."""
    first = min(root.quantised(v) for v in root.lower)
    q = np.arange(first, max(root.quantised(v) for v in root.upper) + 1)
    n, far, unit = 2 * (q - root.zero), 0 if root.grid else 1, root.scale / 2
    (low, _), (_, high) = times(n - far, unit), times(n + far, unit)
    if unit == Fraction(float(unit)) and unit.numerator * int(np.abs(n).max() + 1) <= 1 << 53:  # exact
        low, high = (np.asarray(v * float(unit), np.float64) for v in (n - far, n + far))
    return first, np.where(q > root.ends[0], low, -np.inf), np.where(q < root.ends[1], high, np.inf)
