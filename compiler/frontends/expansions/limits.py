# SPDX-License-Identifier: Apache-2.0
"""Max and Min of a tensor and numbers: a Clip."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.base import Shape, Unsupported
from ..annotations import REMEDY
from .site import Site


def extremum(site: Site) -> bool:
    """The largest number is the lower limit of a Max, the smallest one the upper limit of a Min."""
    op = site.proto.op_type
    live = [name for name in site.inputs if name in site.shapes]
    constants = [site.constants[name] for name in site.inputs if name in site.constants]
    if len(live) != 1 or len(constants) + 1 != len(site.inputs):
        raise Unsupported(f"a {op} of {len(live)} tensors", f"the {op} of a tensor and constants")
    if live[0] in site.marks:
        raise Unsupported(f"{op} of quantised integers", REMEDY)
    full = site.full(live[0])
    odd = [c.shape for c in constants if not _fits(c.shape, full) or (c != c.flat[0]).any()]
    if odd:
        raise Unsupported(f"a {op} with a constant of shape {odd[0]}", "one number for all elements")
    if not constants:
        site.put("Identity", live)
        return True
    limit = np.asarray((np.max if op == "Max" else np.min)([c.flat[0] for c in constants]))
    if not np.isfinite(limit):
        raise Unsupported(f"a {op} with {limit}", "a finite number")
    if site.opset < 11:
        end: dict[str, Any] = {"min" if op == "Max" else "max": float(limit)}
        site.put("Clip", live, **end)
        return True
    name = site.constant("limit", limit, constants[0].dtype)
    site.put("Clip", [*live, name] if op == "Max" else [*live, "", name])
    return True


def _fits(shape: Shape, full: Shape) -> bool:
    """Whether a constant repeats along the tensor, which keeps its shape."""
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1], strict=False))
