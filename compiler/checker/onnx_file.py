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
from onnx import numpy_helper

from .expand import EXPANSIONS, OWN, Place
from .files import MAX_ELEMENTS, Rejected, need
from .functions import NAMES
from .layers import Layer, Network, Shape, fresh, output_shape
from .onnx_ops import Node, parse

Array = NDArray[Any]
Scaled = tuple[Fraction, int]  # scale and zero point of an activation, uint8 taken as q - 128
_MOVES = {"Constant", "Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Cast", "Transpose", "Reshape"}


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
        need(not model.functions, "float.onnx: local functions")
        self.opset = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 1)
        need(7 <= self.opset <= 30, f"float.onnx: opset {self.opset}")
        self.constants: dict[str, Array] = {}
        for tensor in self.graph.initializer:
            need(tensor.name not in self.constants, f"{tensor.name}: two initializers")
            self.constants[tensor.name] = self._array(tensor)
        self.alias: dict[str, str] = {}
        self.known: dict[str, Scaled] = {}
        self.marks: dict[str, Scaled] = {}  # integer tensor -> its quantisation
        self.kinds: dict[str, Any] = {}
        self.seen: dict[str, Seen] = {}  # tensors whose value has another shape
        self.shaped: dict[tuple[str, Seen], str] = {}
        self.values: set[str] = {t for n in self.graph.node for t in n.output}
        self.values |= {entry.name for entry in self.graph.input}
        entries = [e for e in self.graph.input if e.name not in self.constants]
        self.net = Network(tuple(e.name for e in entries), tuple(e.name for e in self.graph.output), [], {})
        need(entries and self.net.outputs, "float.onnx: no inputs or no outputs")
        for entry in entries:
            need(entry.name not in self.alias, f"{entry.name}: two inputs of this name")
            self.alias[entry.name] = entry.name
            self.net.shapes[entry.name] = self._input(entry)
        for proto in self.graph.node:
            for out in proto.output:
                twice = out in self.alias or out in self.constants
                need(not (out and twice), f"{out}: computed twice")
            self._take(proto)
        self.alias |= {out: self._placed(out) for out in self.net.outputs if out in self.alias}

    def _array(self, tensor: Any) -> Array:
        outside = tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
        need(not outside, f"{tensor.name}: data in another file")
        need(np.prod([float(n) for n in tensor.dims]) <= MAX_ELEMENTS, f"{tensor.name}: too large")
        need(all(n >= 0 for n in tensor.dims), f"{tensor.name}: a negative extent")
        return np.asarray(numpy_helper.to_array(tensor))

    def _input(self, entry: Any) -> Shape:
        tensor, types = entry.type.tensor_type, onnx.TensorProto
        kinds = {types.FLOAT: None, types.DOUBLE: None, types.FLOAT16: None}
        whole = {types.INT8: np.int8, types.UINT8: np.uint8}
        need(tensor.elem_type in kinds or tensor.elem_type in whole, f"{entry.name}: type of the input")
        if tensor.elem_type in whole:
            self.kinds[entry.name] = whole[tensor.elem_type]
        sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
        need(all(n > 0 for n in sizes[1:]), f"{entry.name}: a dynamic shape")
        need(np.prod([float(n) for n in sizes[1:]]) <= MAX_ELEMENTS, f"{entry.name}: too large")
        if len(sizes) == 1 and sizes[0] > 1:
            return (sizes[0],)
        need(not sizes or sizes[0] in (0, 1), f"{entry.name}: a batch of {sizes[:1]}")
        return tuple(sizes[1:]) or (1,)

    def _take(self, proto: Any, own: bool = False) -> None:
        name, op = proto.name or f"{proto.op_type}_{proto.output[0]}", proto.op_type
        inputs, out = list(proto.input), proto.output[0]
        attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in proto.attribute}
        need(len(attributes) == len(proto.attribute), f"{name}: an attribute twice")
        missing = [i for i in inputs if i and i not in self.alias and i not in self.constants]
        need(not missing, f"{name}: reads {missing[:1]}, which is not computed")
        live = [i for i in inputs if i in self.alias]
        expansion = EXPANSIONS.get((proto.domain.removeprefix("ai.onnx"), op)) if live else None
        if expansion is not None:
            shapes = {i: self._shape(i) for i in self.alias}
            outputs = list(proto.output)
            place = Place(
                name, op, inputs, attributes, shapes, self.constants, self.values, outputs, self.opset
            )
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
        elif op in ("Identity", "Dropout") and live:
            flags = [self.constants.get(i) for i in inputs[2:] if i]
            need(all(f is not None and not f.any() for f in flags), f"{name}: a dropout in training mode")
            self.alias[out] = self.alias[inputs[0]]
            tables: tuple[dict[str, Any], ...] = (self.marks, self.kinds, self.seen)
            for held in tables:
                if inputs[0] in held:
                    held[out] = held[inputs[0]]
        elif not live or op == "Shape":
            need(op in _MOVES | {"Identity"}, f"{name}: the checker computes no {op} of constants")
            self.constants[out] = self._constant(name, op, inputs, attributes)
        else:
            op = op if standard else f"{OWN}.{op}"
            self._layer(Node(name, op, attributes, [], [], self.opset), inputs, out)

    def _parameters(self, name: str, inputs: list[str], kind: Any) -> tuple[Array, Array]:
        need(len(inputs) > 1 and inputs[1] in self.constants, f"{name}: a scale that is not constant")
        scale, zero = self.constants[inputs[1]].astype(np.float64), np.zeros((), kind)
        if len(inputs) > 2 and inputs[2]:
            need(inputs[2] in self.constants, f"{name}: a zero point that is not constant")
            zero = self.constants[inputs[2]]
        need(scale.size and np.isfinite(scale).all() and (scale > 0).all(), f"{name}: scale")
        need(zero.size in (1, scale.size), f"{name}: {zero.size} zero points")
        return scale, zero

    def _activation(self, name: str, inputs: list[str], kind: Any) -> Scaled:
        scale, zero = self._parameters(name, inputs, kind)
        need(scale.size == 1 and zero.dtype in (np.int8, np.uint8), f"{name}: not int8 or uint8 per tensor")
        shift = 128 if zero.dtype == np.uint8 else 0
        return Fraction(float(scale.ravel()[0])), int(zero.ravel()[0]) - shift

    def _quantise(self, name: str, inputs: list[str], out: str, attributes: dict[str, Any]) -> None:
        need(set(attributes) <= {"axis", "saturate", "output_dtype"}, f"{name}: attributes")
        value, kind = self.alias[inputs[0]], np.dtype(np.uint8)
        if len(inputs) > 2 and inputs[2] in self.constants:
            kind = self.constants[inputs[2]].dtype
        elif attributes.get("output_dtype"):
            kind = onnx.helper.tensor_dtype_to_np_dtype(attributes["output_dtype"])
        scale = self._activation(name, inputs, kind)
        if self.known.setdefault(value, scale) != scale:  # quantised again, otherwise: an activation between
            again = fresh(f"{value}.{out}", self.values)
            self._append(Layer(f"{out}.again", "Clip", (value,), again, {"lo": -np.inf, "hi": np.inf}))
            self.known[again], value = scale, again
        self.alias[out], self.marks[out], self.kinds[out] = value, scale, kind
        if inputs[0] in self.seen:
            self.seen[out] = self.seen[inputs[0]]

    def _dequantise(self, name: str, inputs: list[str], out: str, attributes: dict[str, Any]) -> None:
        need(set(attributes) <= {"axis"} or not attributes.get("block_size"), f"{name}: attributes")
        source = inputs[0]
        if source in self.constants:
            q = self.constants[source]
            scale, zero = self._parameters(name, inputs, q.dtype)
            need(q.dtype in (np.int8, np.uint8, np.int32), f"{name}: {q.dtype} weights")
            shape, axis = [1] * q.ndim, int(attributes.get("axis", 1)) % max(q.ndim, 1)
            if scale.size > 1:
                need(q.ndim and scale.size == q.shape[axis], f"{name}: {scale.size} scales")
                shape[axis] = scale.size
            centred = q.astype(np.int64) - zero.astype(np.int64).reshape(
                shape if zero.size > 1 else [1] * q.ndim
            )
            exact = q.size == 0 or (
                np.abs(centred).max() < 1 << 29 and (scale.astype(np.float32) == scale).all()
            )
            need(exact, f"{name}: products that a double does not hold")
            self.constants[out] = np.asarray(scale.reshape(shape) * centred)
            return
        scale_here = self._activation(name, inputs, self.kinds.get(source, np.uint8))
        value = self.alias[source]
        if source in self.net.inputs and source in self.kinds:
            self.known[value] = scale_here
        else:
            need(self.marks.get(source) == scale_here, f"{name}: another scale than its QuantizeLinear")
        self.alias[out] = value
        if source in self.seen:
            self.seen[out] = self.seen[source]

    def _constant(self, name: str, op: str, inputs: list[str], attributes: dict[str, Any]) -> Array:
        """Constants that are only moved; no arithmetic."""
        xs = [self.constants[i] for i in inputs if i and i in self.constants]
        axes = attributes.get("axes", tuple(int(v) for v in xs[1].ravel()) if len(xs) > 1 else ())
        if op == "Constant":
            need(len(attributes) == 1, f"{name}: attributes")
            ((kind, value),) = attributes.items()
            dtype = {
                "value_int": np.int64,
                "value_ints": np.int64,
                "value_float": np.float32,
                "value_floats": np.float32,
            }
            need(kind == "value" or kind in dtype, f"{name}: {kind}")
            return self._array(value) if kind == "value" else np.array(value, dtype[kind])
        if op == "Shape":
            need(not attributes, f"{name}: attributes")
            live = self.alias.get(inputs[0])
            return np.array(self.constants[inputs[0]].shape if live is None else (1, *self._shape(inputs[0])))
        if op == "Gather":
            return np.asarray(np.take(xs[0], xs[1].astype(np.int64), axis=attributes.get("axis", 0)))
        if op == "Concat":
            return np.concatenate(xs, axis=attributes["axis"])
        if op == "Unsqueeze":
            return np.expand_dims(xs[0], axes)
        if op == "Squeeze":
            return np.asarray(np.squeeze(xs[0], axes or None))
        if op == "Cast":
            need(attributes["to"] in (1, 6, 7, 11), f"{name}: a cast to type {attributes['to']}")
            return xs[0].astype({1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}[attributes["to"]])
        if op == "Transpose":
            return xs[0].transpose(attributes.get("perm"))
        if op == "Reshape":
            need(not attributes.get("allowzero") and (xs[1] != 0).all(), f"{name}: a zero in a shape")
            return xs[0].reshape([int(n) for n in xs[1].ravel()])
        return xs[0]

    def _layer(self, node: Node, inputs: list[str], out: str) -> None:
        node.constants = [self.constants.get(i) if i else None for i in inputs]
        node.shapes = [self._shape(i) if i in self.alias else None for i in inputs]
        kinds = {self.alias[i]: self.kinds[i] for i in inputs if i in self.kinds}
        need(not kinds, f"{node.name}: computes with integers")
        layer = parse(node)
        live = [i for i in inputs if i in self.alias]
        values = tuple(self.alias[i] for i in live)
        layer.name = fresh(node.name, {x.name for x in self.net.layers})
        if layer.op == "Reshape":  # the same value under another shape
            self.alias[out], target = values[0], tuple(layer.fields["target"])
            output_shape(layer, [self.net.shapes[values[0]]])
            if target != self.net.shapes[values[0]]:
                self.seen[out] = Seen(layer.name, out, target)
            return
        shape = self._shape(live[0])
        self.alias[out] = out
        if self._looks_through(layer, live):
            self.alias[out] = fresh(f"{out}.map", self.values)
            self.seen[out] = Seen(f"{layer.name}.shape", out, shape)
        elif layer.op == "Take":
            layer.fields["size"] = self.net.shapes[values[0]]
        else:
            values = tuple(self._placed(i) for i in live)
        layer.inputs, layer.output = values, self.alias[out]
        self._append(layer)

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


def result_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    """Shape of a float layer's result."""
    if layer.op == "ChannelAffine":
        need(len(layer.fields["factor"]) == shapes[0][0], f"{layer.name}: channels")
        return shapes[0]
    return output_shape(layer, shapes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.GraphProto):
        raise Rejected("float.onnx: a subgraph")
    return tuple(value) if isinstance(value, list) else value
