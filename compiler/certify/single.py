# SPDX-License-Identifier: Apache-2.0
"""How far the float network of a chain, computed in float32, is from its real value over a piece of the box.

Telescoped: float32 up to a layer, exact from there on. What that layer loses reaches the outputs through the
Jacobian behind it, bounded with signs; so errors cancel as the network's own differences do, and a neuron
that is off all over the piece passes nothing on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..domains.pair_float import Floats, U, down, up
from ..domains.pair_single import ENTERED, FLUSHED, PAID, of_sums
from .chain import Layer
from .linear import RHO, forms

Bools = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def deviations(layers: Sequence[Layer], lower: Floats, upper: Floats) -> Floats:
    """(boxes, outputs), for boxes lower ... upper (boxes, inputs)."""
    size = np.maximum(np.abs(lower), np.abs(upper)).T
    far = (ENTERED * size + FLUSHED) * PAID
    lost, kinds, size = [far], list[tuple[Bools, Bools]](), size + far
    for layer, form in zip(layers, forms(layers, lower, upper), strict=False):
        weights, folded = np.abs(layer.w), layer.rounded
        lost.append(of_sums(weights, size, folded.count, folded.size[:, None], folded.gain[:, None]))
        far = (weights @ far + lost[-1]) * (1 + RHO)  # an exact network from any layer on stays as close
        wide = form.radius() + far
        low, high = down(form.c - wide), up(form.c + wide)
        kinds.append(((low >= layer.a) & (high <= layer.c), (high <= layer.a) | (low >= layer.c)))
        far = np.where(kinds[-1][1], 0.0, far)
        size = np.maximum(*(np.abs(np.clip(end, layer.a, layer.c)) for end in (low, high)))
    outputs, boxes = far.shape
    steep, found = np.repeat(np.eye(outputs)[None], boxes, axis=0), np.zeros((boxes, outputs))
    off = np.zeros_like(steep)
    for layer, own, (kept, still) in zip(layers[::-1], lost[:0:-1], kinds[::-1], strict=True):
        steep, off = _bent(steep, off, kept.T[:, None], still.T[:, None])
        found += ((np.abs(steep) + off) * own.T[:, None]).sum(axis=2)
        share = 1.01 * (layer.w.shape[0] + 16) * U
        off = (off + share * (np.abs(steep) + off)) @ np.abs(layer.w) * (1 + RHO)
        steep = steep @ layer.w
    found += ((np.abs(steep) + off) * lost[0].T[:, None]).sum(axis=2)
    return found * PAID


def _bent(steep: Floats, off: Floats, kept: Bools, still: Bools) -> tuple[Floats, Floats]:
    """Behind a clip the slopes steep +- off are what they were, 0, or anything between."""
    low, high = np.minimum(down(steep - off), 0.0), np.maximum(up(steep + off), 0.0)
    middle = 0.5 * low + 0.5 * high
    radius = np.maximum(high - middle, middle - low) * (1 + RHO)
    return (
        np.where(kept, steep, np.where(still, 0.0, middle)),
        np.where(kept, off, np.where(still, 0.0, radius)),
    )
