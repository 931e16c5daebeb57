# SPDX-License-Identifier: Apache-2.0
"""MatMul and Gemm of two computed tensors: every row of the first times every column of the second.

before: y = MatMul(a, b), (..., M, K) x (..., K, N)
after:  y = Reshape(tinybound.MatMul(Take(a), Take(b))), rows of both: (G M, K) and (G N, K)
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from ...ops.base import MAX_ELEMENTS, Shape, Unsupported
from .site import Site

Places = NDArray[np.int64]


def matmul_of_two(site: Site, a: str, b: str) -> None:
    """A B as numpy says, leading axes broadcast."""
    of_a, of_b = site.full(a), site.full(b)
    if not of_a or not of_b or len(of_a) == len(of_b) == 1:
        raise Unsupported("a product of two vectors", "one of them as a matrix")
    first = site.places(a).reshape(of_a if len(of_a) > 1 else (1, *of_a))
    second = site.places(b).reshape(of_b if len(of_b) > 1 else (*of_b, 1))
    if first.shape[-1] != second.shape[-2]:
        raise Unsupported(f"a product of shapes {of_a} and {of_b}", "factors that fit")
    leads = first.shape[:-2], second.shape[:-2]
    try:
        lead = np.broadcast_shapes(*leads)
    except ValueError:
        raise Unsupported(f"leading axes {leads[0]} and {leads[1]}", "axes that broadcast") from None
    if not {a, b} <= site.bare and lead[:1] not in ((), (1,)):
        raise Unsupported(f"leading axes {leads[0]} and {leads[1]}", "a batch of one as the first axis")
    rows = first.shape[-2:-1] if len(of_a) > 1 else ()
    columns = second.shape[-1:] if len(of_b) > 1 else ()
    out, y = (*lead, *rows, *columns), site.proto.output[0]
    if len(out) == 1 or out[0] != 1:
        site.bare.add(y)
    found = _rows(site, (a, first), (b, np.swapaxes(second, -1, -2)), lead)
    site.reshape(found, out if y in site.bare else out[1:], name=f"{site.name}.shape")


def gemm_of_two(site: Site, turned: tuple[bool, bool]) -> str:
    """A B of a Gemm, A or B turned; the result is a matrix without batch axis where A has none."""
    a, b = site.inputs[:2]
    first, second = (site.places(name).reshape(site.full(name)) for name in (a, b))
    first, second = first.T if turned[0] else first, second if turned[1] else second.T
    found = _rows(site, (a, first), (b, second), ())
    if a in site.bare or turned[0]:
        site.bare.add(site.proto.output[0])
    return site.reshape(
        found, (len(first), len(second))[int(site.proto.output[0] not in site.bare) :], "matrix"
    )


def _rows(site: Site, a: tuple[str, Places], b: tuple[str, Places], lead: Shape) -> str:
    """The products (G M, N) of rows at these places, (..., M, K) and (..., N, K). One matrix b for all: its
    group is the only one."""
    (left, first), (right, second) = a, b
    groups = 1 if prod(second.shape[:-2]) == 1 else prod(lead)
    if groups > 1:
        first, second = (np.broadcast_to(at, (*lead, *at.shape[-2:])) for at in (first, second))
    rows, columns = (at.reshape(-1, at.shape[-1]) for at in (first, second))
    work = len(rows) * len(columns) // groups * rows.shape[1]
    if work > MAX_ELEMENTS:
        raise Unsupported(f"{work} products", f"at most {MAX_ELEMENTS}")
    pair = [site.moved(left, rows, "rows"), site.moved(right, columns, "columns")]
    return site.put("MatMul", pair, "product", name=site.name, domain="tinybound", group=groups)
