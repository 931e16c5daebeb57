# SPDX-License-Identifier: Apache-2.0
"""Add, Sub, Mul and Div of tensors of several shapes, or with a constant that is not one per channel."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .files import need
from .layers import Shape
from .place import Place


def _elementwise(p: Place) -> bool:
    p.only()
    need(len(p.inputs) == 2, f"{p.name}: inputs")
    live = [p.shapes.get(name) for name in p.inputs]
    shapes: list[Shape] = [
        p.constants[name].shape if shape is None else (1, *shape)
        for name, shape in zip(p.inputs, live, strict=True)
    ]
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    fits = all(a == b or 1 in (a, b) for a, b in zip(*padded, strict=True))
    need(fits, f"{p.name}: shapes {shapes}")
    full = tuple(max(pair) for pair in zip(*padded, strict=True))
    ranks = [len(shape) for shape, alive in zip(shapes, live, strict=True) if alive is not None]
    need(full[0] == 1 and min(ranks) == rank, f"{p.name}: shapes {shapes}")
    inputs, stretched = list(p.inputs), False
    for i, shape in enumerate(shapes):
        if live[i] is not None and shape != full:
            target = p.free(f"shape{i}")
            p.constants[target] = np.array(full)
            inputs[i], stretched = p.put("Expand", [inputs[i], target], f"expanded{i}"), True
    if stretched:
        p.put(p.op, inputs)
        return True
    if None not in live:
        return False
    return _constant(p, live.index(None), full[1:])


def _constant(p: Place, at: int, shape: Shape) -> bool:
    """The constant is input `at`. Along the channels, along the last of two axes, or all over the place."""
    c, source = p.constants[p.inputs[at]], p.inputs[1 - at]
    sizes = ((1,) * (len(shape) + 1 - c.ndim) + c.shape)[1:]
    along = {i for i, n in enumerate(sizes) if n > 1}

    def put(tensor: str, values: Any, suffix: str) -> str:
        name = p.free("values")
        p.constants[name] = values
        return p.put(p.op, [name, tensor] if at == 0 else [tensor, name], suffix, name=p.name)

    if along <= {0} and len(shape) in (1, 3):
        return False
    if along <= {0}:
        row = p.reshape(source, (shape[0], prod(shape[1:]), 1), "row")
        p.reshape(put(row, c.reshape(1, -1, 1, 1), "map"), shape, name=f"{p.name}.line")
    elif len(shape) == 2 and along == {1}:
        rows, columns = np.ix_(*map(np.arange, shape))
        turned = p.moved(source, (rows * shape[1] + columns).T[:, :, None], "turned")
        found = put(turned, c.reshape(1, -1, 1, 1), "map")
        p.moved(found, columns * shape[0] + rows, name=f"{p.name}.rows")
    else:
        row = p.reshape(source, (prod(shape), 1, 1), "row")
        values = (np.zeros(shape, c.dtype) + c.reshape(sizes)).reshape(1, -1, 1, 1)
        p.reshape(put(row, values, "map"), shape, name=f"{p.name}.line")
    return True


def _neg(p: Place) -> bool:
    p.only()
    minus = p.free("minus")
    p.constants[minus] = np.array(-1.0)
    p.put("Mul", [p.inputs[0], minus])
    return True


def _pow(p: Place) -> bool:
    p.only()
    need(len(p.inputs) == 2 and p.inputs[1] in p.constants, f"{p.name}: an exponent that is computed")
    exponent = p.constants[p.inputs[1]]
    need(exponent.size == 1 and exponent.ndim <= len(p.file_shape(p.inputs[0])), f"{p.name}: exponents")
    twice = int(exponent.ravel()[0] == 2)
    need(twice or exponent.ravel()[0] == 1, f"{p.name}: exponent")
    p.put(("Identity", "Mul")[twice], [p.inputs[0]] * (1 + twice))
    return True


def _abs(p: Place) -> bool:
    p.only()
    p.put("LeakyRelu", p.inputs[:1], alpha=-1.0)
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    **{("", op): _elementwise for op in ("Add", "Sub", "Mul", "Div")},
    ("", "Abs"): _abs,
    ("", "Neg"): _neg,
    ("", "Pow"): _pow,
}
