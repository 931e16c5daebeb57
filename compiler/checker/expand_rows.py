# SPDX-License-Identifier: Apache-2.0
"""Softmax and ArgMax of the rows of a matrix, whatever axis the file says; and casts of indices."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from .files import need
from .layers import Shape
from .place import OWN, Place


def _axis(p: Place, default: int) -> int:
    """Of the reader's shape."""
    f, a = p.file_shape(p.inputs[0]), int(p.attributes.get("axis", default))
    need(-len(f) <= a < len(f), f"{p.name}: axis {a}")
    found = a % len(f) - p.first_axis(p.inputs[0])
    need(found >= 0, f"{p.name}: along the batch axis")
    return found


def _matrix(shape: Shape, first: int, end: int) -> np.ndarray:
    """Positions (rows, elements of axes first .. end - 1)."""
    at = np.arange(prod(shape)).reshape(prod(shape[:first]), prod(shape[first:end]), -1)
    return at.swapaxes(1, 2).reshape(-1, at.shape[1])


def _softmax(p: Place) -> bool:
    p.only("axis")
    first = _axis(p, -1 if p.opset >= 13 else 1)
    shape = p.first()
    if len(shape) == 1:
        p.put("Softmax", p.inputs, domain=OWN)
        return True
    at = _matrix(shape, first, first + 1 if p.opset >= 13 else len(shape))
    found = p.put("Softmax", [p.moved(p.inputs[0], at, "rows")], "softmax", name=p.name, domain=OWN)
    back = np.empty(prod(shape), np.int64)
    back[at.ravel()] = np.arange(at.size)
    p.moved(found, back.reshape(shape), name=f"{p.name}.back")
    return True


def _argmax(p: Place) -> bool:
    p.only("axis", "keepdims", "select_last_index")
    axis, shape, kept = _axis(p, 0), p.first(), p.attributes.get("keepdims", 1)
    more = {"select_last_index": p.attributes.get("select_last_index", 0)}
    p.indices.add(p.outputs[0])
    if len(shape) == 1:
        if not kept:
            p.bare.add(p.outputs[0])
        p.put("ArgMax", p.inputs, domain=OWN, **more)
        return True
    rows = p.moved(p.inputs[0], _matrix(shape, axis, axis + 1), "rows")
    found = p.put("ArgMax", [rows], "argmax", name=p.name, domain=OWN, **more)
    middle = (1,) if kept else ()
    p.reshape(found, (*shape[:axis], *middle, *shape[axis + 1 :]), name=f"{p.name}.shape")
    return True


def _cast(p: Place) -> bool:
    p.only("to", "saturate")
    index = p.inputs[0] in p.indices
    types = (1, 4, 5, 6, 7, 10, 11, 12, 13) if index else (1, 10, 11)  # floats
    need(p.attributes.get("to") in types, f"{p.name}: a cast")
    if index:
        p.indices.add(p.outputs[0])
    p.put("Identity", p.inputs)
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "Softmax"): _softmax,
    ("", "ArgMax"): _argmax,
    ("", "Cast"): _cast,
}
