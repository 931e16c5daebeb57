# SPDX-License-Identifier: Apache-2.0
"""Nodes of the reference that stand for several simpler ones. Names are the compiler's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .expand_elementwise import EXPANSIONS as ELEMENTWISE
from .expand_joins import EXPANSIONS as JOINS
from .expand_lines import EXPANSIONS as LINES
from .expand_pools import EXPANSIONS as POOLS
from .expand_products import EXPANSIONS as PRODUCTS
from .expand_rows import EXPANSIONS as ROWS
from .expand_spaces import EXPANSIONS as SPACES
from .expand_takes import EXPANSIONS as TAKES
from .expand_transposed import conv_transpose
from .files import need
from .place import OWN, Place


def _squeeze(p: Place) -> bool:
    p.only("axes")
    full = p.file_shape(p.inputs[0])
    axes = p.axes(len(full), 0)
    ones = [a for a, n in enumerate(full) if n == 1] if axes is None else axes
    need(all(full[a] == 1 for a in ones), f"{p.name}: squeezed axes {ones} of {full}")
    p.reshape(p.inputs[0], p.inner(tuple(n for a, n in enumerate(full) if a not in ones)))
    return True


def _unsqueeze(p: Place) -> bool:
    p.only("axes")
    full = [*p.file_shape(p.inputs[0])]
    axes = p.axes(len(full), 0)
    need(axes is not None, f"{p.name}: no axes")
    for a in axes or ():
        full.insert(a, 1)
    p.reshape(p.inputs[0], p.inner(tuple(full)))
    return True


def _reshape(p: Place) -> bool:
    """Only what has no batch axis before or behind it."""
    full, target = p.file_shape(p.inputs[0]), p.constants.get(([*p.inputs, ""])[1])
    if target is None or (p.attributes.get("allowzero", 0) and 0 in target):
        return False
    sizes = target.ravel().tolist()
    for i in range(min(len(sizes), len(full))):
        sizes[i] = sizes[i] or full[i]
    others = int(np.prod([n for n in sizes if n != -1]))
    whole = int(np.prod(full))
    sizes = [whole // others if n == -1 and others > 0 else n for n in sizes]
    fits = all(n > 0 for n in sizes) and int(np.prod(sizes)) == whole
    if p.first_axis(p.inputs[0]) and (not fits or not sizes or (sizes[0] == 1 and len(sizes) > 1)):
        return False
    need(fits, f"{p.name}: shape {sizes} of {full}")
    p.reshape(p.inputs[0], p.inner(tuple(sizes)))
    return True


def _flatten(p: Place) -> bool:
    p.only("axis")
    full, axis = p.file_shape(p.inputs[0]), int(p.attributes.get("axis", 1))
    need(-len(full) <= axis <= len(full), f"{p.name}: axis {axis}")
    axis = axis if axis >= 0 else axis + len(full)
    if axis == 1 and p.first_axis(p.inputs[0]):
        return False
    rows = int(np.prod(full[:axis]))
    p.reshape(p.inputs[0], p.inner((rows, int(np.prod(full)) // rows)))
    return True


def _global_max_pool(p: Place) -> bool:
    p.only()
    p.put("MaxPool", p.inputs, kernel_shape=p.first()[1:])
    return True


_POOLS = {"ReduceMean": ("GlobalAveragePool", "mean"), "ReduceMax": ("GlobalMaxPool", "maximum")}


def _reduce(p: Place) -> bool:
    p.only("axes", "keepdims", "noop_with_empty_axes")
    shape = p.first()
    axes = p.axes(len(shape) + 1)
    if not axes and p.attributes.get("noop_with_empty_axes", 0):
        p.put("Identity", p.inputs[:1])
        return True
    need(axes, f"{p.name}: over the batch")
    gone = {a - 1 for a in axes or ()}
    stay = [i for i in range(len(shape)) if i not in gone]
    pool, label = _POOLS.get(p.op, ("", "total"))
    if pool and stay == [0]:
        if p.attributes.get("keepdims", 1):
            p.put(pool, p.inputs[:1])
        else:
            p.reshape(p.put(pool, p.inputs[:1], "kept"), shape[:1])
        return True
    target = [1 if i in gone else n for i, n in enumerate(shape)]
    if not p.attributes.get("keepdims", 1):
        target = [shape[i] for i in stay]
    need(target, f"{p.name}: everything, without axes")
    at = np.arange(np.prod(shape)).reshape(shape)
    for i in sorted(gone):  # to the end, one after the other
        at = np.moveaxis(at, i - sum(j < i for j in gone), -1)
    at = at.reshape(int(np.prod([shape[i] for i in stay])), -1, 1)
    source = p.moved(p.inputs[0], at, "map")
    if pool:
        found = p.put(pool, [source], label, name=p.name)
    else:
        found = p.put("Total", [source], label, name=p.name, domain=OWN)
    p.reshape(found, tuple(target), name=f"{p.name}.shape")
    return True


def _dropout(p: Place) -> bool:
    p.only("ratio", "seed")
    known = [p.constants[i] for i in p.inputs[1:] if i in p.constants]
    need(len(known) == sum(1 for i in p.inputs[1:] if i), f"{p.name}: a ratio or mode that is computed")
    training = len(p.inputs) > 2 and p.inputs[2] and p.constants[p.inputs[2]].any()
    keeps = p.inputs[1:2] and p.inputs[1] and not p.constants[p.inputs[1]].any()
    need(not training or keeps, f"{p.name}: a dropout in training mode")
    p.put("Identity", p.inputs[:1])
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "Dropout"): _dropout,
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "Reshape"): _reshape,
    ("", "Flatten"): _flatten,
    ("", "GlobalMaxPool"): _global_max_pool,
    ("", "ReduceMax"): _reduce,
    ("", "ReduceMean"): _reduce,
    ("", "ReduceSum"): _reduce,
    ("", "ConvTranspose"): conv_transpose,
    **ELEMENTWISE,
    **JOINS,
    **LINES,
    **POOLS,
    **PRODUCTS,
    **ROWS,
    **SPACES,
    **TAKES,
}

__all__ = ["EXPANSIONS", "OWN", "Place"]
