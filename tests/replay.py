# SPDX-License-Identifier: Apache-2.0
"""A quantised model cut at its integer tensors: ONNX Runtime computes each layer from golden's own inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
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
from tinybound.ops import Add, AveragePool, Conv, Dense, MatMul, Requantise, Softmax
from tinybound.options import Options
from tinybound.pipeline import _quantise


@dataclass
class Seen:
    """Elements of one value: differing, compared, largest difference in steps, and farthest from a tie.

    inexact: of those that differ, where ours is not what ONNX says of the exact numbers (unknown: all).
    """

    differing: int = 0
    compared: int = 0
    worst: float = 0.0
    from_tie: float = 0.0
    inexact: int = 0

    def add(
        self, gap: NDArray[Any], distance: NDArray[Any] | None, right: NDArray[Any] | None = None
    ) -> None:
        """More elements; `distance` is how far each exact result was from a rounding tie, in steps; `right`:
        where ours is the exact result."""
        self.differing += int((gap > 0).sum())
        self.inexact += int(((gap > 0) & ~(np.zeros(gap.shape, bool) if right is None else right)).sum())
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


def is_exact(
    real: Graph, graph: Graph, values: dict[str, Any], name: str, among: NDArray[Any]
) -> NDArray[np.bool_]:
    """Where, of the elements `among`, a value is rhe(real value / scale) + zero, saturated, in fractions:
    QuantizeLinear on exact arithmetic, from the file's scales. The multiplier that ships is not asked."""
    right = np.zeros(values[name].shape, bool)
    node = graph.producer(name)
    maker = None if node is None else graph.producer(node.inputs[0])
    if node is None or not isinstance(node.op, Requantise) or maker is None:
        return right
    scales = [graph.values[n].quant.scale[0] for n in maker.inputs]
    quant = graph.values[name].quant
    for at in map(tuple, np.argwhere(among)):
        if isinstance(maker.op, Add):
            signs = 1, 1 if maker.op.mb > 0 else -1
            terms = [int(values[n][at]) - graph.values[n].quant.zero for n in maker.inputs]
            exact = sum(sign * t * scale for sign, t, scale in zip(signs, terms, scales, strict=True))
        else:
            unit = prod(scales)
            if isinstance(maker.op, AveragePool):
                unit /= prod(maker.op.kernel)
            elif isinstance(maker.op, MatMul):
                unit *= Fraction(real.node(maker.origin).op.factor)
            elif isinstance(maker.op, (Conv, Dense)):
                ours = maker.op.weights[at[0]].ravel()
                theirs = real.node(maker.origin).op.weights[at[0]].ravel()
                most = int(np.abs(ours).argmax())
                unit *= Fraction(float(theirs[most])) / int(ours[most])
            exact = int(values[maker.output][at]) * unit
        q = round(Fraction(exact) / quant.scale[0]) + quant.zero
        right[at] = min(max(q, node.op.lo), node.op.hi) == values[name][at]
    return right


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


Look = Callable[[Graph, Graph, dict[str, Any], str, NDArray[np.int64]], None]


def replay(path: Path, x: Any, *, optimise: bool, look: Look | None = None) -> tuple[dict[str, Seen], Graph]:
    """Per quantised value of the file: golden against ONNX Runtime, over samples (n, *shape) of the input.
    look(float graph, integer graph, golden's values, name, ONNX Runtime's) sees each."""
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
            if look is not None:
                look(imported.graph, whole, values, value, theirs)
            node, gap = whole.producer(value), np.abs(theirs - values[value])
            if node is not None and isinstance(node.op, Softmax):  # by tables: no tie of an exact real number
                result[value].add(gap, None)
            else:
                right = is_exact(imported.graph, whole, values, value, gap > 0)
                result[value].add(gap, distance_from_tie(whole, values, value), right)
    return result, whole
