# SPDX-License-Identifier: Apache-2.0
"""Leaves by cells: the integer network is constant on each cell of the input quantiser, and is evaluated
there; the float network is bounded on the part of the cell that lies in the leaf."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from .chain import RHO, Chain
from .cover import Leaf
from .envelopes import Entry
from .files import need
from .lines import Lines, drift, lines
from .rounding import Floats, Ints, U, above, below, down, times, up

MOST, ALL = 1 << 18, 1 << 24  # cells of one leaf, and of all
GROUP = 1 << 15  # cells at a time


def bound(chain: Chain, root: Entry, leaves: list[Leaf], *, single: bool = False) -> Floats:
    """Largest |y - x| per output over all these leaves; `single`: x is computed in float32."""
    counts = [leaf.count for leaf in leaves]
    need(max(counts) <= MOST and sum(counts) <= ALL, "leaves by cells: too many cells")
    width = max(len(p.w) for p in chain.pairs) * sum(len(p.w) for p in chain.pairs)
    off = chain.off(np.array([below(v) for v in root.lower]), np.array([above(v) for v in root.upper]))
    worst, borders = np.zeros(off.shape), _borders(root)
    for group in _groups(counts, max(1, (1 << 22) // width)):
        ends = [next(iter(leaf.entries.values())) for leaf in leaves[group]]
        low = np.array([[below(v) for v in entry.lower] for entry in ends])
        high = np.array([[above(v) for v in entry.upper] for entry in ends])
        form = lines(chain, low, high)
        blur = drift(chain, form, low, high) if single else np.zeros_like(form.r)
        form = replace(form, r=form.r + blur)
        owner = np.repeat(np.arange(len(ends)), counts[group])
        q = np.concatenate([_integers(leaf) for leaf in leaves[group]])
        n = q - borders[0]
        part = np.maximum(low[owner], borders[1][n]), np.minimum(high[owner], borders[2][n])
        worst = np.maximum(worst, _gap(chain, form, off + blur[owner], owner, q, part).max(axis=0))
    return worst


def _groups(counts: list[int], most: int) -> Iterator[slice]:
    """Leaves next to each other, at most so many, of at most GROUP cells if there are several."""
    first, cells = 0, 0
    for i, count in enumerate(counts):
        if i > first and (i - first == most or cells + count > GROUP):
            yield slice(first, i)
            first, cells = i, 0
        cells += count
    yield slice(first, len(counts))


def _gap(chain: Chain, form: Lines, off: Floats, owner: Ints, q: Ints, part: tuple[Floats, Floats]) -> Floats:
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
    return np.maximum(up(up(most) - y[0]), up(y[1] - down(least)))


def _integers(leaf: Leaf) -> Ints:
    """Every vector of integers from first to last, (count, inputs)."""
    axes = [np.arange(a, b + 1) for a, b in zip(leaf.first, leaf.last, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def _borders(root: Entry) -> tuple[int, Floats, Floats]:
    """The first integer of the box, and the ends of cells from there on, outward; the outermost ones of the
    quantiser hold all that saturates."""
    first = min(root.quantised(v) for v in root.lower)
    every = range(first, max(root.quantised(v) for v in root.upper) + 1)
    half = Fraction(0 if root.grid else 1, 2)
    low = [below((q - root.zero - half) * root.scale) if q > root.ends[0] else -np.inf for q in every]
    high = [above((q - root.zero + half) * root.scale) if q < root.ends[1] else np.inf for q in every]
    return first, np.array(low), np.array(high)
