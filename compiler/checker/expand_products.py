# SPDX-License-Identifier: Apache-2.0
"""MatMul and Gemm: with one constant factor a 1 x 1 Conv over (K, rows, 1), a group per matrix.

Shapes of the file are `f`; without a batch axis they are also those of the reader, else behind a 1.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .files import need
from .layers import Shape
from .place import OWN, Place
from .rounding import Ints


def _matmul(p: Place) -> bool:
    need(len(p.inputs) == 2, f"{p.name}: inputs")
    held = [name in p.constants for name in p.inputs]
    p.only()
    if not any(held):
        return _both(p, *p.inputs)
    if sum(held) != 1:
        return False
    x, w = p.inputs if held[1] else p.inputs[::-1]
    f, size = p.file_shape(x), p.constants[w].shape
    need(f and size, f"{p.name}: a product with a scalar")
    return _right(p, x, w, f, size) if held[1] else _left(p, x, w, f, size)


def _right(p: Place, x: str, w: str, f: Shape, size: Shape) -> bool:
    """x W."""
    need(f[-1] == size[-2:][0], f"{p.name}: {f} x {size}")
    if len(size) == 1:
        need(len(f) > 1, f"{p.name}: a scalar")
        column = p.free("column")
        p.constants[column] = p.constants[w].reshape(-1, 1)
        found = p.put("MatMul", [x, column], "product", name=p.name)
        if len(f) == 2:  # (1,) of a (1, K): no batch axis is left
            p.bare.add(p.outputs[0])
        p.reshape(found, p.shapes[x][:-1] or (1,), name=f"{p.name}.axis")
        return True
    if len(size) == 2 and len(p.shapes[x]) == 1:
        return False
    lead, (depth, outputs) = _together(p, x, f[:-2], size[:-2]), size[-2:]
    rows, matrices = f[-2:-1] or (1,), p.constants[w]
    at = np.arange(prod(f)).reshape(*f[:-2], *rows, depth)
    if prod(size[:-2]) == 1:  # one matrix: all rows alike
        at, matrices = at.reshape(1, -1, depth), matrices.reshape(1, depth, outputs)
    else:
        at = np.broadcast_to(at, (*lead, *rows, depth)).reshape(-1, *rows, depth)
        matrices = np.broadcast_to(matrices, (*lead, depth, outputs)).reshape(-1, depth, outputs)
    groups, count = at.shape[:2]
    pixels = p.moved(x, np.stack(list(at), 0).swapaxes(1, 2).reshape(-1, count, 1), "pixels")
    kernel = p.free("kernel")
    p.constants[kernel] = matrices.swapaxes(1, 2).reshape(-1, depth, 1, 1).copy()
    more: dict[str, Any] = {"group": groups} if prod(size[:-2]) != 1 else {}
    found = p.put("Conv", [pixels, kernel], "map", name=p.name, **more)
    g, r, m = np.ix_(np.arange(groups), np.arange(count), np.arange(outputs))
    out = (*lead, *f[-2:-1], outputs)
    p.moved(found, ((g * outputs + m) * count + r).reshape(out[p.first_axis(x) :]), name=f"{p.name}.rows")
    return True


def _together(p: Place, x: str, rows: Shape, matrices: Shape) -> Shape:
    """Leading axes of the product."""
    rank = max(len(rows), len(matrices))
    a, b = ((1,) * (rank - len(lead)) + lead for lead in (rows, matrices))
    need(all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=True)), f"{p.name}: {rows} and {matrices}")
    lead = tuple(max(pair) for pair in zip(a, b, strict=True))
    need(x in p.bare or not lead or lead[0] == 1, f"{p.name}: a batch of {lead[:1]}")
    return lead


def _both(p: Place, a: str, b: str) -> bool:
    """A B by the rows of A and the columns of B, a group per matrix of B."""
    of_a, of_b = p.file_shape(a), p.file_shape(b)
    need(of_a and of_b and max(len(of_a), len(of_b)) > 1, f"{p.name}: two vectors")
    first = np.arange(prod(of_a)).reshape(of_a if len(of_a) > 1 else (1, -1))
    second = np.arange(prod(of_b)).reshape(of_b if len(of_b) > 1 else (-1, 1)).swapaxes(-1, -2)
    need(first.shape[-1] == second.shape[-1], f"{p.name}: {of_a} x {of_b}")
    lead = _together(p, a, first.shape[:-2], second.shape[:-2])
    need(b in p.bare or not lead or lead[0] == 1, f"{p.name}: a batch of {lead[:1]}")
    groups = 1 if second.size == prod(second.shape[-2:]) else prod(lead)
    if groups > 1:
        first, second = (np.broadcast_to(at, lead + at.shape[-2:]) for at in (first, second))
    rows, columns = (at.reshape(-1, at.shape[-1]) for at in (first, second))
    found = _dots(p, a, rows, b, columns, groups)
    sides = first.shape[-2:-1] * (len(of_a) > 1), second.shape[-2:-1] * (len(of_b) > 1)
    out = (*lead, *sides[0], *sides[1])
    if len(out) == 1 or out[0] != 1:
        p.bare.add(p.outputs[0])
    p.reshape(found, out[p.first_axis(p.outputs[0]) :], name=f"{p.name}.shape")
    return True


def _dots(p: Place, a: str, rows: Ints, b: str, columns: Ints, groups: int) -> str:
    pair = [p.moved(a, rows, "rows"), p.moved(b, columns, "columns")]
    return p.put("MatMul", pair, "product", name=p.name, domain=OWN, group=groups)


def _gemm_of_two(p: Place, a: str, b: str, c: str) -> bool:
    """alpha A B + beta C: a product, a factor, a sum."""
    p.only("alpha", "beta", "transA", "transB")
    of_a, of_b = p.file_shape(a), p.file_shape(b)
    need(len(of_a) == len(of_b) == 2, f"{p.name}: factors of other ranks")
    rows, columns = np.arange(prod(of_a)).reshape(of_a), np.arange(prod(of_b)).reshape(of_b).T
    alpha, beta, turn_a, turn_b = (
        p.attributes.get(k, d) for k, d in (("alpha", 1), ("beta", 1), ("transA", 0), ("transB", 0))
    )
    rows, columns = rows.T if turn_a else rows, columns.T if turn_b else columns
    need(rows.shape[1] == columns.shape[1], f"{p.name}: {of_a} x {of_b}")
    found = _dots(p, a, rows, b, columns, 1)
    matrix = a in p.bare or bool(turn_a)
    if matrix:
        p.bare.add(p.outputs[0])
    found = p.reshape(found, (len(rows), len(columns))[int(p.outputs[0] not in p.bare) :], "matrix")
    if alpha != 1:
        factor = p.free("alpha")
        p.constants[factor] = np.array(float(alpha))
        found = p.put("Mul", [found, factor], "scaled")
    if c:
        p.put("Add", [found, _added(p, c, float(beta), p.outputs[0] in p.bare)], name=f"{p.name}.offset")
    else:
        p.put("Identity", [found])
    return True


def _left(p: Place, x: str, w: str, f: Shape, size: Shape) -> bool:
    """W x from x^T W^T."""
    need(f[-2:][0] == size[-1], f"{p.name}: {size} x {f}")
    matrix = w
    if len(size) > 1:
        matrix = p.free("matrix")
        p.constants[matrix] = p.constants[w].swapaxes(-1, -2)
    if len(f) == 1:
        p.put("MatMul", [x, matrix])
        return True
    bare = x in p.bare or len(f) == 2  # the batch of a (1, N) is summed over
    at = np.arange(prod(f)).reshape(f).swapaxes(-1, -2)
    rows = p.moved(x, at if bare else at[0], "rows")
    if bare:
        p.bare |= {rows, p.outputs[0]}
    if len(size) == 1:
        p.put("MatMul", [rows, matrix])
        return True
    found = p.put("MatMul", [rows, matrix], "product", name=p.name)
    turned = (*_together(p, x, f[:-2], size[:-2]), f[-1], size[-2])
    back = np.arange(prod(turned)).reshape(turned).swapaxes(-1, -2)
    p.moved(found, back if bare else back[0], name=f"{p.name}.columns")
    return True


def _gemm(p: Place) -> bool:
    a, b, c = (*p.inputs, "")[:3]
    swapped = a in p.constants
    need((a in p.shapes) != (b in p.shapes) or not swapped, f"{p.name}: two constants")
    if not swapped and b in p.shapes:
        return _gemm_of_two(p, a, b, c)
    x, w = (b, a) if swapped else (a, b)
    flags = [bool(p.attributes.get(key, 0)) for key in ("transA", "transB")]
    of_x, of_w = flags[::-1] if swapped else flags
    dense = not swapped and x not in p.bare and c not in p.shapes
    if dense and not of_x:
        return False
    p.only("alpha", "beta", "transA", "transB")
    f = p.file_shape(x)
    need(len(f) == 2 and p.constants[w].ndim == 2, f"{p.name}: factors of other ranks")
    if f == (1, 1):
        of_x = False
        if dense:
            p.put("Gemm", p.inputs, **{**p.attributes, "transA": 0})
            return True
    alpha, beta = (float(p.attributes.get(key, 1.0)) for key in ("alpha", "beta"))
    factor = p.free("factor")
    held = p.constants[w]
    held = held if alpha == 1 else held.astype(np.float64) * alpha
    p.constants[factor] = held.T if of_w else held
    bare = x in p.bare or of_x or swapped
    if of_x:
        x = p.moved(x, np.arange(prod(f)).reshape(f).T, "turned")
        p.bare.add(x)
    if bare:
        p.bare.add(p.outputs[0])
    pair = [factor, x] if swapped else [x, factor]
    if not c:
        p.put("MatMul", pair)
        return True
    found = p.put("MatMul", pair, "product", name=p.name)
    p.put("Add", [found, _added(p, c, beta, bare)], name=f"{p.name}.offset")
    return True


def _added(p: Place, c: str, beta: float, matrix: bool) -> str:
    """beta C."""
    if c in p.constants and beta == 1:
        return c
    name = p.free("beta")
    if c in p.constants:
        p.constants[name] = p.constants[c].astype(np.float64) * beta
        return name
    if matrix:
        f = p.file_shape(c)
        c = p.reshape(c, (1,) * (2 - len(f)) + f, "matrix_c")
    p.constants[name] = np.array(beta)
    return c if beta == 1 else p.put("Mul", [c, name], "offset")


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {("", "MatMul"): _matmul, ("", "Gemm"): _gemm}
