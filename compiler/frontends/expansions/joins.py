# SPDX-License-Identifier: Apache-2.0
"""Concat with constants among its inputs: each is the bias of a layer that reads zeros."""

from __future__ import annotations

import numpy as np

from ...ops.base import Unsupported
from .elementwise import MAX_VALUES
from .site import Site

FINE = 2.0**-12  # a weight: biases are stored in units of it and of the input's scale


def concat(site: Site) -> bool:
    """Constants become tensors of the network; False where there are none."""
    live = [name for name in site.inputs if name in site.shapes]
    rank, axis = len(site.full(live[0])) if live else 0, site.get("axis", 0)
    if live and live[0] in site.bare and axis >= 0:  # counted from behind, it is the same axis with a batch
        site.put("Concat", site.inputs, axis=axis - rank)
        return True
    if not live or len(live) == len(site.inputs) or any(name in site.marks for name in live):
        return False
    parts = [
        name if name in site.shapes else _tensor(site, live[0], name, i) for i, name in enumerate(site.inputs)
    ]
    site.put("Concat", parts, **site.attributes)
    return True


def _tensor(site: Site, source: str, name: str, i: int) -> str:
    """Zeros that a Take of nothing gives, and the constant as the bias of each."""
    constant = site.constants[name]
    if source not in site.bare:
        if constant.shape[:1] != (1,):
            raise Unsupported(f"a Concat with a constant of shape {constant.shape}", "a batch axis of one")
        constant = constant[0]
    if not 0 < constant.size <= MAX_VALUES:
        raise Unsupported(f"a Concat with a constant of {constant.size} values", f"1 to {MAX_VALUES}")
    if not constant.any():
        return site.moved(source, np.full(constant.shape, -1), f"zeros{i}")
    zeros = site.moved(source, np.full((constant.size, 1, 1), -1), f"zeros{i}")
    kernel = site.constant(f"kernel{i}", np.full((constant.size, 1, 1, 1), FINE), np.float64)
    bias = site.constant(f"bias{i}", constant.ravel(), constant.dtype)
    name = f"{site.name}.constant{i}"
    found = site.put("Conv", [zeros, kernel, bias], f"map{i}", name=name, group=constant.size)
    return site.reshape(found, constant.shape, f"constant{i}")
