# SPDX-License-Identifier: Apache-2.0
"""Nodes of a reference that quantises activations by scales of each run, without that: the weights stay.

With x = s (q - z), a sum of (q - z) (w - w_z) times s c is the real sum of x (w - w_z) times c. Each tensor
is followed from the quantiser on; one that is read in another way is rejected.
"""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from .files import need

_REAL = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}


def static(graph: Any) -> list[Any]:
    """The nodes with real ones in the place of dynamic ones."""
    found: list[Any] = []
    whole: dict[str, tuple[str, str, str]] = {}  # q -> x, s, z
    zeros: set[str] = set()
    units: dict[str, tuple[str, str]] = {}  # a scale of a run, times what
    sums: dict[str, str] = {}  # sums of integers -> the scale of a run that makes them real
    for node in graph.node:
        ours = [i for i in node.input if i in whole or i in zeros or i in units or i in sums]
        need(node.output, f"{node.name or node.op_type}: no outputs")
        out = node.output[0]
        if node.op_type == "DynamicQuantizeLinear":
            need(len(node.output) == 3 and not ours, f"{node.name}: a dynamic quantiser")
            whole[out] = node.input[0], node.output[1], node.output[2]
            units[node.output[1]] = node.output[1], ""
            zeros.add(node.output[2])
        elif not ours:
            found.append(node)
        elif node.op_type in _REAL:
            x, scale, zero = whole.get(node.input[0], ("", "", ""))
            need(ours == [node.input[0], zero] and zero == [*node.input, ""][2], f"{node.name}: factors")
            found += _product(node, x)
            sums[out] = scale
        elif node.op_type == "Cast":
            to = [a.i for a in node.attribute if a.name == "to"]
            need(ours[0] in sums and to in ([1], [11]), f"{node.name}: a cast of dynamic integers")
            found.append(helper.make_node("Identity", ours, [out], name=node.name))
            sums[out] = sums[ours[0]]
        else:
            two = node.op_type == "Mul" and len(node.input) == 2
            need(two, f"{node.name}: {node.op_type} of what a run decides")
            terms = [i for i in node.input if i in sums]
            scales = [i for i in node.input if i in units]
            if not terms:
                need(len(scales) == 1 and not units[scales[0]][1], f"{node.name}: a product of scales")
                (other,) = (i for i in node.input if i not in units)
                units[out] = units[scales[0]][0], other
                continue
            need(len(terms) == len(scales) == 1, f"{node.name}: a factor of a dynamic sum")
            scale, factor = units[scales[0]]
            need(scale == sums[terms[0]], f"{node.name}: the scale of another tensor")
            rest = [terms[0], factor] if factor else terms
            found.append(helper.make_node("Mul" if factor else "Identity", rest, [out], name=node.name))
    given = {entry.name for entry in graph.output}
    need(not given & {*whole, *zeros, *units, *sums}, "float.onnx: a run's integers or scales as an output")
    return found


def _product(node: Any, x: str) -> list[Any]:
    out = node.output[0]
    one, weights = f"{out}.one", f"{out}.w"
    real = helper.make_node(_REAL[node.op_type], [x, weights], [out], name=node.name)
    real.attribute.extend(node.attribute)
    axis = 0 if node.op_type == "ConvInteger" else -1
    inputs = [n for n in (node.input[1], one, *node.input[3:4]) if n]
    return [
        helper.make_node("Constant", [], [one], value=helper.make_tensor(one, TensorProto.FLOAT, [], [1.0])),
        helper.make_node("DequantizeLinear", inputs, [weights], axis=axis),
        real,
    ]
