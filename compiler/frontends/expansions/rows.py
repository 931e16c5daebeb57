# SPDX-License-Identifier: Apache-2.0
"""Softmax and ArgMax along any axis: the axis becomes the last one of a matrix, and goes back behind it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...ops.base import Unsupported
from .site import Site

OWN = "tinybound"


def softmax(site: Site) -> bool:
    """Along one axis; before opset 13 along all axes from the given one on, as if they were one."""
    old = site.opset < 13
    axis = _axis(site, 1 if old else -1)
    places = site.places(site.inputs[0])
    shape = places.shape
    if places.ndim == 1:
        site.put("Softmax", site.inputs[:1], name=site.name, domain=OWN)
        return True
    rows = _rows(places, axis, places.ndim if old else axis + 1)
    source = site.moved(site.inputs[0], rows, "rows")
    found = site.put("Softmax", [source], "softmax", name=site.name, domain=OWN)
    site.moved(found, np.argsort(rows, axis=None).reshape(shape), name=f"{site.name}.back")
    return True


def argmax(site: Site) -> bool:
    """Indices as a result of the network; what follows may only cast them or give them another shape."""
    axis, out = _axis(site, 0), site.proto.output[0]
    places, more = site.places(site.inputs[0]), {"select_last_index": site.get("select_last_index", 0)}
    kept = bool(site.get("keepdims", 1))
    site.indices.add(out)
    if places.ndim == 1:
        if not kept:
            site.bare.add(out)
        site.put("ArgMax", site.inputs[:1], domain=OWN, **more)
        return True
    shape = list(places.shape)
    shape[axis : axis + 1] = [1] if kept else []
    source = site.moved(site.inputs[0], _rows(places, axis, axis + 1), "rows")
    found = site.put("ArgMax", [source], "argmax", name=site.name, domain=OWN, **more)
    site.reshape(found, tuple(shape), name=f"{site.name}.shape")
    return True


def _axis(site: Site, default: int) -> int:
    """The axis, batch not counted."""
    full, given = site.full(site.inputs[0]), int(site.get("axis", default))
    batched = site.inputs[0] not in site.bare
    if not -len(full) <= given < len(full) or (batched and given % len(full) == 0):
        found = f"{site.proto.op_type} along axis {given} of shape {full}"
        raise Unsupported(found, "an axis behind the batch")
    return given % len(full) - batched


def _rows(places: NDArray[np.int64], first: int, end: int) -> NDArray[np.int64]:
    """Axes first .. end - 1 as the last axis of a matrix."""
    axes = list(range(first, end))
    others = [axis for axis in range(places.ndim) if axis not in axes]
    count = int(np.prod([places.shape[axis] for axis in axes]))
    return places.transpose(*others, *axes).reshape(-1, count)
