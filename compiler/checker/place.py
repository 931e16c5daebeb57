# SPDX-License-Identifier: Apache-2.0
"""A node of the reference that is about to be written as simpler ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from .files import MAX_ELEMENTS, need
from .layers import Shape, fresh

OWN = "tinybound"  # domain of layers that no file may hold


@dataclass
class Place:
    """A node to expand: shapes of computed tensors (no batch axis), constants, names in use."""

    name: str
    op: str
    inputs: list[str]
    attributes: dict[str, Any]
    shapes: Mapping[str, Shape]
    constants: dict[str, NDArray[Any]]
    values: set[str]
    outputs: list[str]
    opset: int
    scales: Mapping[str, Any] = field(default_factory=dict)  # of quantised integer tensors
    kinds: Mapping[str, Any] = field(default_factory=dict)  # integer types of them
    sums: dict[str, float] = field(
        default_factory=dict
    )  # tensors that stand for so many times their integers
    bare: set[str] = field(default_factory=set)  # tensors without batch axis
    stored: Mapping[str, Any] = field(default_factory=dict)  # how the values of tensors are quantised
    indices: set[str] = field(default_factory=set)  # what an ArgMax returns
    parts: list[Any] = field(default_factory=list)

    def file_shape(self, name: str) -> Shape:
        """Shape of a computed tensor in the file."""
        return (1,)[: self.first_axis(name)] + self.shapes[name]

    def first_axis(self, name: str) -> int:
        """How many axes of the file's shape are a batch: 1 or 0."""
        return int(name not in self.bare)

    def first(self) -> Shape:
        """Shape of the first input, a computed one."""
        need(self.inputs[0] in self.shapes, f"{self.name}: a constant as first input")
        return self.shapes[self.inputs[0]]

    def only(self, *allowed: str) -> None:
        """No attribute but these."""
        odd = set(self.attributes) - set(allowed)
        need(not odd, f"{self.name}: attribute {sorted(odd)[:1]}")

    def axes(self, rank: int, first: int = 1) -> list[int] | None:
        """Given axes of a tensor of `rank`, none before the `first`."""
        given = self.attributes.get("axes")
        if len(self.inputs) > 1 and self.inputs[1]:
            need(self.inputs[1] in self.constants and given is None, f"{self.name}: axes not constant")
            given = self.constants[self.inputs[1]].ravel().tolist()
        if given is None:
            return None
        rank = len(given) + rank if self.op == "Unsqueeze" else rank
        need(all(-rank <= a < rank for a in given), f"{self.name}: axes {given}")
        found = sorted(int(a) % rank for a in given)
        need(
            min(found, default=first) >= first and len(set(found)) == len(found), f"{self.name}: axes {given}"
        )
        return found

    def put(
        self, op: str, inputs: list[str], suffix: str = "", result: int = 0, name: str = "", **more: Any
    ) -> str:
        """A simpler node; one without a suffix keeps an output, the first one the name too."""
        out = self.free(suffix) if suffix else self.outputs[result]
        name = name or (f"{self.name}.{suffix or result}" if suffix or result else self.name)
        self.parts.append(helper.make_node(op, inputs, [out], name=name, **more))
        return out

    def ints(self, key: str, i: int) -> list[int] | None:
        """Integers of an attribute (old opsets) or of constant input i (new ones); not both."""
        given = self.attributes.get(key)
        if i < len(self.inputs) and self.inputs[i]:
            need(self.inputs[i] in self.constants and given is None, f"{self.name}: {key} not constant")
            array = self.constants[self.inputs[i]]
            need(array.dtype.kind == "i", f"{self.name}: {key} of {array.dtype}")
            given = array.ravel().tolist()
        return None if given is None else [int(n) for n in given]

    def axis(self, a: int) -> int:
        """A non-negative axis of the first input, as the file counts."""
        rank = len(self.file_shape(self.inputs[0]))
        need(-rank <= a < rank, f"{self.name}: axis {a}")
        return a % rank

    def take(self, positions: NDArray[np.int64], suffix: str = "", result: int = 0, pad: float = 0.0) -> str:
        """Elements of the first input at flat positions, in the file's shape; -1 is `pad`."""
        need(positions.ndim > 0 and positions.size > 0, f"{self.name}: a scalar or nothing")
        need(positions.size <= MAX_ELEMENTS, f"{self.name}: too large")
        shape = self.inner(positions.shape, result, suffix)
        if positions.ravel().tolist() == list(range(int(np.prod(self.first())))):
            return self.reshape(self.inputs[0], shape, suffix, result)
        return self.moved(self.inputs[0], positions.reshape(shape), suffix, result, pad=pad)

    def inner(self, shape: Shape, result: int = 0, suffix: str = "") -> Shape:
        """A shape of the file without its batch axis; with several rows in front there is none, and output
        `result` has none then."""
        need(shape, f"{self.name}: a scalar")
        if len(shape) > 1 and shape[0] == 1:
            return shape[1:]
        need(not suffix, f"{self.name}: no batch axis")
        self.bare.add(self.outputs[result])
        return shape

    def moved(
        self,
        source: str,
        positions: NDArray[np.int64],
        suffix: str = "",
        result: int = 0,
        name: str = "",
        pad: float = 0.0,
    ) -> str:
        """Elements of any tensor at flat positions, no batch axis."""
        at, number = self.free(f"{suffix or result or 'positions'}.at"), self.free("pad")
        self.constants[at], self.constants[number] = positions, np.array(pad)
        return self.put("Take", [source, at, number], suffix, result, name, domain=OWN)

    def reshape(self, source: str, shape: Shape, suffix: str = "", result: int = 0, name: str = "") -> str:
        """The same elements under another shape (no batch axis)."""
        target = self.free(f"{suffix or 'target'}.shape")
        self.constants[target] = np.array((1, *shape))
        return self.put("Reshape", [source, target], suffix, result, name)

    def constant(self, suffix: str, value: Any, kind: Any) -> str:
        """A new constant, of a type that holds its value."""
        array = np.asarray(value)
        if np.dtype(kind).kind != "f":
            ends = np.iinfo(kind)
            need(
                ((ends.min <= array) & (array <= ends.max)).all(), f"{self.name}: {value} as {np.dtype(kind)}"
            )
        name = self.free(suffix)
        self.constants[name] = array.astype(kind)
        return name

    def cut_to(self, q: str, ends: tuple[int, int], kind: Any) -> str:
        """Integers of a type, cut where `ends` lie inside it."""
        if ends == (np.iinfo(kind).min, np.iinfo(kind).max):
            return q
        return self.put("Clip", [q, *(self.constant("limit", end, kind) for end in ends)], "clipped")

    def free(self, suffix: str) -> str:
        """An unused tensor name."""
        name = fresh(f"{self.outputs[0]}.{suffix}", self.values)
        self.values.add(name)
        return name
