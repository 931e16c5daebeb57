# SPDX-License-Identifier: Apache-2.0
"""Rows of affine forms whose neurons may be on or off, as prover and checker bound them, and as a search over
symbols, signs and remainders finds them to be: what is found may never be above a bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinybound.checker import relax
from tinybound.checker import squares as checked
from tinybound.checker.forms import Form
from tinybound.checker.together import Together
from tinybound.domains import pair_squares, pair_vertex
from tinybound.domains.pair_back import Rows, Total
from tinybound.domains.pair_box import Box
from tinybound.domains.pair_forms import Forms, unknown
from tinybound.domains.pair_joint import Joint

LIMITS = (0.0, np.inf)


@dataclass
class Squared:
    """Forms of x and D (elements), over base symbols and those of an earlier bend (`tags`, in D alone); rows
    of them (elements, rows), a of the elements `at` that are on or off."""

    c: np.ndarray  # (2, elements)
    r: np.ndarray
    g: np.ndarray  # (2, symbols, elements), tags last
    at: np.ndarray
    off: np.ndarray
    box: np.ndarray  # (6, elements)
    size: np.ndarray  # of tags, and so on as pair_squares.Halves
    tag_c: np.ndarray
    m: np.ndarray  # (tags, base)
    shift: np.ndarray
    lean: np.ndarray
    tag_off: np.ndarray
    rows: np.ndarray  # (2, elements, rows)
    a: np.ndarray  # (at, rows)
    kinks: bool
    h: float = 0.0  # of a rounding, where that is all that moves y

    @property
    def base(self) -> int:
        return self.m.shape[1]

    def prover(self) -> np.ndarray:
        group, count = self.prover_group(), self.a.shape[1]
        return group.most(Rows(*self.rows.copy()), self.a, Total(np.zeros(count)))

    def checker(self) -> np.ndarray:
        return self.checker_group().most(self.rows, self.a)

    def prover_group(self) -> pair_squares.Squares:
        n, ids = self.c.shape[1], np.arange(self.g.shape[1])
        forms = Forms(*self.c, *self.r, *self.g, np.arange(n), ids, unknown((n,)))
        m = self.g[1][:, self.at].T
        joint = Joint(self.at, self.off, m, np.abs(m).sum(axis=1), self.off)
        tags, base = ids[self.base :], ids[: self.base]
        known = [
            pair_squares.Halves(
                tags, self.size, self.tag_c, self.m, self.shift, self.lean, self.tag_off, base
            )
        ]
        limits = LIMITS if self.kinks else (-np.inf, np.inf)
        envelope = pair_vertex.Envelope(self.h, self.h, *self.ends())
        return pair_squares.squares_of(forms, joint, Box(*self.box), envelope, limits, known)

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Of y: from 0, or, where there is more than roundings, from below."""
        return np.full(self.c.shape[1], 0.0 if self.h else -1.0), self.box[3] + 0.0

    def checker_group(self) -> checked.Squares:
        n, ids = self.c.shape[1], np.arange(self.g.shape[1])
        form = Form(self.c, self.r, self.g, np.arange(n), ids)
        group = Together(self.at, self.off, self.g[1][:, self.at].T, self.off)
        tags, base = ids[self.base :], ids[: self.base]
        past = [
            checked.Symbols(tags, self.size, self.tag_c, self.m, self.shift, self.lean, self.tag_off, base)
        ]
        limits = LIMITS if self.kinks else (-np.inf, np.inf)
        envelope = relax.Envelope(self.h, self.h, *self.ends())
        return checked.Squares(form, group, self.box, envelope, limits, past)

    def found(self, rng: np.random.Generator, k: int, tries: int = 6) -> float:
        """The largest value of row k that some symbols show."""
        return max(self._climbed(rng, k) for _ in range(tries))

    def _climbed(self, rng: np.random.Generator, k: int) -> float:
        e, late = rng.choice([-1.0, 1.0], self.base), rng.choice([-0.5, 0.5], self.size.size)
        rest = rng.choice([-1.0, 1.0], self.size.size)
        best, better = self._value(e, late, rest, k), True
        while better:
            better = False
            for part in (e, late, rest):
                for i in range(part.size):
                    part[i] *= -1
                    value = self._value(e, late, rest, k)
                    if value > best + 1e-12:
                        best, better = value, True
                    else:
                        part[i] *= -1
        return best

    def _value(self, e: np.ndarray, late: np.ndarray, rest: np.ndarray, k: int) -> float:
        """With the best remainders and signs that the kinks leave."""
        tags = (
            late * (self.tag_c + self.m @ e) + self.shift + self.lean @ e + rest * self.tag_off
        ) / self.size
        x, d = (self.c[i] + self.g[i].T @ np.concatenate([e, tags]) for i in (0, 1))
        row_x, row_d = self.rows[..., k]
        on = np.full(self.at.size, self.h if self.kinks else 0.0)
        value = row_x @ x + row_d @ d + np.abs(row_x) @ self.r[0]
        value += np.abs(self.a[:, k]) @ np.where(on > 0, 0.0, self.off)
        out = np.abs(row_d) @ self.r[1]  # remainders of D: those of the elements with t beside
        gain = self.a[:, k] * d[self.at] + np.abs(self.a[:, k]) * on
        t = np.where(gain > 0, 0.5, -0.5)
        if self.kinks:  # on where x is above the limit, and off below it; either way about it
            slip = 0.25 * np.abs(self.box[4:, self.at]).max(axis=0) + 0.75 * on
            t = np.where(x[self.at] > slip, 0.5, np.where(x[self.at] < -slip, -0.5, t))
        return float(value + out + (self.a[:, k] * t) @ d[self.at] + (np.abs(self.a[:, k]) * on) @ (0.5 + t))


def squared(seed: int, *, kinks: bool = False, tags: int = 5) -> Squared:
    """Random forms."""
    rng = np.random.default_rng(seed)
    n, many, base, rows = 9, 6, 14, 4
    g = np.zeros((2, base + tags, n))
    g[0, :base] = rng.normal(size=(base, n)) * (rng.random(base) < 0.6)[:, None]
    g[0] *= 0.3 if kinks else 1.0  # some elements are on, or off, whatever the symbols
    g[1] = 0.3 * rng.normal(size=(base + tags, n))
    c = np.stack([1.5 * rng.normal(size=n), 0.1 * rng.normal(size=n)])
    r = 0.01 * rng.random((2, n))
    at = np.sort(rng.choice(n, many, replace=False))
    far = np.abs(g).sum(axis=1) * 4
    box = np.stack([end for i in (0, 1) for end in (c[i] - far[i], c[i] + far[i])])
    box = (
        np.stack([*box[:2], *box[:2], *(0.05 * box[2:])])
        if kinks
        else np.stack([*box[:2], *box[:2], *box[2:]])
    )
    rows_x, rows_d = rng.normal(size=(2, n, rows))
    rows_x = 0.0 * rows_x if kinks else 0.2 * rows_x
    return Squared(
        c=c, r=r, g=g, at=at, off=0.01 * rng.random(many), box=box,
        size=0.5 + rng.random(tags), tag_c=0.2 * rng.normal(size=tags),
        m=0.4 * rng.normal(size=(tags, base)), shift=0.2 * rng.normal(size=tags),
        lean=0.2 * rng.normal(size=(tags, base)), tag_off=0.4 * rng.random(tags),
        rows=np.stack([rows_x, rows_d]), a=rng.normal(size=(many, rows)), kinks=kinks,
    )  # fmt: skip
