# SPDX-License-Identifier: Apache-2.0
"""Quantisers as annotations: what integer tensors of the file mean, and which values they quantise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import onnx
from numpy.typing import NDArray

from ..ops.base import Scaled, Unsupported
from .qdq import Move, Quantised, activation_scale, quantised_type, taken_off, weight_of
from .reads import Reads

MOVES_INTEGERS = ("MaxPool", "Reshape", "Flatten", "Transpose", "tinybound.Take")  # as they move reals
MOVES_CONSTANTS = ("Expand", "Flatten", "Gather", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
REMEDY = "DequantizeLinear in front of it and QuantizeLinear behind"


@dataclass(frozen=True)
class Mark:
    """An integer tensor: numpy type, scale once it is known, and the graph input it only moves."""

    kind: Any
    scale: Scaled | None = None
    source: str = ""


def _cut(first: Scaled, then: Scaled) -> bool:
    """Whether an input that is stored as `first` says lacks what `then` would hold, by more than a step."""
    (low, high), (lowest, highest) = first.reals, then.reals
    step = then.scale + first.scale
    return low > lowest + step or high < highest - step


def _span(scale: Scaled) -> str:
    return " ... ".join(f"{float(end):.4g}" for end in scale.reals)


class Annotations:
    """The quantisers met so far. `alias`: ONNX tensor -> value; `again` puts an identity behind a value that
    is quantised a second time, differently, or that is read as it is too; of these `parted` are those that
    no quantiser of the file has rounded before."""

    def __init__(
        self,
        constants: dict[str, NDArray[Any]],
        alias: dict[str, str],
        inputs: Collection[str],
        reads: Reads,
        again: Callable[[str, str], str],
    ) -> None:
        self.constants, self.alias, self.inputs = constants, alias, inputs
        self.reads, self.again = reads, again
        self.parted: set[str] = set()
        self.copies: dict[tuple[str, Scaled], str] = {}
        self.marks: dict[str, Mark] = {}
        self.activations: dict[str, Scaled] = {}  # by value
        self.weights: dict[str, Quantised] = {}  # dequantised constants
        self.sums: dict[str, Fraction] = {}  # expansions/integer_sums.py

    def quantise(self, proto: onnx.NodeProto) -> None:
        """QuantizeLinear of a computed tensor."""
        value, out = self.alias[proto.input[0]], proto.output[0]
        kind = quantised_type(proto, self.constants)
        scale = activation_scale(proto, self.constants, kind)
        if value in self.inputs and scale != scale.whole:  # of an input fewer bits are a step of their own
            value = self._quantised(value, scale.whole, out)
        stored = self.reads.stored(proto.input[0])
        if value in self.inputs or stored:
            value = self._quantised(value, scale, out, stored=stored)
        elif self.reads.both(proto.input[0]) or self.activations.get(value, scale) != scale:
            value = self._parted(value, scale, out)
        else:
            self.activations[value] = scale
        self._bind(out, value, Mark(kind, scale))

    def _parted(self, value: str, scale: Scaled, out: str) -> str:
        """A value of its own for a quantiser; equal ones share it."""
        copy = self.copies.get((value, scale), "")
        if self.activations.get(copy) != scale:
            copy = self.copies[value, scale] = self.again(value, out)
            self.activations[copy] = scale
            self.parted.add(copy)
        return copy

    def _quantised(self, value: str, scale: Scaled, out: str, *, stored: bool = False) -> str:
        """`stored`: the file has cut the value to what it is stored as: a wider range loses nothing."""
        first = self.activations.setdefault(value, scale)
        if first != scale:
            if value in self.inputs and not stored and _cut(first, scale):
                raise Unsupported(
                    f"{value!r} quantised over {_span(scale)}, and over {_span(first)} before",
                    "the quantiser of the wider range first in the file, or one for all",
                )
            value = self.again(value, out)
            self.activations[value] = scale
        return value

    def _bind(self, out: str, value: str, mark: Mark) -> None:
        self.alias[out], self.marks[out] = value, mark

    def dequantise(self, proto: onnx.NodeProto) -> None:
        """DequantizeLinear of a constant, of what a quantiser returned, or of an integer graph input."""
        source, out = proto.input[0], proto.output[0]
        if source in self.constants:
            quantised = weight_of(proto, self.constants)
            self.constants[out], self.weights[out] = quantised.real, quantised
            return
        if source not in self.marks:
            raise Unsupported(f"dequantises {source!r}, which is not an integer tensor", REMEDY)
        mark = self.marks[source]
        scale = activation_scale(proto, self.constants, mark.kind)
        if mark.source:
            known = self.activations.setdefault(mark.source, scale)
        else:
            assert mark.scale is not None
            known = replace(mark.scale, lo=scale.lo, hi=scale.hi)
        if known != scale:
            raise Unsupported(
                "a scale that differs from its QuantizeLinear's", "equal scales around a tensor"
            )
        self.alias[out] = self.alias[source]

    def clip(self, proto: onnx.NodeProto) -> None:
        """Clip between the two quantisers: the storage range of fewer bits."""
        source, out = proto.input[0], proto.output[0]
        mark, value = self.marks[source], self.alias[source]
        if mark.scale is None:
            raise Unsupported("Clip of quantised integers", REMEDY)
        lo, hi = self._limits(proto, mark.kind, mark.scale)
        if lo >= hi:
            raise Unsupported("a Clip that leaves one integer or none", "limits that differ")
        narrow = replace(mark.scale, lo=lo, hi=hi)
        if self._alone(source) and self.activations.get(value) == mark.scale:
            self.activations[value] = narrow
        else:
            value = self._quantised(value, narrow, out)
        self._bind(out, value, Mark(mark.kind, narrow))

    def _alone(self, tensor: str) -> bool:
        """Whether nothing else reads the integers of a value, which no input brings from outside."""
        value = self.alias[tensor]
        others = any(self.alias[t] == value for t in self.marks if t != tensor)
        return self.reads.count[tensor] <= 1 and not others and value not in self.inputs

    def _limits(self, proto: onnx.NodeProto, kind: Any, scale: Scaled) -> tuple[int, int]:
        given: list[int | None] = []
        for name in (*proto.input[1:3], "", "")[:2]:
            if name and (name not in self.constants or self.constants[name].size != 1):
                raise Unsupported("a limit of quantised integers that is not one constant")
            given.append(int(self.constants[name].ravel()[0]) - taken_off(kind) if name else None)
        lo, hi = (end if n is None else n for n, end in zip(given, (scale.lo, scale.hi), strict=True))
        return max(lo, scale.lo), min(hi, scale.hi)

    def move_constant(self, proto: onnx.NodeProto, move: Move) -> None:
        """Integers of a dequantised constant go where the constant goes."""
        if proto.op_type in MOVES_CONSTANTS and proto.input[0] in self.weights:
            self.weights[proto.output[0]] = self.weights[proto.input[0]].moved(move)

    def carry(self, op_type: str, inputs: Sequence[str], out: str) -> None:
        """Mark the result of an op on integer tensors; Unsupported where it computes with them."""
        marks = [self.marks[i] for i in inputs if i in self.marks]
        if not marks or op_type == "tinybound.ArgMax":
            return
        joined = (
            op_type == "Concat" and len(marks) == len(inputs) and {*marks} == {replace(marks[0], source="")}
        )
        if op_type not in MOVES_INTEGERS and not joined:
            raise Unsupported(f"{op_type.removeprefix('tinybound.')} of quantised integers", REMEDY)
        self.marks[out] = marks[0]
        if joined and marks[0].scale is not None:  # a join takes no scale over from what it joins
            self.activations[out] = marks[0].scale
