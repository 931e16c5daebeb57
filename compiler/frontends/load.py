# SPDX-License-Identifier: Apache-2.0
"""Walk an ONNX graph once: constants fold, quantisers become annotations, ops parse themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import CompileError
from ..graph import Node, Value
from ..ops import BY_ONNX, Add, ChannelAffine, Clip, Conv, Dense, Mul, Reshape, Take, Transpose
from ..ops.base import MAX_ELEMENTS, OnnxNode, Op, Shape, Unsupported
from ..ops.function import Function
from ..passes.rewrite import fresh
from .annotations import REMEDY, Annotations, Mark
from .constants import fold, refuse_parameters
from .dynamic import without_dynamic
from .expansions import EXPANSIONS, REMEDIES, Site, of_sum
from .finish import Imported, Walked, finish, misplaced
from .model_file import attributes_of, initial_constants, input_specs, opset_of, read_model
from .old_opsets import refuse_old
from .qdq import Quantised
from .reads import Reads
from .shorter import as_take, scale_product
from .unbatched import OWN_SHAPES, Unbatched
from .unsupported import Problem, UnsupportedModel, node_name, refuse_inputs, remedy_for, unknown_op

OWN = "tinybound"  # domain of ops that only expansions write


@dataclass(frozen=True)
class View:
    """A value under another shape: the Reshape `name` that gives `tensor`, if an op has to see it."""

    name: str
    tensor: str
    shape: Shape


def load_onnx(path: Path) -> Imported:
    """The float graph of an ONNX file (float, or int8/uint8 in QDQ form); raises CompileError."""
    try:
        model = read_model(path)
        refuse_inputs(model, path)
        without_dynamic(model.graph)
        walk = _Walk(model, path)
        for node in model.graph.node:
            walk.take(node)
        if walk.problems:
            raise UnsupportedModel(str(path), [*walk.problems, *misplaced(walk.nodes)])
        return finish(walk.walked())
    except UnicodeDecodeError as error:  # protobuf decodes a text where it is first read
        raise CompileError(
            str(path), "a name that is not UTF-8", "an ONNX model", "another export"
        ) from error


class _Walk:
    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self.model, self.path, self.opset = model, path, opset_of(model)
        self.constants: dict[str, NDArray[Any]] = initial_constants(model)
        self.values: dict[str, Value] = {}
        self.alias: dict[str, str] = {}  # ONNX tensor -> value of the graph
        self.views: dict[str, View] = {}  # ONNX tensors whose value has another shape
        self.sources: dict[str, tuple[Quantised | None, Quantised | None]] = {}
        self.placed: dict[tuple[str, View], str] = {}  # (value, view of it) -> what a Reshape gives
        self.nodes: list[Node] = []
        self.problems: list[Problem] = []
        self.lost: set[str] = set()  # outputs of unsupported nodes
        self.inputs = tuple(spec.name for spec in input_specs(model))
        self.computed = {*self.inputs}  # what depends on an input, lost or not
        self.unbatched, self.indices = Unbatched(), set[str]()
        self.unbatched.of_inputs(model.graph)
        reads = Reads(model.graph)
        self.quantised = Annotations(self.constants, self.alias, self.inputs, reads, self._again)
        self.names = {t for n in model.graph.node for t in n.output} | {*self.constants}
        self.names |= {entry.name for entry in model.graph.input}
        for spec in input_specs(model):
            self.values[spec.name] = Value(spec.name, spec.shape)
            self.alias[spec.name] = spec.name
            if spec.integer is not None:
                self.quantised.marks[spec.name] = Mark(spec.integer, None, spec.name)

    def take(self, proto: onnx.NodeProto) -> None:
        """One ONNX node in topological order; problems are collected, not raised."""
        name, lost = node_name(proto), any(i in self.lost for i in proto.input)
        if lost:
            self.lost.update(proto.output)
        inside = any(a.HasField("g") for a in proto.attribute)  # what a loop's body reads stands in it
        if proto.op_type != "Shape" and (inside or not self.computed.isdisjoint(proto.input)):
            self.computed.update(proto.output)
            if problem := unknown_op(proto):  # named behind a lost node as well
                self.problems.append(problem)
                self.lost.update(proto.output)
                return
        try:
            refuse_old(proto, self.constants, self.opset)
            self.unbatched.check(proto, self.alias, self.constants, self._shape)
            self._take(proto, name)
        except Unsupported as problem:
            if not lost:
                self.problems.append(Problem(name, problem.found, problem.remedy))
            self.lost.update(proto.output)
        except UnicodeDecodeError:
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
            if not lost:
                self.problems.append(Problem(name, f"malformed {proto.op_type} ({error})", "another export"))
            self.lost.update(proto.output)

    def _take(self, proto: onnx.NodeProto, name: str, *, own: bool = False) -> None:
        if any(i in self.alias for i in proto.input) or proto.domain not in ("", "ai.onnx"):
            parts = self._expand(proto, name, own)
            if parts is not None:
                for part in parts:
                    self._take(part, part.name, own=True)
                return
        domain = proto.domain.removeprefix("ai.onnx")
        remedy = remedy_for(domain, proto.op_type)
        if (domain, proto.op_type) in REMEDIES:
            raise Unsupported(f"op {proto.op_type}", remedy)
        if domain and not (own and domain == OWN):
            raise Unsupported(f"op {proto.domain}.{proto.op_type}", remedy)
        if self._renamed(proto):
            return
        if all(i in self.constants or not i for i in proto.input) or proto.op_type == "Shape":
            batch = {i: () if i in self.unbatched else (1,) for i in self.alias}
            shapes = {i: (*batch[i], *self._shape(i)) for i in self.alias}
            self.constants.update(fold(proto, self.constants, shapes, self.opset))
            self.quantised.move_constant(
                proto,
                lambda array: fold(proto, {**self.constants, proto.input[0]: array}, {}, self.opset)[
                    proto.output[0]
                ],
            )
        else:
            self._op(proto, name)

    def _renamed(self, proto: onnx.NodeProto) -> bool:
        """Quantisers, and whatever else gives a value a further name; False for other nodes."""
        held, source, out = self.quantised, proto.input[0] if proto.input else "", proto.output[0]
        if proto.op_type == "QuantizeLinear" and source in self.alias:
            held.quantise(proto)
        elif proto.op_type == "DequantizeLinear":
            held.dequantise(proto)
        elif proto.op_type == "Clip" and source in held.marks:
            held.clip(proto)
        elif proto.op_type == "Identity" and source in self.alias:
            self.alias[out] = self.alias[source]
            if source in held.marks:
                held.marks[out] = held.marks[source]
        else:
            return False
        if source in self.views:
            self.views[out] = self.views[source]
        if source in self.unbatched:
            self.unbatched.add(out)
        return True

    def _expand(self, proto: onnx.NodeProto, name: str, own: bool) -> list[onnx.NodeProto] | None:
        """The nodes that stand for this one, or None when it stands for itself."""
        expansion = EXPANSIONS.get((proto.domain.removeprefix("ai.onnx"), proto.op_type))
        held = self.quantised
        if proto.op_type in ("Cast", "QuantizeLinear") and proto.input[0] in held.marks:
            raise Unsupported(f"{proto.op_type} of quantised integers", REMEDY)
        if not own and any(i in held.sums for i in proto.input):
            expansion = of_sum
        if expansion is None or (own and proto.op_type in OWN_SHAPES):
            return None
        shapes = {tensor: self._shape(tensor) for tensor in self.alias}
        site = Site(
            proto,
            name,
            attributes_of(proto),
            shapes,
            self.constants,
            self.opset,
            self.names,
            held.marks,
            held.sums,
            self.unbatched,
            {t: held.activations[v] for t, v in self.alias.items() if v in held.activations},
            self.indices,
        )
        return site.parts if expansion(site) else None

    def _again(self, value: str, out: str) -> str:
        """An identity behind a value, for a second, different quantisation."""
        copy = fresh(f"{value}.{out}", self.names)
        self._append(Node(f"{out}.again", Clip(), (value,), copy))
        return copy

    def _op(self, proto: onnx.NodeProto, name: str) -> None:
        op_type = f"{OWN}.{proto.op_type}" if proto.domain == OWN else proto.op_type
        missing = [i for i in proto.input if i and i not in self.alias and i not in self.constants]
        if missing:
            raise Unsupported(f"reads {missing[0]!r}, which is not computed")
        parser = BY_ONNX.get(op_type)
        if parser is None:
            raise Unsupported(f"op {op_type}", remedy_for("", op_type))
        attributes = attributes_of(proto)
        constants = [self.constants.get(i) if i else None for i in proto.input]
        shapes: list[Any] = [self._shape(i) if i in self.alias else None for i in proto.input]
        self.quantised.carry(op_type, proto.input, proto.output[0])
        refuse_parameters(op_type, constants, attributes)
        name = fresh(name, {n.name for n in self.nodes})
        op = parser.parse(OnnxNode(name, op_type, attributes, shapes, constants, self.opset))
        if isinstance(op, Conv | Dense):
            op = self._weights(op, proto, name, attributes)
        live, out = [i for i in proto.input if i in self.alias], proto.output[0]
        moved = isinstance(op, Transpose) and (live[0] in self.views or self._moved(self.alias[live[0]]))
        if isinstance(op, Transpose) and moved:
            op = as_take(op)
        if isinstance(op, ChannelAffine) and self._scales_product(op, self.alias[live[0]]):
            self.alias[out] = self.alias[live[0]]
            if live[0] in self.views:
                self.views[out] = self.views[live[0]]
        elif isinstance(op, Reshape):
            self.quantised.reads.still_stored(out, stored=self.quantised.reads.stored(live[0]))
            self.alias[out] = self.alias[live[0]]
            if op.target != self.values[self.alias[out]].shape:
                self.views[out] = View(name, out, op.target)
        elif self._through(op, live):
            seen = fresh(f"{out}.map", self.names)
            self._append(Node(name, op, tuple(self.alias[i] for i in live), seen))
            self.alias[out], self.views[out] = seen, View(f"{name}.shape", out, shapes[0] or shapes[1])
        else:
            if isinstance(op, Take):
                self._move(op, name, live[0], out)
                return
            before = self._moved(self.alias[live[0]])
            if before is not None and isinstance(op, Clip | Function):  # first the function, then the Take
                seen = fresh(f"{out}.map", self.names)
                self._append(Node(name, op, before.inputs, seen))
                self._append(Node(f"{name}.at", before.op, (seen,), out))
            else:
                self._append(Node(name, op, tuple(self._placed(i) for i in live), out))
            self.alias[out] = out

    def _move(self, op: Take, name: str, tensor: str, out: str) -> None:
        """A Take of a value; of another Take: one of what that reads; of everything in order: a view."""
        source = self.alias[tensor]
        before = self._moved(source, Take | Transpose)
        if before is not None:
            at, (source,) = np.ravel(before.op.positions), before.inputs
            op = replace(op, positions=np.where(op.positions < 0, -1, at[op.positions]))
        op = replace(op, size=self.values[source].shape)  # flat positions serve every shape
        if np.array_equal(op.positions.ravel(), np.arange(prod(op.size))):
            held, moved_back = self.quantised, before is not None
            stored = held.reads.stored(tensor) or (moved_back and source in held.activations)
            held.reads.still_stored(out, stored=stored)
            self.alias[out] = source
            if op.positions.shape != op.size:
                self.views[out] = View(name, out, op.positions.shape)
            return
        self._append(Node(name, op, (source,), out))
        self.alias[out] = out

    def _moved(self, value: str, kinds: Any = Take) -> Any:
        """The Take (or a Transpose, as one) that permutes elements into a value, unless the file stores what
        lies between otherwise than what it reads."""
        node, stored = next((n for n in self.nodes if n.output == value), None), self.quantised.activations
        if node is None or not isinstance(node.op, kinds):
            return None
        if value in stored and stored[value] != stored.get(node.inputs[0]):
            return None
        if isinstance(node.op, Transpose):
            return replace(node, op=as_take(node.op))
        assert isinstance(node.op, Take)
        at = np.sort(node.op.positions, axis=None)
        return node if np.array_equal(at, np.arange(prod(node.op.size))) else None

    def _scales_product(self, op: ChannelAffine, value: str) -> bool:
        """Whether a factor is the last thing that happens to a product, which then takes it over."""
        alone = all(self.quantised.reads.count[t] <= 1 for t, v in self.alias.items() if v == value)
        stored = self.quantised.activations
        return alone and value not in stored and scale_product(self.nodes, value, op, stored)

    def _shape(self, tensor: str) -> Shape:
        """The shape that the file gives a computed tensor."""
        view = self.views.get(tensor)
        return self.values[self.alias[tensor]].shape if view is None else view.shape

    def _through(self, op: Op, live: list[str]) -> bool:
        """Whether an op that reads views gives the same elements on their values, so that no Reshape parts it
        from the layer before."""
        shapes = {self.values[self.alias[i]].shape for i in live}
        if not any(i in self.views for i in live) or len(shapes) > 1:
            return False
        (shape,) = shapes
        channels = len(op.factor) if isinstance(op, ChannelAffine) else 0
        return isinstance(op, Add | Clip | Function | Mul) or (channels == shape[0] and len(shape) in (1, 3))

    def _placed(self, tensor: str) -> str:
        """The value of a tensor in the shape that the file gives it."""
        view, source = self.views.get(tensor), self.alias[tensor]
        if view is None:
            return source
        if (source, view) not in self.placed:
            out = view.tensor if view.tensor not in self.values else fresh(view.tensor, self.names)
            self._append(Node(view.name, Reshape(view.shape), (source,), out))
            self.placed[source, view] = out
        return self.placed[source, view]

    def _weights(self, op: Any, proto: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> Op:
        def found(i: int) -> Quantised | None:
            return self.quantised.weights.get(proto.input[i]) if len(proto.input) > i else None

        weight = found(1)
        if weight is not None and isinstance(op, Dense) and not attributes.get("transB", 0):
            weight = weight.moved(np.transpose)
        self.sources[name] = (weight, found(2))
        exact: Op = replace(
            op, weights=np.asarray(op.weights, np.float64), bias=np.asarray(op.bias, np.float64)
        )
        return exact

    def _append(self, node: Node) -> None:
        node = replace(node, name=fresh(node.name, {n.name for n in self.nodes}))
        shape = node.op.shape(*(self.values[i].shape for i in node.inputs))
        if not shape:
            raise Unsupported(f"shapes {[self.values[i].shape for i in node.inputs]} do not fit")
        if not 0 < prod(shape) <= MAX_ELEMENTS or min(shape) < 1:
            raise Unsupported(f"an output of shape {shape}", f"1 to {MAX_ELEMENTS} elements")
        self.names.add(node.output)
        self.values[node.output] = Value(node.output, shape)
        self.nodes.append(node)

    def walked(self) -> Walked:
        """What was found, when every node has been taken."""
        outputs = [entry.name for entry in self.model.graph.output]
        sources = {mark.source for mark in self.quantised.marks.values()} - {""}
        bare = sorted(sources - set(self.quantised.activations))
        if bare:
            raise CompileError(bare[0], "an integer input without a scale", "a DequantizeLinear behind it")
        raw = [name for name in outputs if name in self.quantised.sums]
        if raw:
            raise CompileError(raw[0], "sums of integers as an output", "a Cast and a Mul behind them")
        alias = {**self.alias, **{name: self._placed(name) for name in outputs if name in self.alias}}
        return Walked(
            self.path.stem, self.inputs, outputs, self.nodes, self.values, alias,
            self.quantised.activations, self.sources, self.quantised.parted,
        )  # fmt: skip
