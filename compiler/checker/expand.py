# SPDX-License-Identifier: Apache-2.0
"""Nodes of the reference that stand for several simpler ones. Names are the compiler's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from .files import need
from .layers import Shape, fresh


@dataclass
class Place:
    """A node to expand: shapes of computed tensors (no batch axis), constants, names in use."""

    name: str
    op: str
    inputs: list[str]
    out: str
    attributes: dict[str, Any]
    shapes: Mapping[str, Shape]
    constants: dict[str, NDArray[Any]]
    values: set[str]
    parts: list[Any] = field(default_factory=list)

    def first(self) -> Shape:
        """Shape of the first input, a computed one."""
        need(self.inputs[0] in self.shapes, f"{self.name}: a constant as first input")
        return self.shapes[self.inputs[0]]

    def only(self, *allowed: str) -> None:
        """No attribute but these."""
        odd = set(self.attributes) - set(allowed)
        need(not odd, f"{self.name}: attribute {sorted(odd)[:1]}")

    def axes(self, rank: int) -> list[int] | None:
        """Given axes of a tensor of `rank`, batch axis counted but not among them."""
        given = self.attributes.get("axes")
        if len(self.inputs) > 1 and self.inputs[1]:
            need(self.inputs[1] in self.constants and given is None, f"{self.name}: axes not constant")
            given = self.constants[self.inputs[1]].ravel().tolist()
        if given is None:
            return None
        rank = len(given) + rank if self.op == "Unsqueeze" else rank
        need(all(-rank <= a < rank for a in given), f"{self.name}: axes {given}")
        found = sorted(int(a) % rank for a in given)
        need(0 not in found and len(set(found)) == len(found), f"{self.name}: axes {given}")
        return found

    def put(self, op: str, inputs: list[str], suffix: str = "", **attributes: Any) -> str:
        """A simpler node; the last one has no suffix and keeps name and output."""
        out, name = (self.free(suffix), f"{self.name}.{suffix}") if suffix else (self.out, self.name)
        self.parts.append(helper.make_node(op, inputs, [out], name=name, **attributes))
        return out

    def reshape(self, source: str, shape: Shape, suffix: str = "") -> str:
        """The same elements under another shape (no batch axis)."""
        target = self.free(f"{suffix or 'target'}.shape")
        self.constants[target] = np.array((1, *shape))
        return self.put("Reshape", [source, target], suffix)

    def free(self, suffix: str) -> str:
        """An unused tensor name."""
        name = fresh(f"{self.out}.{suffix}", self.values)
        self.values.add(name)
        return name


def _squeeze(p: Place) -> bool:
    p.only("axes")
    full = (1, *p.first())
    axes = p.axes(len(full))
    ones = [a for a in range(1, len(full)) if full[a] == 1] if axes is None else axes
    need(all(full[a] == 1 for a in ones), f"{p.name}: squeezed axes {ones} of {full}")
    p.reshape(p.inputs[0], tuple(n for a, n in enumerate(full) if a and a not in ones))
    return True


def _unsqueeze(p: Place) -> bool:
    p.only("axes")
    full = [1, *p.first()]
    axes = p.axes(len(full))
    need(axes is not None, f"{p.name}: no axes")
    for a in axes or ():
        full.insert(a, 1)
    p.reshape(p.inputs[0], tuple(full[1:]))
    return True


def _global_max_pool(p: Place) -> bool:
    p.only()
    p.put("MaxPool", p.inputs, kernel_shape=p.first()[1:])
    return True


def _reduce_mean(p: Place) -> bool:
    p.only("axes", "keepdims", "noop_with_empty_axes")
    shape = p.first()
    axes = p.axes(len(shape) + 1)
    if not axes and p.attributes.get("noop_with_empty_axes", 0):
        p.put("Identity", p.inputs[:1])
        return True
    need(axes == list(range(2, len(shape) + 1)), f"{p.name}: mean over axes {axes}")
    if p.attributes.get("keepdims", 1):
        p.put("GlobalAveragePool", p.inputs[:1])
    else:
        p.reshape(p.put("GlobalAveragePool", p.inputs[:1], "kept"), shape[:1])
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "GlobalMaxPool"): _global_max_pool,
    ("", "ReduceMean"): _reduce_mean,
}
