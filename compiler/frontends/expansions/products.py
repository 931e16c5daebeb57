# SPDX-License-Identifier: Apache-2.0
"""MatMul and Gemm in every layout, with one constant factor (or none: two_factors.py).

A matrix for every row of a tensor (..., K) is a 1 x 1 convolution whose pixels are the rows, a matrix per
leading index a group of it. In channels-last memory the rows lie where they did: the Takes around it move
nothing. A constant on the left is one on the right, and the tensor turned before and behind.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...ops.base import Shape, Unsupported
from .site import Site
from .two_factors import gemm_of_two, matmul_of_two


def matmul(site: Site) -> bool:
    """Of tensors, or of a tensor and a constant. False: what Dense takes."""
    left, right = site.inputs
    if left in site.shapes and right in site.shapes:
        matmul_of_two(site, left, right)
        return True
    _one_computed(site)
    if left in site.shapes and right in site.constants:
        return _times(site, left, right)
    if left in site.constants and right in site.shapes:
        _turned(site, left, right)
        return True
    return False


def _one_computed(site: Site) -> None:
    """Unsupported unless a factor is not a constant."""
    op, computed = site.proto.op_type, [name in site.shapes for name in site.inputs[:2]]
    if not any(computed):
        raise Unsupported(f"a {op} of two constants", "their product as one constant")


def _times(site: Site, x: str, w: str) -> bool:
    """(..., K) x (..., K, N)."""
    full, size = site.full(x), site.constants[w].shape
    if not size or 0 in size or full[-1] != size[max(len(size) - 2, 0)]:
        raise Unsupported(f"a product of shapes {full} and {size}", "factors that fit")
    if len(size) > 1:
        if len(size) == 2 and len(site.shapes[x]) == 1:
            return False
        _per_row(site, x, w, _lead(site, x, size[:-2]))
        return True
    if len(full) == 1:
        raise Unsupported("a product of two vectors", "one of them as a matrix")
    column = site.put("Reshape", [w, site.constant("column.shape", (*size, 1))], "column")
    found = site.put("MatMul", [x, column], "product", name=site.name)
    if len(full) == 2:
        site.bare.add(site.proto.output[0])
    site.reshape(found, site.shapes[x][:-1] or (1,), name=f"{site.name}.axis")
    return True


def _lead(site: Site, x: str, several: Shape) -> Shape:
    """Leading axes of a product of x and matrices with leading axes `several`."""
    rows = site.full(x)[:-2]
    try:
        lead = np.broadcast_shapes(rows, several)
    except ValueError:
        raise Unsupported(f"leading axes {rows} and {several}", "axes that broadcast") from None
    if x not in site.bare and lead[:1] not in ((), (1,)):
        raise Unsupported(f"leading axes {rows} and {several}", "a batch of one as the first axis")
    return lead


def _per_row(site: Site, x: str, w: str, lead: Shape) -> None:
    """A 1 x 1 convolution with one group for all rows of a single matrix, else a group per leading index."""
    full, (*several, depth, outputs) = site.full(x), site.constants[w].shape
    count, alone = full[-2:-1] or (1,), prod(several) == 1
    groups, places = 1, site.places(x)
    if not alone:
        groups = prod(lead)
        aligned = (*(1,) * (len(lead) - len(full[:-2])), *full[:-2])
        places = np.broadcast_to(places.reshape(*aligned, *count, depth), (*lead, *count, depth))
        if prod(several) != groups:
            w = site.put("Expand", [w, site.constant("each.shape", (*lead, depth, outputs))], "each")
    places = places.reshape(groups, -1, depth)
    rows = places.shape[1]
    pixels = site.moved(x, places.transpose(0, 2, 1).reshape(-1, rows, 1), "pixels")
    flat = site.put("Reshape", [w, site.constant("flat.shape", (groups, depth, outputs))], "flat")
    turned = site.put("Transpose", [flat], "turned", perm=[0, 2, 1])
    shape = site.constant("kernel.shape", (groups * outputs, depth, 1, 1))
    kernel = site.put("Reshape", [turned, shape], "kernel")
    more: dict[str, Any] = {} if alone else {"group": groups}
    found = site.put("Conv", [pixels, kernel], "map", name=site.name, **more)
    back = np.arange(groups * outputs * rows).reshape(groups, outputs, rows).transpose(0, 2, 1)
    out = (*lead, *full[-2:-1], outputs)
    kept = out if x in site.bare else out[1:]
    site.moved(found, back.reshape(kept), name=f"{site.name}.rows")


def _turned(site: Site, w: str, x: str) -> None:
    """W x = (x^T W^T)^T; the batch of a (1, N) is what is summed over, and gone afterwards."""
    full, size = site.full(x), site.constants[w].shape
    if not size or 0 in size or full[max(len(full) - 2, 0)] != size[-1]:
        raise Unsupported(f"a product of shapes {size} and {full}", "factors that fit")
    perm = [*range(len(size) - 2), len(size) - 1, len(size) - 2]
    matrix = w if len(size) == 1 else site.put("Transpose", [w], "matrix", perm=perm)
    if len(full) == 1:  # a vector is its own transpose
        site.put("MatMul", [x, matrix])
        return
    gone = x not in site.bare and len(full) == 2
    kept = full if gone or x in site.bare else full[1:]
    places = site.places(x).reshape(kept)
    rows = site.moved(x, np.swapaxes(places, -1, -2), "rows")
    if gone or x in site.bare:
        site.bare.add(rows)
    if gone:
        site.bare.add(site.proto.output[0])
    if len(size) == 1:
        site.put("MatMul", [rows, matrix])
        return
    found = site.put("MatMul", [rows, matrix], "product", name=site.name)
    lead = _lead(site, x, size[:-2])
    out = (*(lead if gone or x in site.bare else lead[1:]), full[-1], size[-2])
    back = np.swapaxes(np.arange(prod(out)).reshape(out), -1, -2)
    site.moved(found, back, name=f"{site.name}.columns")


def gemm(site: Site) -> bool:
    """alpha A B + beta C, A or B turned by transA, transB. False: what Dense takes."""
    a, b, c = (*site.inputs, "")[:3]
    _one_computed(site)
    if a in site.shapes and b in site.shapes:
        _of_two(site, a, b, c)
        return True
    x, w = (a, b) if a in site.shapes else (b, a)
    turn = {name: bool(site.get(key, 0)) for name, key in ((a, "transA"), (b, "transB"))}
    full, matrix = site.full(x), site.constants[w]
    _fit(site, [full, matrix.shape] if x == a else [matrix.shape, full], [turn[a], turn[b]], c)
    if turn[x] and full == (1, 1):  # one number is its own transpose
        site.put("Gemm", site.inputs, **{**site.attributes, "transA" if x == a else "transB": 0})
        return True
    if x == a and x not in site.bare and c not in site.shapes and not turn[x]:
        return False
    if site.get("alpha", 1.0) != 1.0:  # float32 times float32: exact
        w = site.constant("scaled", matrix.astype(np.float64) * site.get("alpha", 1.0), np.float64)
    if turn[b if x == a else a]:
        w = site.put("Transpose", [w], "matrix", perm=[1, 0])
    bare = x in site.bare or turn[x] or x == b
    if turn[x]:
        places = site.places(x).reshape(full).T
        x = site.moved(x, places, "turned")
        site.bare.add(x)
    if bare:
        site.bare.add(site.proto.output[0])
    pair = [x, w] if a in site.shapes else [w, x]
    if not c:
        site.put("MatMul", pair)
        return True
    found = site.put("MatMul", pair, "product", name=site.name)
    site.put("Add", [found, _offset(site, c, bare)], name=f"{site.name}.offset")
    return True


def _of_two(site: Site, a: str, b: str, c: str) -> None:
    turned = bool(site.get("transA", 0)), bool(site.get("transB", 0))
    _fit(site, [site.full(a), site.full(b)], [*turned], c)
    found, alpha = gemm_of_two(site, turned), float(site.get("alpha", 1.0))
    if alpha != 1.0:
        found = site.put("Mul", [found, site.constant("alpha", alpha, np.float64)], "scaled")
    if c:
        offset = _offset(site, c, site.proto.output[0] in site.bare)
        site.put("Add", [found, offset], name=f"{site.name}.offset")
    else:
        site.put("Identity", [found])


def _fit(site: Site, sizes: list[Shape], turned: list[bool], c: str) -> None:
    """Unsupported unless A B + C is possible, and finite."""
    if {len(size) for size in sizes} != {2}:
        raise Unsupported(f"a Gemm of shapes {sizes[0]} and {sizes[1]}", "two axes each, or a MatMul")
    (rows, depth), (other, columns) = (
        size[::-1] if turn else size for size, turn in zip(sizes, turned, strict=True)
    )
    if depth != other or not rows * columns:
        raise Unsupported(f"a Gemm of shapes {(rows, depth)} and {(other, columns)}", "factors that fit")
    if c in site.constants:
        size, added = (rows, columns), site.constants[c].shape
        aligned = (*(1,) * (2 - len(added)), *added)
        if len(aligned) > 2 or any(n not in (1, m) for m, n in zip(size, aligned, strict=True)):
            raise Unsupported(f"a Gemm of shape {size} plus a constant {added}", "one that broadcasts")
    factors = [float(site.get(key, 1.0)) for key in ("alpha", "beta")]
    if not np.isfinite(factors).all():
        raise Unsupported(f"a Gemm with alpha and beta {factors}", "finite factors")


def _offset(site: Site, c: str, bare: bool) -> str:
    """beta C, a tensor C under the shape of a matrix where the product is one."""
    beta = site.get("beta", 1.0)
    if c in site.constants:
        if beta == 1.0:
            return c
        return site.constant("offset", site.constants[c].astype(np.float64) * beta, np.float64)
    if bare:
        full = site.full(c)
        c = site.reshape(c, (*(1,) * (2 - len(full)), *full), "matrix_c")
    return c if beta == 1.0 else site.put("Mul", [c, site.constant("beta", beta, np.float64)], "offset")
