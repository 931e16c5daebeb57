# SPDX-License-Identifier: Apache-2.0
"""Ranges of a float tensor x, its integer twin y = S * (q - z) in real units, and d = y - x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from .pair_float import Floats, Ints, down, up


class Pad(NamedTuple):
    """What a gather reads outside: x exactly, and ranges of y and of d = y - x."""

    x: float = 0.0
    y: tuple[float, float] = (0.0, 0.0)
    d: tuple[float, float] = (0.0, 0.0)


NOTHING = Pad()


@dataclass(frozen=True)
class Box:
    """lx <= x <= ux, ly <= y <= uy, ld <= y - x <= ud, element by element; all of one shape."""

    lx: Floats
    ux: Floats
    ly: Floats
    uy: Floats
    ld: Floats
    ud: Floats

    @property
    def box(self) -> Box:
        """Of a state that is nothing but ranges, as of one that has more."""
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.lx.shape

    def known(self, box: Box) -> Box:
        """Ranges replaced by better ones."""
        return box

    def gather(self, index: Ints, pad: Pad = NOTHING) -> Box:
        """Flat positions; -1 is padding."""
        inside, at = index >= 0, np.maximum(index, 0)
        fills = (pad.x, pad.x, *pad.y, *pad.d)
        ends = (getattr(self, field.name).reshape(-1)[at] for field in fields(self))
        return Box(*(np.where(inside, end, fill) for end, fill in zip(ends, fills, strict=True)))

    def reshape(self, shape: tuple[int, ...]) -> Box:
        """The same elements in another shape."""
        return Box(*(getattr(self, field.name).reshape(shape) for field in fields(self)))

    @classmethod
    def concat(cls, parts: Sequence[Box], axis: int) -> Box:
        """Boxes one after the other along an axis."""
        return cls(*(np.concatenate([getattr(x, f.name) for x in parts], axis) for f in fields(cls)))

    def meet(self, other: Box) -> Box:
        """Intersection of two boxes that both hold the truth."""
        return Box(
            np.maximum(self.lx, other.lx),
            np.minimum(self.ux, other.ux),
            np.maximum(self.ly, other.ly),
            np.minimum(self.uy, other.uy),
            np.maximum(self.ld, other.ld),
            np.minimum(self.ud, other.ud),
        )

    def tighten(self) -> Box:
        """Each of x, y, d from the other two (notes section 2, and the same for x), rounded outward."""
        ld = np.maximum(self.ld, down(self.ly - self.ux))
        ud = np.minimum(self.ud, up(self.uy - self.lx))
        ly = np.maximum(self.ly, down(self.lx + ld))
        uy = np.minimum(self.uy, up(self.ux + ud))
        lx = np.maximum(self.lx, down(ly - ud))
        ux = np.minimum(self.ux, up(uy - ld))
        return Box(lx, ux, ly, uy, ld, ud)


def centre(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Middle m and radius r, rounded up, with [low, high] inside [m - r, m + r]."""
    middle = 0.5 * low + 0.5 * high
    return middle, up(np.maximum(high - middle, middle - low))
