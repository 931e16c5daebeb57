# SPDX-License-Identifier: Apache-2.0
"""Reads the reference, an ONNX file: constants, quantisers and layers, in the order of the file.

Only what tinybound compiles is understood; anything else, an unknown attribute included, is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .attributes import attributes_of, name_of
from .constants import extents, input_kind, moved, quantiser, tensor_array
from .dynamic import static
from .expand import EXPANSIONS, OWN, Place
from .expand_qonnx import QONNX
from .expand_quantised import QUANTISED, of_sum
from .files import need
from .functions import NAMES
from .layers import Layer, Network, Shape, fresh, output_shape, result_shape
from .moves import permutation, scaled_product, turned
from .onnx_ops import Node, parse
from .order import sort
from .parted import Reads
from .ranks import Batches
from .stored import dequantised, kept, span, whole

Array = NDArray[Any]
Scaled = tuple[Fraction, int, int, int]  # scale, zero point, lowest and highest integer; uint8 as q - 128
_CARRY = {"MaxPool", "Reshape", "Flatten", "Transpose", f"{OWN}.Take", f"{OWN}.ArgMax"}  # as with reals
_ALL = EXPANSIONS | QUANTISED | QONNX


@dataclass(frozen=True)
class Seen:
    """A value under another shape, and the Reshape that would make it so."""

    name: str
    tensor: str
    shape: Shape


class Reader:
    """One walk over the nodes. `known`: quantisation of values; `alias`: ONNX tensor -> value."""

    def __init__(self, data: bytes) -> None:
        model = onnx.load_model_from_string(data)
        self.graph = model.graph
        sort(self.graph)
        need(not model.functions, "float.onnx: local functions")
        self.opset = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 1)
        need(1 <= self.opset <= 30, f"float.onnx: opset {self.opset}")
        self.constants: dict[str, Array] = {}
        for tensor in self.graph.initializer:
            need(tensor.name not in self.constants, f"{tensor.name}: two initializers")
            self.constants[tensor.name] = tensor_array(tensor)
        self.alias: dict[str, str] = {}
        self.known: dict[str, Scaled] = {}
        self.marks: dict[str, Scaled] = {}  # integer tensor -> its quantisation
        self.kinds: dict[str, Any] = {}
        self.sums: dict[str, float] = {}  # see expand_quantised.py
        self.moved: dict[str, str] = {}  # integer tensor -> the graph input that it only moves
        self.nodes = static(self.graph)
        self.reads = Reads(self.graph, self.nodes)
        self.seen: dict[str, Seen] = {}  # tensors whose value has another shape
        self.shaped: dict[tuple[str, Seen], str] = {}
        self.values: set[str] = {t for n in self.graph.node for t in n.output}
        self.values |= {entry.name for entry in self.graph.input} | {*self.constants}
        entries = [e for e in self.graph.input if e.name not in self.constants]
        self.net = Network(tuple(e.name for e in entries), tuple(e.name for e in self.graph.output), [], {})
        need(entries and self.net.outputs, "float.onnx: no inputs or no outputs")
        for entry in entries:
            need(entry.name not in self.alias, f"{entry.name}: two inputs of this name")
            self.alias[entry.name] = entry.name
            self.net.shapes[entry.name] = self._input(entry)
        self.batches = Batches(entries)
        for proto in self.nodes:
            live = [i for i in proto.input if i in self.alias]
            self.batches.take(proto, live, self.constants, self._shape)
            for out in proto.output:
                twice = out in self.alias or out in self.constants
                need(not (out and twice), f"{out}: computed twice")
            self._take(proto)
        need(not self.sums.keys() & {*self.net.outputs}, "float.onnx: sums of integers as an output")
        self.alias |= {out: self._placed(out) for out in self.net.outputs if out in self.alias}

    def _input(self, entry: Any) -> Shape:
        kind, shape = input_kind(entry)
        if kind is not None:
            self.kinds[entry.name], self.moved[entry.name] = kind, entry.name
        return shape

    def _take(self, proto: Any, own: bool = False) -> None:
        name, op = name_of(proto), proto.op_type
        inputs, out = list(proto.input), proto.output[0]
        attributes = attributes_of(proto, name, self.constants, self.opset, own=own)
        missing = [i for i in inputs if i and i not in self.alias and i not in self.constants]
        need(not missing, f"{name}: reads {missing[:1]}, which is not computed")
        live = [i for i in inputs if i in self.alias]
        again = op in ("Cast", "QuantizeLinear") and inputs[0] in self.kinds
        need(not again, f"{name}: {op} of integers")
        key = (proto.domain.removeprefix("ai.onnx"), op)
        written = own and op in ("Reshape", "Flatten", "Transpose")  # by an expansion: with a batch axis
        expansion = _ALL.get(key) if (live or key[0]) and not written else None
        if not own and any(i in self.sums for i in inputs):
            expansion = of_sum
        if expansion is not None:
            shapes = {i: self._shape(i) for i in self.alias}
            outputs = list(proto.output)
            place = Place(
                name, op, inputs, attributes, shapes, self.constants, self.values, outputs, self.opset,
                self.marks, self.kinds, self.sums, self.batches.without,
                {t: self.known[v] for t, v in self.alias.items() if v in self.known}, self.batches.indices,
            )  # fmt: skip
            if expansion(place):
                for part in place.parts:
                    self._take(part, own=True)
                return
        standard = proto.domain in ("", "ai.onnx")
        need(standard or (own and proto.domain == OWN), f"{name}: domain {proto.domain!r}")
        if op == "QuantizeLinear" and live:
            self._quantise(name, inputs, out, attributes)
        elif op == "DequantizeLinear":
            self._dequantise(name, inputs, out, attributes)
        elif op == "Clip" and inputs[0] in self.kinds:
            self._narrow(name, inputs, out, attributes)
        elif op == "Identity" and live:
            self.alias[out] = self.alias[inputs[0]]
            self._carry(inputs[0], out)
            self._see(inputs[0], out)
        elif op in ("QuantizeLinear", "Clip") and not live:
            self.constants[out] = kept(name, op, self.constants, inputs, attributes)
        elif not live or op == "Shape":
            if op == "Shape":
                front = (1,)[: inputs[0] not in self.batches.without]
                shape = (*front, *self._shape(inputs[0])) if live else self.constants[inputs[0]].shape
                self.constants[out] = extents(name, shape, attributes)
            else:
                need("" not in inputs, f"{name}: an input left out")
                self.constants[out] = moved(name, op, [self.constants[i] for i in inputs], attributes)
        else:
            op = op if standard else f"{OWN}.{op}"
            self._layer(Node(name, op, attributes, [], [], self.opset), inputs, out)

    def _activation(self, name: str, inputs: list[str], kind: Any) -> Scaled:
        scale, zero = quantiser(name, self.constants, inputs, kind)
        need(scale.size == zero.size == 1, f"{name}: not quantised per tensor")
        shift, low, high = span(zero.dtype, name)
        return Fraction(float(scale.ravel()[0])), int(zero.ravel()[0]) - shift, low, high

    def _quantise(self, name: str, inputs: list[str], out: str, attributes: dict[str, Any]) -> None:
        need(set(attributes) <= {"axis", "saturate", "output_dtype"}, f"{name}: attributes")
        value, kind = self.alias[inputs[0]], np.dtype(np.uint8)
        if len(inputs) > 2 and inputs[2] in self.constants:
            kind = self.constants[inputs[2]].dtype
        elif attributes.get("output_dtype"):
            kind = onnx.helper.tensor_dtype_to_np_dtype(attributes["output_dtype"])
        scale = self._activation(name, inputs, kind)
        word = whole(*scale[2:])
        if value in self.net.inputs and scale[2:] != word:
            value = self._known(value, (*scale[:2], *word), out)  # fewer bits are an activation behind it
        if value in self.net.inputs or self.reads.rounded(inputs[0]):
            value = self._known(value, scale, out)
        elif self.reads.also_bare(inputs[0]) or self.known.get(value, scale) != scale:
            copy = self.reads.own(value, scale, self.known) or self._again(value, scale, out)
            self.reads.shared[value, scale] = copy
            self.reads.parted.add(copy)
            value = copy
        else:
            self.known[value] = scale
        self.alias[out], self.marks[out], self.kinds[out] = value, scale, kind
        self._see(inputs[0], out)

    def _known(self, value: str, scale: Scaled, out: str) -> str:
        """The value that has this quantisation: where `value` has another, an activation behind it."""
        if self.known.setdefault(value, scale) == scale:
            return value
        return self._again(value, scale, out)

    def _again(self, value: str, scale: Scaled, out: str) -> str:
        again = fresh(f"{value}.{out}", self.values)
        self._append(Layer(f"{out}.again", "Clip", (value,), again, {"lo": -np.inf, "hi": np.inf}))
        self.known[again] = scale
        return again

    def _carry(self, source: str, out: str) -> None:
        holders: tuple[dict[str, Any], ...] = (self.marks, self.kinds, self.moved)
        for held in holders:
            if source in held:
                held[out] = held[source]

    def _see(self, source: str, out: str) -> None:
        if source in self.seen:
            self.seen[out] = self.seen[source]
        if source in self.batches.without:
            self.batches.without.add(out)

    def _narrow(self, name: str, inputs: list[str], out: str, attributes: dict[str, Any]) -> None:
        """A Clip of integers limits what is stored."""
        source, value = inputs[0], self.alias[inputs[0]]
        need(source in self.marks and not attributes, f"{name}: computes with integers")
        scale, zero, *ends = self.marks[source]
        for i, given in enumerate(inputs[1:3]):
            if given:
                limit = self.constants.get(given)
                need(limit is not None and limit.size == 1, f"{name}: a limit that is not constant")
                assert limit is not None
                end = int(limit.ravel()[0]) - span(self.kinds[source], name)[0]
                ends[i] = min(ends[i], end) if i else max(ends[i], end)
        need(ends[0] < ends[1], f"{name}: limits")
        narrow = (scale, zero, ends[0], ends[1])
        shared = [t for t in self.kinds if t != source and self.alias[t] == value]
        alone = not shared and self.reads.count[source] <= 1 and value not in self.net.inputs
        if alone and self.known.get(value) == self.marks[source]:
            self.known[value] = narrow
        value = self._known(value, narrow, out)
        self.alias[out], self.marks[out], self.kinds[out] = value, narrow, self.kinds[source]
        self._see(source, out)

    def _dequantise(self, name: str, inputs: list[str], out: str, attributes: dict[str, Any]) -> None:
        need(set(attributes) <= {"axis", "block_size"}, f"{name}: attributes")
        source = inputs[0]
        if source in self.constants:
            q, axis = self.constants[source], int(attributes.get("axis", 1))
            scale, zero = quantiser(name, self.constants, inputs, q.dtype)
            self.constants[out] = dequantised(q, scale, zero, axis, attributes.get("block_size", 0), name)
            return
        scale_here = self._activation(name, inputs, self.kinds.get(source, np.uint8))
        value = self.alias[source]
        if source in self.moved:
            known = self.known.setdefault(self.moved[source], scale_here)
        else:
            need(source in self.marks, f"{name}: dequantises what is not integer")
            known = self.marks[source]
        need(known[:2] == scale_here[:2], f"{name}: another scale than its QuantizeLinear")
        self.alias[out] = value
        self._see(source, out)

    def _layer(self, node: Node, inputs: list[str], out: str) -> None:
        node.constants = [self.constants.get(i) if i else None for i in inputs]
        node.shapes = [self._shape(i) if i in self.alias else None for i in inputs]
        whole = [i for i in inputs if i in self.kinds]
        alike = {(self.marks.get(i), np.dtype(self.kinds[i])) for i in whole}
        joined = node.op == "Concat" and whole == inputs and len(alike) == 1 and whole[0] in self.marks
        need(not whole or joined or node.op in _CARRY, f"{node.name}: computes with integers")
        if whole and node.op != f"{OWN}.ArgMax":
            self._carry(whole[0], out)
        if joined:
            self.known[out] = self.marks[out]
        layer = parse(node)
        live = [i for i in inputs if i in self.alias]
        values = tuple(self.alias[i] for i in live)
        layer.name = fresh(node.name, {x.name for x in self.net.layers})
        if layer.op == "Reshape":  # the same value under another shape
            self.reads.unmoved(out, self.reads.rounded(live[0]))
            self.alias[out], target = values[0], tuple(layer.fields["target"])
            output_shape(layer, [self.net.shapes[values[0]]])
            if target != self.net.shapes[values[0]]:
                self.seen[out] = Seen(layer.name, out, target)
            return
        if layer.op == "ChannelAffine" and self._scales_product(layer, values[0]):
            self.alias[out] = values[0]
            self._see(live[0], out)
            return
        if layer.op == "Transpose" and (live[0] in self.seen or self._permuted(values[0]) is not None):
            layer.op, layer.fields = "Take", {"positions": turned(layer), "pad": 0.0}
        shape = self._shape(live[0])
        self.alias[out] = out
        if self._looks_through(layer, live):
            self.alias[out] = fresh(f"{out}.map", self.values)
            self.seen[out] = Seen(f"{layer.name}.shape", out, shape)
        elif layer.op == "Take":
            self._move(layer, live[0], out)
            return
        elif layer.op in {"Clip", *NAMES} and (before := self._permuted(values[0])) is not None:
            inner = fresh(f"{out}.map", self.values)
            layer.inputs, layer.output = before.inputs, inner
            self._append(layer)
            layer = Layer(f"{layer.name}.at", "Take", (inner,), out, dict(before.fields))
            values = (inner,)
        else:
            values = tuple(self._placed(i) for i in live)
        layer.inputs, layer.output = values, self.alias[out]
        self._append(layer)

    def _move(self, layer: Layer, tensor: str, out: str) -> None:
        """Positions of positions; none of its own where they are in order."""
        source = self.alias[tensor]
        before, at = self._permuted(source, "Transpose"), layer.fields["positions"]
        if before is not None:
            at, (source,) = np.append(before.fields["positions"], -1)[at], before.inputs
        size = self.net.shapes[source]
        if at.ravel().tolist() == list(range(int(np.prod(size)))):
            back = before is not None and source in self.known
            self.reads.unmoved(out, self.reads.rounded(tensor) or back)
            self.alias[out] = source
            if at.shape != size:
                self.seen[out] = Seen(layer.name, out, at.shape)
            return
        layer.fields.update(positions=at, size=size)
        layer.inputs, layer.output = (source,), out
        self._append(layer)

    def _permuted(self, value: str, *others: str) -> Layer | None:
        return permutation(self.net.layers, self.known, value, others)

    def _scales_product(self, layer: Layer, value: str) -> bool:
        """A factor of all elements of a MatMul or a mean that nothing else reads becomes part of it."""
        once = all(self.reads.count[tensor] <= 1 for tensor, v in self.alias.items() if v == value)
        free = once and value not in self.known
        return free and scaled_product(self.net.layers, value, layer.fields, self.known)

    def _shape(self, tensor: str) -> Shape:
        seen = self.seen.get(tensor)
        return self.net.shapes[self.alias[tensor]] if seen is None else seen.shape

    def _looks_through(self, layer: Layer, live: list[str]) -> bool:
        """Element by element, or channel by channel: the value's own shape serves as well as the file's."""
        shapes = {self.net.shapes[self.alias[i]] for i in live}
        if len(shapes) > 1 or not any(i in self.seen for i in live):
            return False
        shape = shapes.pop()
        if layer.op == "ChannelAffine":
            return len(shape) in (1, 3) and len(layer.fields["factor"]) == shape[0]
        return layer.op in {"Add", "Mul", "Clip", *NAMES}

    def _placed(self, tensor: str) -> str:
        """A value in the shape that the file gives it: a Reshape, once."""
        seen, source = self.seen.get(tensor), self.alias[tensor]
        if seen is None:
            return source
        if (source, seen) not in self.shaped:
            out = fresh(seen.tensor, self.values) if seen.tensor in self.net.shapes else seen.tensor
            self._append(Layer(seen.name, "Reshape", (source,), out, {"target": seen.shape}))
            self.shaped[source, seen] = out
        return self.shaped[source, seen]

    def _append(self, layer: Layer) -> None:
        layer.name = fresh(layer.name, {x.name for x in self.net.layers})
        self.net.layers.append(layer)
        self.net.shapes[layer.output] = result_shape(layer, [self.net.shapes[i] for i in layer.inputs])
        self.values.add(layer.output)
