# SPDX-License-Identifier: Apache-2.0
"""Ops that keep every element in its order: a Reshape under other names."""

from __future__ import annotations

from ...ops.base import Unsupported
from .site import Site

INDEX_TYPES = (1, 4, 5, 6, 7, 10, 11, 12, 13)  # hold 0 to 255


def axes_of(axes: tuple[int, ...], rank: int) -> list[int]:
    """Axes of a tensor of `rank`, batch axis counted but not among them, as sorted non-negative numbers."""
    wrapped = sorted(a + rank if a < 0 else a for a in axes)
    if len(set(wrapped)) != len(wrapped) or wrapped[:1] == [0] or not all(0 <= a < rank for a in wrapped):
        raise Unsupported(f"axes {list(axes)} of rank {rank}", "axes that leave the batch axis alone")
    return wrapped


def squeeze(site: Site) -> bool:
    """Squeeze and Unsqueeze: axes as an attribute until opset 12, as an input from 13 on."""
    full, axes = (1, *site.first), site.integers(1, "axes")
    if site.proto.op_type == "Unsqueeze":
        rank = len(full) + len(axes or ())
        left, added = iter(full), axes_of(axes or (), rank)
        shape = tuple(1 if a in added else next(left) for a in range(rank))
    else:
        ones = [a for a in range(1, len(full)) if full[a] == 1] if axes is None else axes_of(axes, len(full))
        if any(full[a] != 1 for a in ones):
            raise Unsupported(f"Squeeze of axes {ones} of shape {full}", "axes of extent 1")
        shape = tuple(n for a, n in enumerate(full) if a not in ones)
    site.reshape(site.inputs[0], shape[1:])
    return True


def cast(site: Site) -> bool:
    """Between float types that hold every value, or of indices that any type holds: nothing happens."""
    if site.inputs[0] in site.indices and site.get("to", 0) in INDEX_TYPES:
        site.indices.add(site.proto.output[0])
    elif site.get("to", 0) not in (1, 11):
        raise Unsupported(f"Cast of a computed tensor to type {site.get('to', 0)}", "float32 or float64")
    site.put("Identity", site.inputs[:1])
    return True


def dropout(site: Site) -> bool:
    """Nothing, unless it is to drop: training_mode (opset 12 on) with a ratio above 0."""
    ratio, training = site.given(1), site.given(2)
    if training is not None and training.any() and (ratio is None or ratio.any()):
        raise Unsupported("a Dropout in training mode", "an inference-mode export")
    site.put("Identity", site.inputs[:1])
    return True
