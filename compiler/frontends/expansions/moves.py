# SPDX-License-Identifier: Apache-2.0
"""Ops that keep every element: a Reshape under other names, and what moves the batch axis (of one)."""

from __future__ import annotations

from math import prod

from ...ops.base import Unsupported
from .site import Site

FLOAT_TYPES = (1, 10, 11)  # a file of float16 has Casts at its ends (`keep_io_types`)
INDEX_TYPES = (1, 4, 5, 6, 7, 10, 11, 12, 13)  # hold 0 to 255


def reshape(site: Site) -> bool:
    """To a shape, or from one, that has no batch axis in front; False: what the op reads itself."""
    target, full = site.given(1), site.full(site.inputs[0])
    if target is None or (site.get("allowzero", 0) and not target.all()):
        return False
    sizes = [full[i] if n == 0 and i < len(full) else int(n) for i, n in enumerate(target.ravel())]
    known = prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known > 0:
        sizes[sizes.index(-1)] = prod(full) // known
    fits = min(sizes, default=0) > 0 and prod(sizes) == prod(full)
    if site.inputs[0] not in site.bare and (not fits or (sizes[0] == 1 and len(sizes) > 1)):
        return False
    if not fits:
        raise Unsupported(f"target shape {target.tolist()} for shape {full}", "a shape of as many elements")
    site.view(site.inputs[0], tuple(sizes))
    return True


def flatten(site: Site) -> bool:
    """Flatten at any axis; False: behind the batch axis."""
    full, axis = site.full(site.inputs[0]), site.get("axis", 1)
    if not -len(full) <= axis <= len(full):
        raise Unsupported(f"axis {axis} of shape {full}", "an axis that there is")
    axis += len(full) if axis < 0 else 0
    if site.inputs[0] not in site.bare and axis == 1:
        return False
    site.view(site.inputs[0], (prod(full[:axis]), prod(full[axis:])))
    return True


def transpose(site: Site) -> bool:
    """A permutation that moves the batch axis, or of a tensor without one; False: the op reads it."""
    positions = site.positions()
    perm = tuple(site.get("perm", tuple(reversed(range(positions.ndim)))))
    if sorted(perm) != list(range(positions.ndim)):
        raise Unsupported(f"perm {perm}", f"a permutation of {positions.ndim} axes")
    if site.inputs[0] not in site.bare and perm[0] == 0:
        return False
    site.take(positions.transpose(perm))
    return True


def axes_of(axes: tuple[int, ...], rank: int, *, batch: bool = True) -> list[int]:
    """Axes of a tensor of `rank` as sorted non-negative numbers; its `batch` axis is none of them."""
    wrapped = sorted(a + rank if a < 0 else a for a in axes)
    low = int(batch)
    if len(set(wrapped)) != len(wrapped) or not all(low <= a < rank for a in wrapped):
        remedy = "axes that leave the batch axis alone" if batch else "axes that there are, each once"
        raise Unsupported(f"axes {list(axes)} of rank {rank}", remedy)
    return wrapped


def squeeze(site: Site) -> bool:
    """Squeeze and Unsqueeze: axes as an attribute until opset 12, as an input from 13 on."""
    full, axes = site.full(site.inputs[0]), site.integers(1, "axes")
    if site.proto.op_type == "Unsqueeze":
        rank = len(full) + len(axes or ())
        left, added = iter(full), axes_of(axes or (), rank, batch=False)
        shape = tuple(1 if a in added else next(left) for a in range(rank))
    else:
        every = [a for a in range(len(full)) if full[a] == 1]
        ones = every if axes is None else axes_of(axes, len(full), batch=False)
        if any(full[a] != 1 for a in ones):
            raise Unsupported(f"Squeeze of axes {ones} of shape {full}", "axes of extent 1")
        shape = tuple(n for a, n in enumerate(full) if a not in ones)
    site.view(site.inputs[0], shape)
    return True


def cast(site: Site) -> bool:
    """Between float types, whose rounding is no part of real arithmetic, or of indices that any type holds:
    nothing happens."""
    if site.inputs[0] in site.indices and site.get("to", 0) in INDEX_TYPES:
        site.indices.add(site.proto.output[0])
    elif site.get("to", 0) not in FLOAT_TYPES:
        raise Unsupported(f"Cast of a computed tensor to type {site.get('to', 0)}", "a type of floats")
    site.put("Identity", site.inputs[:1])
    return True


def dropout(site: Site) -> bool:
    """Nothing, unless it is to drop: training_mode (opset 12 on) with a ratio above 0."""
    ratio, training = site.given(1), site.given(2)
    if training is not None and training.any() and (ratio is None or ratio.any()):
        raise Unsupported("a Dropout in training mode", "an inference-mode export")
    site.put("Identity", site.inputs[:1])
    return True
