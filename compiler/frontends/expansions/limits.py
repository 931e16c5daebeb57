# SPDX-License-Identifier: Apache-2.0
"""Max and Min: of a tensor and numbers a Clip, of tensors a pool over what joins them."""

from __future__ import annotations

from math import prod
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
    if not live or len(live) + len(constants) != len(site.inputs):
        raise Unsupported(f"a {op} of {len(live)} tensors", f"the {op} of tensors and constants")
    if any(name in site.marks for name in live):
        raise Unsupported(f"{op} of quantised integers", REMEDY)
    if len(live) > 1:
        return _of_tensors(site, live)
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


def _of_tensors(site: Site, live: list[str]) -> bool:
    """Tensors of one shape; numbers afterwards; a Min by signs."""
    op, numbers = site.proto.op_type, [name for name in site.inputs if name in site.constants]
    if numbers:
        site.put(op, [site.put(op, live, "tensors"), *numbers])
        return True
    shapes = [site.full(name) for name in live]
    if len({len(shape) for shape in shapes}) > 1 or len({name in site.bare for name in live}) > 1:
        raise Unsupported(f"a {op} of shapes {shapes[0]} and {shapes[1]}", "tensors of one rank")
    try:
        full = np.broadcast_shapes(*shapes)
    except ValueError:
        raise Unsupported(f"a {op} of shapes {shapes[0]} and {shapes[1]}", "shapes that broadcast") from None
    if any(shape != full for shape in shapes):
        target = site.constant("shape", full)
        wide = [
            name if shape == full else site.put("Expand", [name, target], f"expanded{i}")
            for i, (name, shape) in enumerate(zip(live, shapes, strict=True))
        ]
        site.put(op, wide)
    elif len(site.shapes[live[0]]) != 3:  # in memory nothing moves
        line = (1, prod(site.shapes[live[0]]), 1)
        lines = [site.reshape(name, line, f"line{i}") for i, name in enumerate(live)]
        site.reshape(site.put(op, lines, "map"), site.shapes[live[0]])
    elif op == "Min":
        count = site.shapes[live[0]][0]  # a factor would be folded into the layer before, with its quantiser
        minus = site.constant("minus", np.full((count, 1, 1, 1), -1), np.float32)
        turned = [site.put("Conv", [name, minus], f"turned{i}", group=count) for i, name in enumerate(live)]
        site.put("Conv", [site.put("Max", turned, "largest"), minus], group=count)
    else:  # all rows below each other, and windows of as many, the height of a tensor apart
        window: dict[str, Any] = {"kernel_shape": [len(live), 1], "dilations": [site.shapes[live[0]][1], 1]}
        site.put("MaxPool", [site.put("Concat", live, "joined", axis=2)], **window)
    return True


def _fits(shape: Shape, full: Shape) -> bool:
    """Whether a constant repeats along the tensor, which keeps its shape."""
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1], strict=False))
