# SPDX-License-Identifier: Apache-2.0
"""What an expansion sees of the node it rewrites, and how it writes the simpler nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...ops.base import Scaled, Shape, Unsupported
from ...passes.rewrite import fresh
from ..annotations import Mark


@dataclass
class Site:
    """One ONNX node, the shapes of computed tensors (without batch axis) and the constants so far.

    `put` collects the nodes that replace it. Added names are NAME.suffix and OUTPUT.suffix, made free.
    """

    proto: onnx.NodeProto
    name: str
    attributes: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    constants: dict[str, NDArray[Any]]
    opset: int
    names: set[str]
    marks: Mapping[str, Mark] = field(default_factory=dict)  # quantised integer tensors
    sums: dict[str, Fraction] = field(default_factory=dict)  # see integer_sums.py
    bare: set[str] = field(default_factory=set)  # tensors without batch axis, see ../unbatched.py
    stored: Mapping[str, Scaled] = field(default_factory=dict)  # how the values of tensors are quantised
    indices: set[str] = field(default_factory=set)  # what an ArgMax returns
    parts: list[onnx.NodeProto] = field(default_factory=list)

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the input tensors."""
        return list(self.proto.input)

    @property
    def first(self) -> Shape:
        """Shape of the first input; Unsupported when it is a constant."""
        if self.inputs[0] not in self.shapes:
            raise Unsupported(f"{self.proto.op_type} of a constant first input")
        return self.shapes[self.inputs[0]]

    def full(self, name: str) -> Shape:
        """Shape that the file gives a computed tensor, its batch axis included."""
        return self.shapes[name] if name in self.bare else (1, *self.shapes[name])

    def get(self, name: str, default: Any) -> Any:
        """Attribute or its default."""
        return self.attributes.get(name, default)

    def given(self, i: int) -> NDArray[Any] | None:
        """Constant input i, None where it is left out; Unsupported when it is computed."""
        name = self.inputs[i] if i < len(self.inputs) else ""
        if name and name not in self.constants:
            raise Unsupported(f"input {i} that is not constant", "a constant")
        return self.constants[name] if name else None

    def integers(self, i: int, attribute: str) -> tuple[int, ...] | None:
        """A list of integers: an attribute in old opsets, constant input i in new ones."""
        found = self.given(i)
        listed = self.get(attribute, None) if found is None else found.ravel().tolist()
        return None if listed is None else tuple(int(n) for n in listed)

    def constant(self, suffix: str, array: Any, kind: Any = np.int64) -> str:
        """Name of a new constant."""
        name = self._fresh(suffix)
        self.constants[name] = np.asarray(array, kind)
        return name

    def put(
        self,
        op_type: str,
        inputs: Sequence[str],
        suffix: str = "",
        result: int = 0,
        name: str = "",
        **attributes: Any,
    ) -> str:
        """One node more; without a suffix it has the name and an output of the node it stands for."""
        out = self._fresh(suffix) if suffix else self.proto.output[result]
        name = name or (f"{self.name}.{suffix or result}" if suffix or result else self.name)
        self.parts.append(onnx.helper.make_node(op_type, list(inputs), [out], name=name, **attributes))
        return out

    def reshape(self, source: str, shape: Shape, suffix: str = "", result: int = 0, name: str = "") -> str:
        """`source` under another shape (given without batch axis)."""
        target = self.constant(f"{suffix or 'target'}.shape", (1, *shape))
        return self.put("Reshape", [source, target], suffix, result, name)

    def view(self, source: str, shape: Shape) -> str:
        """`source` under the whole shape that the file gives it: with a batch of one in front, or bare."""
        if not shape:
            raise Unsupported(f"{self.proto.op_type} to a scalar", "a result with one axis or more")
        if shape[0] != 1 or len(shape) == 1:
            self.bare.add(self.proto.output[0])
            return self.reshape(source, shape)
        return self.reshape(source, shape[1:])

    def places(self, name: str) -> NDArray[np.int64]:
        """Flat positions of the elements of any computed tensor, batch axis not counted."""
        return np.arange(prod(self.shapes[name])).reshape(self.shapes[name])

    def positions(self) -> NDArray[np.int64]:
        """Flat positions of the first input's elements, in the shape that the file gives it."""
        return np.arange(prod(self.first)).reshape(self.full(self.inputs[0]) if self.first else ())

    def take(self, positions: NDArray[np.int64], suffix: str = "", result: int = 0, pad: float = 0.0) -> str:
        """Elements of the first input at flat positions (in the file's shape), the real `pad` at -1."""
        if not positions.ndim or not positions.size:
            raise Unsupported(f"{self.proto.op_type} to shape {positions.shape}", "one element or more")
        if positions.ndim > 1 and positions.shape[0] == 1:
            positions = positions[0]
        elif suffix:
            raise Unsupported(f"{self.proto.op_type} of a tensor without batch axis", "a batch axis of one")
        else:
            self.bare.add(self.proto.output[result])
        if np.array_equal(positions.ravel(), np.arange(prod(self.first))):
            return self.reshape(self.inputs[0], positions.shape, suffix, result)
        return self.moved(self.inputs[0], positions, suffix, result, pad=pad)

    def moved(
        self,
        source: str,
        positions: NDArray[np.int64],
        suffix: str = "",
        result: int = 0,
        name: str = "",
        pad: float = 0.0,
    ) -> str:
        """Elements of any tensor at flat positions, batch axis not counted."""
        inputs = [source, self.constant(f"{suffix or result or 'positions'}.at", positions)]
        if pad:
            inputs.append(self.constant("pad", pad, np.float64))
        return self.put("Take", inputs, suffix, result, name, domain="tinybound")

    def _fresh(self, suffix: str) -> str:
        name = fresh(f"{self.proto.output[0]}.{suffix}", self.names)
        self.names.add(name)
        return name


Expansion = Callable[[Site], bool]
