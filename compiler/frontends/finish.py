# SPDX-License-Identifier: Apache-2.0
"""From the nodes of an ONNX file to the normalised float graph, with integer weights beside their layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import CompileError
from ..graph import Graph, Node, Value, check
from ..ops import ArgMax, Clip, Softmax
from ..ops.base import IntegerWeights, Scaled
from ..ops.final import maker, moves
from ..passes.activations import add_activations
from ..passes.fold_channel_affine import fold_channel_affine
from ..passes.part_quantisers import part_quantisers
from ..passes.rewrite import fresh, rebuild
from .qdq import Quantised, integer_weights
from .unsupported import Problem, UnsupportedModel

Sources = Mapping[str, tuple[Quantised | None, Quantised | None]]  # layer -> its (weights, bias) in the file


@dataclass(frozen=True)
class Imported:
    """The normalised float graph and what the file says of quantisation, by value and by node name."""

    graph: Graph
    activations: dict[str, Scaled] = field(default_factory=dict)
    weights: dict[str, IntegerWeights] = field(default_factory=dict)
    given: frozenset[str] = frozenset()  # layers whose weights the file has as integers, kept or not

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
            and all(self._kept(node) for node in self.graph.nodes if node.op.weighted)
            and all(n & (n - 1) == 0 for s in scales for n in (s.numerator, s.denominator))
        )

    def weights_of(self, node: Node) -> str:
        """Where the integer weights of a node come from; empty when it has none."""
        if not node.op.weighted:
            return ""
        return "the file's integers" if self._kept(node) else "rounded to int8"

    def _kept(self, node: Node) -> bool:
        """With default options: a layer that the file does not quantise has 16 bits where others have."""
        wide = any(scale.wide for scale in self.activations.values())
        return node.name in self.weights and (wide or self.weights[node.name].code != "int16")


@dataclass(frozen=True)
class Walked:
    """What a walk through the file found; `alias` names the value that an ONNX tensor is; `parted` are values
    that quantisers have for themselves."""

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    nodes: Sequence[Node]
    values: Mapping[str, Value]
    alias: Mapping[str, str]
    activations: Mapping[str, Scaled]
    sources: Sources
    parted: Collection[str]


def finish(walked: Walked) -> Imported:
    """Name the outputs, normalise, and match integer weights with the layers they belong to."""
    nodes, copies = part_quantisers(walked.nodes, walked.parted, {*walked.inputs, *walked.activations})
    nodes, known = _named(replace(walked, nodes=nodes))
    nodes = _compared(nodes)
    sources = {**walked.sources, **{c: walked.sources[n] for c, n in copies.items() if n in walked.sources}}
    raw = Graph(walked.name, tuple(walked.inputs), tuple(walked.outputs), tuple(nodes), walked.values)
    graph = rebuild(raw, _live(nodes, walked.outputs))
    graph, known = add_activations(fold_channel_affine(graph, known), known)
    odd = misplaced(graph.nodes)
    if odd:
        one = CompileError(odd[0].node, odd[0].found, odd[0].remedy)
        raise one if len(odd) == 1 else UnsupportedModel(walked.name, odd)
    weights = {
        node.name: integers
        for node in graph.nodes
        if node.name in sources
        and (integers := integer_weights(node.op, *sources[node.name], known.get(node.inputs[0])))
    }
    given = frozenset(name for name, (weight, _) in sources.items() if weight is not None)
    return Imported(check(graph, integer=False), known, weights, given)


def _named(walked: Walked) -> tuple[list[Node], dict[str, Scaled]]:
    """Values take the names of the outputs they are; an output that shares its value gets a copy."""
    alias, known, nodes = walked.alias, dict(walked.activations), list(walked.nodes)
    lost = [name for name in walked.outputs if name not in alias]
    if lost:
        raise CompileError(lost[0], "output is not computed from an input")
    computed = {n.output for n in nodes}
    owner: dict[str, str] = {}  # value -> the output that gives it its name, its own if there is one
    for name in sorted(walked.outputs, key=lambda name: alias[name] != name):
        owner.setdefault(alias[name], name)
    renamed: dict[str, str] = {}
    for name in walked.outputs:
        value = alias[name]
        if value == name and name in walked.inputs:
            continue  # an input that is an output as well
        if owner[value] != name or value not in computed:
            copy = fresh(f"{name}.copy", {n.name for n in nodes})
            nodes.append(Node(copy, Clip(), (value,), name))
            if value in known:
                known[name] = known[value]
        elif value != name:
            renamed[value] = name
    nodes = [
        replace(n, inputs=tuple(renamed.get(i, i) for i in n.inputs), output=renamed.get(n.output, n.output))
        for n in nodes
    ]
    return nodes, {renamed.get(name, name): scale for name, scale in known.items()}


def _compared(nodes: Sequence[Node]) -> list[Node]:
    """An ArgMax of a Softmax compares what that reads: the largest element lies in the same place."""
    logits = {node.output: node.inputs for node in nodes if isinstance(node.op, Softmax)}
    return [
        replace(node, inputs=logits.get(node.inputs[0], node.inputs)) if isinstance(node.op, ArgMax) else node
        for node in nodes
    ]


def _live(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Nodes that some output needs."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def misplaced(nodes: Sequence[Node]) -> list[Problem]:
    """Indices that a layer computes with."""
    nodes = _compared(nodes)
    graph = Graph("", (), (), tuple(nodes), {})
    found = {}
    for node in nodes:
        for source in () if moves(node.op) else node.inputs:
            made = maker(graph, source)
            if made is not None and isinstance(made.op, ArgMax):
                text = "an argmax inside the network"
                found[made.name] = Problem(made.name, text, "argmax as the last op only")
    return list(found.values())
