# SPDX-License-Identifier: Apache-2.0
"""A quantised model cut at its integer tensors: ONNX Runtime computes each layer from golden's own inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.helper import tensor_dtype_to_np_dtype as numpy_type
from onnx_nets import session

from tinybound.domains.exact import run
from tinybound.frontends import Imported, load_onnx
from tinybound.frontends.load import _Walk
from tinybound.frontends.qdq import taken_off
from tinybound.graph import Graph
from tinybound.ops import Requantise, Softmax
from tinybound.options import Options
from tinybound.pipeline import _quantise


@dataclass
class Seen:
    """Elements of one value: differing, compared, largest difference in steps, and farthest from a tie."""

    differing: int = 0
    compared: int = 0
    worst: float = 0.0
    from_tie: float = 0.0

    def add(self, gap: NDArray[Any], distance: NDArray[Any] | None) -> None:
        """More elements; `distance` is how far each exact result was from a rounding tie, in steps."""
        self.differing += int((gap > 0).sum())
        self.compared += gap.size
        self.worst = max(self.worst, float(gap.max()))
        if distance is not None and (gap > 0).any():
            self.from_tie = max(self.from_tie, float(distance[gap > 0].max()))


def integer_graph(path: Path) -> tuple[Imported, Graph]:
    """Imported and lowered; values that the file does not quantise are calibrated on its input range."""
    imported = load_onnx(path)
    assert imported.quantised
    rng, options = np.random.default_rng(0), Options()
    x = {
        name: rng.uniform(*real_range(imported, name), (20, *imported.graph.values[name].shape))
        for name in imported.graph.inputs
    }
    return imported, _quantise(imported, options, x, None)


def real_range(imported: Imported, name: str) -> tuple[float, float]:
    """What an input's integers can represent."""
    scaled = imported.activations.get(name)
    return (-1.0, 1.0) if scaled is None else scaled.whole.reals


def distance_from_tie(graph: Graph, values: dict[str, Any], name: str) -> NDArray[np.float64] | None:
    """|fraction of acc * m / 2^s - 1/2| of each element; None for a value that is not requantised."""
    node = graph.producer(name)
    if node is None or not isinstance(node.op, Requantise):
        return None
    each = (-1, *(1,) * (values[name].ndim - 1))
    shift = node.op.shift.reshape(each)
    product = (values[node.inputs[0]] - node.op.zero_in) * node.op.multiplier.reshape(each)
    rest = product - ((product >> shift) << shift)
    return np.abs(rest / 2.0**shift - 0.5)


Names = dict[str, tuple[str, int, tuple[int, ...]]]


def quantised_values(path: Path, graph: Graph) -> Names:
    """Integer tensor of the file -> (value of the graph, ONNX type, shape), by the front end's marks."""
    model = onnx.load(str(path))
    walk = _Walk(model, path)
    for node in model.graph.node:
        walk.take(node)
    renamed = {walk.alias[o.name]: o.name for o in model.graph.output}
    made = {t for node in model.graph.node for t in node.output}
    found = {}
    for tensor, mark in walk.quantised.marks.items():
        value = walk.alias[tensor]
        value = value if value in graph.values else renamed.get(value, value)
        if tensor in made and value in graph.values:
            view = walk.views.get(tensor)
            shape = graph.values[value].shape if view is None else view.shape
            found[tensor] = (value, helper.np_dtype_to_tensor_dtype(np.dtype(mark.kind)), shape)
    return found


def cut(model: onnx.ModelProto, names: Names) -> onnx.ModelProto:
    """Every quantised tensor becomes an output; those who read it read an input of the name `.in` instead."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {t.name for t in model.graph.initializer}
    del copy.graph.output[:], copy.graph.input[:], copy.graph.value_info[:]
    copy.graph.input.extend(entry for entry in model.graph.input if entry.name not in constants)
    for tensor, (_, kind, shape) in names.items():
        shape = [1, *shape]
        copy.graph.input.append(helper.make_tensor_value_info(f"{tensor}.in", kind, shape))
        copy.graph.output.append(helper.make_tensor_value_info(tensor, kind, shape))
    for node in copy.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = f"{name}.in" if name in names else name
    return copy


def replay(path: Path, x: Any, *, optimise: bool) -> tuple[dict[str, Seen], Graph]:
    """Per quantised value of the file: golden against ONNX Runtime, over samples x (n, *shape) of the input.

    A softmax has a scale of its own here (1/256, the file's is often 1/255): it is compared as a real number.
    """
    imported, whole = integer_graph(path)
    model = onnx.load(str(path))
    names = quantised_values(path, whole)
    reference = session(cut(model, names), optimise=optimise)
    wanted = {i.name for i in reference.get_inputs()}
    result = {value: Seen() for value, *_ in names.values()}
    (source,) = whole.inputs
    unit = whole.values[source].quant
    for sample in x:
        q = np.rint(sample / np.float32(float(unit.scale[0]))) + unit.zero
        q = np.clip(q, *whole.values[source].ends)
        values = run(whole, {source: q.astype(np.int64)})
        feeds = {source: sample.astype(np.float32)[None]}
        for tensor, (value, kind, shape) in names.items():
            stored = values[value].reshape(shape) + taken_off(numpy_type(kind))
            feeds[f"{tensor}.in"] = stored.astype(numpy_type(kind))[None]
        got = reference.run(list(names), {n: v for n, v in feeds.items() if n in wanted})
        for (value, kind, _), array in zip(names.values(), got, strict=True):
            theirs = array.reshape(values[value].shape).astype(np.int64)
            theirs -= taken_off(numpy_type(kind))
            node = whole.producer(value)
            if node is not None and isinstance(node.op, Softmax):
                file = imported.activations[value]
                ours = whole.values[value].quant
                real = (theirs - file.zero) * float(file.scale) / float(ours.scale[0])
                result[value].add(np.round(np.abs(real - (values[value] - ours.zero)), 2), None)
            else:
                gap = np.abs(theirs - values[value])
                result[value].add(gap, distance_from_tie(whole, values, value))
    return result, whole
