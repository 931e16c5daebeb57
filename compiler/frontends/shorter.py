# SPDX-License-Identifier: Apache-2.0
"""What a walk through a file does not copy: moves of moves, factors behind products and means."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from ..graph import Node
from ..ops import AveragePool, ChannelAffine, MatMul, Take, Transpose


def as_take(op: Transpose) -> Take:
    """The same move by flat positions, which serve every shape of what it reads."""
    places = np.arange(prod(op.size)).reshape(op.size)
    return Take(np.ascontiguousarray(places.transpose(op.perm)), op.size)


def scale_product(nodes: list[Node], value: str, by: ChannelAffine, stored: Container[str]) -> bool:
    """Multiply a product of two tensors, of which nothing else reads the `value`, by one number: its scale is
    another one. Or a mean of `stored` integers by how many they are: their sum. False where that is not all
    that `by` does."""
    at = _maker(nodes, value)
    factor = by.factor[0]
    alike = {*by.factor} == {factor} and factor > 0 and not any(by.offset)
    if at is None or not alike or not 0 < float(factor) < np.inf:
        return False
    node = nodes[at]
    if isinstance(node.op, AveragePool) and node.inputs[0] in stored and factor == prod(node.op.kernel):
        nodes[at] = replace(node, op=replace(node.op, total=True))
        return not node.op.total
    if not isinstance(node.op, MatMul) or node.op.factor != 1:
        return False
    nodes[at] = replace(node, op=replace(node.op, factor=float(factor)))
    return True


def _maker(nodes: Sequence[Node], value: str) -> int | None:
    return next((i for i, node in enumerate(nodes) if node.output == value), None)
