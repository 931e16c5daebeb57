# SPDX-License-Identifier: Apache-2.0
"""Pools over a whole map."""

from __future__ import annotations

from ...ops.base import Unsupported
from .moves import axes_of
from .site import Site


def global_max_pool(site: Site) -> bool:
    """A window as large as the map."""
    if len(site.first) < 2:
        raise Unsupported(f"input of shape {site.first} without batch", "an input (C, ...) of rank 2 or more")
    site.put("MaxPool", site.inputs[:1], kernel_shape=site.first[1:])
    return True


def reduce_mean(site: Site) -> bool:
    """The mean over rows and columns: a global average pool, and a Reshape without keepdims."""
    shape, axes = site.first, site.integers(1, "axes")
    if not axes and site.get("noop_with_empty_axes", 0):
        site.put("Identity", site.inputs[:1])
        return True
    found = axes_of(axes or tuple(range(1, len(shape) + 1)), len(shape) + 1)
    if len(shape) < 2 or found != list(range(2, len(shape) + 1)):
        raise Unsupported(f"mean over axes {found} of shape {(1, *shape)}", "all axes behind the channels")
    if site.get("keepdims", 1):
        site.put("GlobalAveragePool", site.inputs[:1])
    else:
        site.reshape(site.put("GlobalAveragePool", site.inputs[:1], "kept"), shape[:1])
    return True
