# SPDX-License-Identifier: Apache-2.0
"""Add, Sub, Mul and Div that broadcast, until tensors have one shape and constants one value per channel."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from ...ops.base import Shape, Unsupported
from .site import Site

MAX_VALUES = 1 << 16  # of a constant that varies along other axes than the channels: they become channels


def elementwise(site: Site) -> bool:
    """Tensors that broadcast are expanded; other axes than the first take the place of the channels."""
    live = [i for i, name in enumerate(site.inputs) if name in site.shapes]
    if len(site.inputs) != 2 or any(i not in site.shapes and i not in site.constants for i in site.inputs):
        return False
    shapes = [
        (1, *site.shapes[name]) if name in site.shapes else site.constants[name].shape for name in site.inputs
    ]
    try:
        full = np.broadcast_shapes(*shapes)
    except ValueError:
        raise Unsupported(f"shapes {shapes[0]} and {shapes[1]}", "shapes that broadcast") from None
    if full[0] != 1 or any(len(full) > len(shapes[i]) for i in live):
        raise Unsupported(f"shapes {shapes[0]} and {shapes[1]}", "a batch of one as the first axis")
    short = [i for i in live if shapes[i] != full]
    if short:
        inputs = list(site.inputs)
        for i in short:
            target = site.constant(f"shape{i}", full)
            inputs[i] = site.put("Expand", [inputs[i], target], f"expanded{i}")
        site.put(site.proto.op_type, inputs)
        return True
    return len(live) == 1 and _constant(site, live[0], full[1:])


def neg(site: Site) -> bool:
    """Neg is a factor of -1."""
    site.put("Mul", [*site.inputs, site.constant("minus", -1.0, np.float32)])
    return True


def power(site: Site) -> bool:
    """Pow with a constant exponent of 1 or 2."""
    exponent = site.given(1)
    number = None if exponent is None or exponent.size != 1 else float(exponent.ravel()[0])
    if number not in (1.0, 2.0) or exponent is None or exponent.ndim > len(site.full(site.inputs[0])):
        raise Unsupported(f"Pow with an exponent of {exponent}", "a square, or products")
    if number == 1:
        site.put("Identity", site.inputs[:1])
    else:
        site.put("Mul", [site.inputs[0], site.inputs[0]])
    return True


def _constant(site: Site, at: int, shape: Shape) -> bool:
    """A constant beside the tensor `at`: per channel of a vector or of a map, whatever its shape."""
    constant = site.constants[site.inputs[1 - at]]
    aligned = constant.reshape((1,) * (1 + len(shape) - constant.ndim) + constant.shape)[0]
    varies = [i for i, n in enumerate(aligned.shape) if n != 1]
    source, op = site.inputs[at], site.proto.op_type

    def put(tensor: str, values: NDArray[np.floating], suffix: str, name: str = "") -> str:
        pair = [tensor, site.constant("values", values, constant.dtype)]
        return site.put(op, pair if at == 0 else pair[::-1], suffix, name=name)

    if varies in ([], [0]):
        if len(shape) in (1, 3):
            return False
        row = site.reshape(source, (shape[0], prod(shape[1:]), 1), "row")
        found = put(row, aligned.reshape(1, -1, 1, 1), "map", site.name)
        site.reshape(found, shape, name=f"{site.name}.line")
    elif len(shape) == 2 and varies == [1]:  # along the last axis: in memory nothing moves
        places = np.arange(prod(shape)).reshape(shape)
        turned = site.moved(source, places.T[..., None], "turned")
        found = put(turned, aligned.reshape(1, -1, 1, 1), "map", site.name)
        site.moved(found, np.arange(prod(shape)).reshape(shape[::-1]).T, name=f"{site.name}.rows")
    else:
        if prod(shape) > MAX_VALUES:
            raise Unsupported(f"a constant of {prod(shape)} values", f"at most {MAX_VALUES}")
        row = site.reshape(source, (prod(shape), 1, 1), "row")
        found = put(row, np.broadcast_to(aligned, shape).reshape(1, -1, 1, 1), "map", site.name)
        site.reshape(found, shape, name=f"{site.name}.line")
    return True
