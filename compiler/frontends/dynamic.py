# SPDX-License-Identifier: Apache-2.0
"""Models whose activations get scales in each run (`quantize_dynamic`): only their weights are quantised.

before: q, s, z = DynamicQuantizeLinear(x);  acc = MatMulInteger(q, W, z, w_z);  y = Mul(Cast(acc), Mul(s, c))
after:  acc = MatMul(x, DequantizeLinear(W, 1, w_z));  y = Mul(Identity(acc), c)

So it is a float model with the file's integer weights: its activations get scales from samples, as those of
any float model. What reads q, s or z in another way stays, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx
from onnx import helper

Readers = Mapping[str, Sequence[onnx.NodeProto]]
REAL = {"ConvInteger": ("Conv", 0), "MatMulInteger": ("MatMul", -1)}  # op, axis of scales


def without_dynamic(graph: onnx.GraphProto) -> None:
    """Rewrite the nodes of a graph in place."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    if not all(node.output for node in graph.node):
        return  # such a node is refused for its op
    for node in graph.node:
        for name in {*node.input}:
            readers.setdefault(name, []).append(node)
    new: dict[str, list[onnx.NodeProto]] = {}  # first output of a node -> what stands in its place
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear" and len(node.output) == 3:
            new |= _of_one(node, readers, {entry.name for entry in graph.output})
    nodes = [part for node in graph.node for part in new.get(node.output[0], [node])]
    if new:
        del graph.node[:]
        graph.node.extend(nodes)


def _of_one(
    dynamic: onnx.NodeProto, readers: Readers, outputs: Collection[str]
) -> dict[str, list[onnx.NodeProto]]:
    """What replaces a quantiser and all that reads it; nothing where not all of that is of this form."""
    q, scale, zero = dynamic.output
    new: dict[str, list[onnx.NodeProto]] = {q: []}
    ends, units = list[onnx.NodeProto](), {scale: ""}  # a multiple of the scale -> by what
    sums = {end.output[0] for node in readers.get(q, ()) for end in readers.get(node.output[0], ())}
    for node in readers.get(scale, ()):
        other = _other(node, scale)
        ends_too = (_other(reader, node.output[0]) for reader in readers.get(node.output[0], ()))
        if other not in {"", *sums} and all(ends_too):
            units[node.output[0]], new[node.output[0]] = other, []
    for node in readers.get(q, ()):
        acc, cast = node.output[0], readers.get(node.output[0], [node])[0]
        right = [*node.input[:1], *node.input[2:3]] == [q, zero] and node.op_type in REAL
        if not right or node.input[1] == q or len(readers.get(acc, ())) != 1 or not _to_float(cast):
            return {}
        new[acc] = _real(node, dynamic.input[0])
        new[cast.output[0]] = [helper.make_node("Identity", [acc], list(cast.output), name=cast.name)]
        for end in readers.get(cast.output[0], ()):
            unit = _other(end, cast.output[0])
            if unit not in units:
                return {}
            rest = [cast.output[0], *filter(None, [units[unit]])]
            kind = "Mul" if units[unit] else "Identity"
            new[end.output[0]] = [helper.make_node(kind, rest, list(end.output), name=end.name)]
            ends.append(end)
    seen = [*readers.get(zero, ()), *(node for unit in units for node in readers.get(unit, ()))]
    inside = {*new, *units, zero} - {end.output[0] for end in ends}
    told = all(node.output[0] in new for node in seen) and not inside & {*outputs}
    return new if told else {}


def _other(node: onnx.NodeProto, one: str) -> str:
    """The other factor of a Mul; empty where that is none, or the same tensor."""
    if node.op_type != "Mul" or len(node.input) != 2:
        return ""
    a, b = node.input
    return "" if a == b else b if a == one else a


def _to_float(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i in (1, 11) for a in node.attribute)


def _real(node: onnx.NodeProto, x: str) -> list[onnx.NodeProto]:
    (real, axis), acc = REAL[node.op_type], node.output[0]
    one, weights = f"{acc}.one", f"{acc}.w"
    given = [node.input[1], one, *node.input[3:4]]
    product = helper.make_node(real, [x, weights], [acc], name=node.name)
    product.attribute.extend(node.attribute)
    unit = helper.make_tensor(one, onnx.TensorProto.FLOAT, [], [1.0])
    return [
        helper.make_node("Constant", [], [one], value=unit),
        helper.make_node("DequantizeLinear", [n for n in given if n], [weights], axis=axis),
        product,
    ]
