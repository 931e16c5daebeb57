# SPDX-License-Identifier: Apache-2.0
"""Walk an ONNX graph once: constants fold, quantisers become annotations, ops parse themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import CompileError
from ..graph import Graph, Node, Value, check
from ..ops import BY_ONNX, Clip, Conv, Dense, Softmax
from ..ops.base import MAX_ELEMENTS, IntegerWeights, OnnxNode, Op, Scaled, Unsupported
from ..passes.activations import add_activations
from ..passes.fold_channel_affine import fold_channel_affine
from ..passes.rewrite import fresh, rebuild
from .annotations import Annotations, Mark
from .constants import fold
from .expansions import EXPANSIONS, REMEDIES, Site
from .model_file import initial_constants, input_specs, opset_of, read_model
from .qdq import Quantised, integer_weights

ELEMENTWISE_CONSTANT = ("Add", "Sub", "Mul")
SUPPORTED = tuple(sorted({*BY_ONNX, *(op for _, op in EXPANSIONS)}))


@dataclass(frozen=True)
class Imported:
    """The normalised float graph and what the file says of quantisation, by value and by node name."""

    graph: Graph
    activations: dict[str, Scaled] = field(default_factory=dict)
    weights: dict[str, IntegerWeights] = field(default_factory=dict)

    @property
    def quantised(self) -> bool:
        """Whether the file is a quantised model."""
        return bool(self.activations)

    @property
    def power_of_two(self) -> bool:
        """Whether every scale of a quantised model is a power of two: its requantisations are shifts then."""
        scales = [s.scale for s in self.activations.values()]
        scales += [s for weights in self.weights.values() for s in weights.scales]
        return (
            self.quantised
            and all(node.name in self.weights for node in self.graph.nodes if node.op.weighted)
            and all(n & (n - 1) == 0 for s in scales for n in (s.numerator, s.denominator))
        )

    def weights_of(self, node: Node) -> str:
        """Where the integer weights of a node come from; empty when it has none."""
        if not node.op.weighted:
            return ""
        return "the file's integers" if node.name in self.weights else "rounded to int8"


@dataclass(frozen=True)
class Problem:
    """A node that cannot be compiled, and what to do about it."""

    node: str
    found: str
    remedy: str


class UnsupportedModel(CompileError):
    """Everything unsupported in a model, at once."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.problems = problems
        listed = " | ".join(
            f"{p.node}: {p.found}" + (f" (try {p.remedy})" if p.remedy else "") for p in problems
        )
        super().__init__(
            path,
            f"{len(problems)} unsupported node(s): {listed}",
            "supported ops only",
            f"tinybound inspect; supported are {', '.join(SUPPORTED)}",
        )


def load_onnx(path: Path) -> Imported:
    """The float graph of an ONNX file (float, or int8/uint8 in QDQ form); raises CompileError."""
    try:
        model = read_model(path)
        walk = _Walk(model, path)
        for node in model.graph.node:
            walk.take(node)
        if walk.problems:
            raise UnsupportedModel(str(path), walk.problems)
        return walk.finish()
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
        self.sources: dict[str, tuple[Quantised | None, Quantised | None]] = {}
        self.nodes: list[Node] = []
        self.problems: list[Problem] = []
        self.lost: set[str] = set()  # outputs of unsupported nodes
        self.inputs = tuple(spec.name for spec in input_specs(model))
        readers = Counter(
            [*(i for n in model.graph.node for i in n.input), *(e.name for e in model.graph.output)]
        )
        self.quantised = Annotations(self.constants, self.alias, self.inputs, readers, self._again)
        self.names = {t for n in model.graph.node for t in n.output} | {e.name for e in model.graph.input}
        for spec in input_specs(model):
            self.values[spec.name] = Value(spec.name, spec.shape)
            self.alias[spec.name] = spec.name
            if spec.integer is not None:
                self.quantised.marks[spec.name] = Mark(spec.integer, None, spec.name)

    def take(self, proto: onnx.NodeProto) -> None:
        """One ONNX node in topological order; problems are collected, not raised."""
        name = proto.name or f"{proto.op_type}_{proto.output[0]}"
        if any(i in self.lost for i in proto.input):
            self.lost.update(proto.output)
        try:
            self._take(proto, name)
        except Unsupported as problem:
            if not any(i in self.lost for i in proto.input):
                self.problems.append(Problem(name, problem.found, problem.remedy))
            self.lost.update(proto.output)
        except UnicodeDecodeError:
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
            self.problems.append(Problem(name, f"malformed {proto.op_type} ({error})", "another export"))
            self.lost.update(proto.output)

    def _take(self, proto: onnx.NodeProto, name: str) -> None:
        if any(i in self.alias for i in proto.input) or proto.domain not in ("", "ai.onnx"):
            parts = self._expand(proto, name)
            if parts is not None:
                for part in parts:
                    self._take(part, part.name)
                return
        domain = proto.domain.removeprefix("ai.onnx")
        if (domain, proto.op_type) in REMEDIES:
            raise Unsupported(f"op {proto.op_type}", REMEDIES[domain, proto.op_type])
        if domain:
            raise Unsupported(
                f"op {proto.domain}.{proto.op_type}", "an export in standard ONNX ops (QDQ form)"
            )
        held = self.quantised
        if proto.op_type == "QuantizeLinear" and proto.input[0] in self.alias:
            held.quantise(proto)
        elif proto.op_type == "DequantizeLinear":
            held.dequantise(proto)
        elif proto.op_type == "Clip" and proto.input[0] in held.marks:
            held.clip(proto)
        elif proto.op_type == "Identity" and proto.input[0] in self.alias:
            self.alias[proto.output[0]] = self.alias[proto.input[0]]
            if proto.input[0] in held.marks:
                held.marks[proto.output[0]] = held.marks[proto.input[0]]
        elif all(i in self.constants or not i for i in proto.input) or proto.op_type == "Shape":
            shapes = {i: (1, *self.values[v].shape) for i, v in self.alias.items()}
            self.constants.update(fold(proto, self.constants, shapes, self.opset))
            held.move_constant(
                proto,
                lambda array: fold(proto, {**self.constants, proto.input[0]: array}, {}, self.opset)[
                    proto.output[0]
                ],
            )
        else:
            self._op(proto, name)

    def _expand(self, proto: onnx.NodeProto, name: str) -> list[onnx.NodeProto] | None:
        """The nodes that stand for this one, or None when it stands for itself."""
        expansion = EXPANSIONS.get((proto.domain.removeprefix("ai.onnx"), proto.op_type))
        if expansion is None:
            return None
        shapes = {tensor: self.values[value].shape for tensor, value in self.alias.items()}
        site = Site(proto, name, _attributes(proto), shapes, self.constants, self.opset, self.names)
        return site.parts if expansion(site) else None

    def _again(self, value: str, out: str) -> str:
        """An identity behind a value, for a second, different quantisation."""
        copy = fresh(f"{value}.{out}", self.names)
        self._append(Node(f"{out}.again", Clip(), (value,), copy))
        return copy

    def _op(self, proto: onnx.NodeProto, name: str) -> None:
        op_type = proto.op_type
        parser = BY_ONNX.get("Add" if op_type in ELEMENTWISE_CONSTANT else op_type)
        if parser is None:
            raise Unsupported(f"op {op_type}")
        attributes = _attributes(proto)
        constants = [self.constants.get(i) if i else None for i in proto.input]
        if op_type == "Sub" and constants[1] is not None:
            constants[1] = -constants[1]
        elif op_type in ("Sub", "Mul") and all(c is None for c in constants):
            raise Unsupported(f"{op_type} of two computed tensors")
        elif op_type == "Sub":
            raise Unsupported("a constant minus a tensor")
        finite = [c is None or c.dtype.kind != "f" or np.isfinite(c).all() for c in constants]
        if op_type != "Clip" and not all(finite):
            raise Unsupported("NaN or infinite parameters", "another export")
        missing = [i for i in proto.input if i and i not in self.alias and i not in self.constants]
        if missing:
            raise Unsupported(f"reads {missing[0]!r}, which is not computed")
        shapes: list[Any] = [
            self.values[self.alias[i]].shape if i in self.alias else None for i in proto.input
        ]
        self.quantised.carry(op_type, proto.input, proto.output[0])
        name = fresh(name, {n.name for n in self.nodes})
        op = parser.parse(OnnxNode(name, op_type, attributes, shapes, constants, self.opset))
        if isinstance(op, Conv | Dense):
            op = self._weights(op, proto, name, attributes)
        inputs = tuple(self.alias[i] for i in proto.input if i in self.alias)
        self._append(Node(name, op, inputs, proto.output[0]))
        self.alias[proto.output[0]] = proto.output[0]

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
        self.alias[node.output] = node.output
        self.nodes.append(node)

    def finish(self) -> Imported:
        """Name the outputs, normalise, and match integer weights with the layers they belong to."""
        entries = [entry.name for entry in self.model.graph.output]
        lost = [name for name in entries if name not in self.alias]
        if lost:
            raise CompileError(lost[0], "output is not computed from an input")
        sources = {mark.source for mark in self.quantised.marks.values()} - {""}
        bare = sorted(sources - set(self.quantised.activations))
        if bare:
            raise CompileError(bare[0], "an integer input without a scale", "a DequantizeLinear behind it")
        computed = {n.output for n in self.nodes}
        owner: dict[str, str] = {}  # value -> the output that gives it its name, its own if there is one
        for name in sorted(entries, key=lambda name: self.alias[name] != name):
            owner.setdefault(self.alias[name], name)
        renamed: dict[str, str] = {}
        for name in entries:
            value = self.alias[name]
            if owner[value] != name or value not in computed:
                self._append(Node(f"{name}.copy", Clip(), (value,), name))
                if value in self.quantised.activations:
                    self.quantised.activations[name] = self.quantised.activations[value]
            elif value != name:
                renamed[value] = name
        outputs = entries
        nodes = [
            replace(
                n, inputs=tuple(renamed.get(i, i) for i in n.inputs), output=renamed.get(n.output, n.output)
            )
            for n in self.nodes
        ]
        known = {renamed.get(name, name): scale for name, scale in self.quantised.activations.items()}
        name = self.path.stem
        raw = Graph(name, self.inputs, tuple(outputs), tuple(nodes), self.values)
        graph = rebuild(raw, _live(nodes, outputs))
        graph, known = add_activations(fold_channel_affine(graph), known)
        _check_softmax(graph)
        weights = {
            node.name: integers
            for node in graph.nodes
            if node.name in self.sources
            and (integers := integer_weights(node.op, *self.sources[node.name], known.get(node.inputs[0])))
        }
        return Imported(check(graph, integer=False), known, weights)


def _live(nodes: list[Node], outputs: list[str]) -> list[Node]:
    """Nodes that some output needs."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _check_softmax(graph: Graph) -> None:
    for node in graph.nodes:
        if isinstance(node.op, Softmax) and graph.consumers(node.output):
            raise CompileError(node.name, "a softmax inside the network", "softmax as the last op only")


def _attributes(proto: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in proto.attribute}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return tuple(value) if isinstance(value, list) else value
