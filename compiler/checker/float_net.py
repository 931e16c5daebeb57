# SPDX-License-Identifier: Apache-2.0
"""The reference in normal form: affine factors folded into weights, one activation behind every sum, the
quantisers of a QDQ file taken out (and the Relu put back that a quantiser had swallowed)."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np

from .files import need
from .functions import NAMES
from .layers import Layer, Network, Shape, check_final, fresh, result_shape
from .onnx_file import Reader, Scaled
from .onnx_ops import exact
from .parted import part

SUMS = ("Conv", "Dense", "Add", "MatMul", "Mul", "AveragePool")
KEEPS = ("MaxPool", "Reshape", "Take", "Transpose")
MOST = float(1 << 500)  # what is multiplied by it overflows every float32
FREE = {"lo": -np.inf, "hi": np.inf}


def read_float(data: bytes) -> Network:
    """The float network of an ONNX file, layers in the order of the file."""
    reader = Reader(data)
    net, known = _outputs(reader)
    logits = {layer.output: layer.inputs for layer in net.layers if layer.op == "Softmax"}
    for layer in net.layers:
        if layer.op == "ArgMax":  # a softmax changes no order
            layer.inputs = logits.get(layer.inputs[0], layer.inputs)
    _live(net)
    _fold(net, known)
    _activate(net, known)
    shapes = {name: net.shapes[name] for name in net.inputs}
    for layer in net.layers:
        layer.fields.pop("index", None)
        shapes[layer.output] = result_shape(layer, [shapes[name] for name in layer.inputs])
    net.shapes = shapes
    check_final(net)
    return net


def _outputs(reader: Reader) -> tuple[Network, dict[str, Scaled]]:
    """Give values the names of the outputs they are; an output that shares its value gets a copy."""
    net, alias, known = reader.net, reader.alias, reader.known
    part(net, reader.reads.parted, {*net.inputs, *known})
    need(all(name in alias for name in net.outputs), "float.onnx: an output that is not computed")
    need(len(set(net.outputs)) == len(net.outputs), "float.onnx: two outputs of one name")
    computed = {layer.output for layer in net.layers}
    owner: dict[str, str] = {}
    for name in sorted(net.outputs, key=lambda name: alias[name] != name):
        owner.setdefault(alias[name], name)
    renamed: dict[str, str] = {}
    for name in net.outputs:
        value = alias[name]
        if value == name and name in net.inputs:
            continue  # an input that is an output as well
        if owner[value] != name or value not in computed:
            layer = Layer(
                fresh(f"{name}.copy", {x.name for x in net.layers}), "Clip", (value,), name, dict(FREE)
            )
            net.layers.append(layer)
            net.shapes[name] = net.shapes[value]
            if value in known:
                known[name] = known[value]
        elif value != name:
            renamed[value] = name
            net.shapes[name] = net.shapes[value]
    for layer in net.layers:
        layer.inputs = tuple(renamed.get(i, i) for i in layer.inputs)
        layer.output = renamed.get(layer.output, layer.output)
    need(
        len({x.output for x in net.layers} | set(net.inputs)) == len(net.layers) + len(net.inputs),
        "a name twice",
    )
    return net, {renamed.get(name, name): scale for name, scale in known.items()}


def _live(net: Network) -> None:
    """Drop layers that no output needs."""
    needed, kept = set(net.outputs), []
    for layer in reversed(net.layers):
        if layer.output in needed:
            needed.update(layer.inputs)
            kept.append(layer)
    net.layers[:] = kept[::-1]


class Line:
    """factor x + offset per channel, exactly. `size`: magnitudes of what the offset is the sum of; `extra`:
    roundings of a float32 evaluation; `gain`: by how much its parts are larger or smaller than the result."""

    def __init__(
        self, factor: list[Fraction], offset: list[Fraction], size: list[Fraction], extra: int
    ) -> None:
        self.factor, self.offset, self.size, self.extra = factor, offset, size, extra
        far = [max(abs(f), 1 / abs(f)) if f else Fraction(MOST) for f in factor]
        self.gain = np.array([float(min(f, Fraction(MOST))) for f in far])

    def then(self, other: Line) -> Line:
        """This line, then the other one."""
        triples = list(zip(other.factor, self.offset, other.offset, strict=True))
        found = Line(
            [a * b for a, b in zip(self.factor, other.factor, strict=True)],
            [f * a + b for f, a, b in triples],
            [abs(f) * a + b for f, a, b in zip(other.factor, self.size, other.size, strict=True)],
            self.extra + other.extra,
        )
        found.gain = np.minimum(self.gain * other.gain, MOST)
        return found


def _readers(net: Network, name: str) -> list[Layer]:
    return [layer for layer in net.layers if name in layer.inputs]


def _fold(net: Network, known: dict[str, Scaled]) -> None:
    """Factors and offsets go into the layer before, in exact arithmetic; every parameter is rounded once. Not
    into what the file quantises."""
    kept: list[Layer] = []
    waiting: dict[int, Line] = {}
    for layer in net.layers:
        if layer.op != "ChannelAffine":
            kept.append(layer)
            continue
        source = layer.inputs[0]
        before = next((x for x in kept if x.output == source), None)
        alone = len(_readers(net, source)) == 1 and source not in {*net.outputs, *known}
        if before is None or not alone or before.op not in ("Conv", "Dense"):
            before = _alone(layer, net.shapes[source])
            kept.append(before)
        else:
            before.output = layer.output
        new = Line(*(layer.fields[key] for key in ("factor", "offset", "size", "extra")))
        old = waiting.get(id(before))
        waiting[id(before)] = new if old is None else old.then(new)
    for layer in kept:
        if id(layer) in waiting:
            _scale(layer, waiting[id(layer)])
    net.layers[:] = kept
    _on_maps(net, known)


def _alone(layer: Layer, shape: Shape) -> Layer:
    """Factors that follow no weights: a depthwise 1 x 1 Conv; of a vector on a map of one place."""
    need(len(shape) in (1, 3), f"{layer.name}: a factor per channel on shape {shape}")
    n, size = shape[0], (*shape, 1, 1)[:3]
    fields: dict[str, Any] = {"size": size, "strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    fields |= {"weights": np.ones((n, 1, 1, 1)), "bias": np.zeros(n), "groups": n}
    return Layer(layer.name, "Conv", layer.inputs, layer.output, fields)


def _on_maps(net: Network, known: dict[str, Scaled]) -> None:
    """Factors of a vector read a map of one place, and the vector comes back behind them, or behind the
    activation that is all that follows."""
    names, taken = {x.name for x in net.layers}, {*net.inputs, *(x.output for x in net.layers)}
    found: list[Layer] = []
    ends: dict[int, tuple[str, int]] = {}  # the last layer on a map -> the Reshape behind it

    def reshape(name: str, source: str, out: str, target: Shape) -> None:
        found.append(Layer(fresh(name, names), "Reshape", (source,), out, {"target": target}))
        names.add(found[-1].name)
        taken.add(out)

    for layer in net.layers:
        source, out = layer.inputs[0], layer.output
        if layer.op == "Conv" and len(net.shapes[source]) == 1:
            n, seen, readers = layer.fields["groups"], fresh(f"{out}.in", taken), _readers(net, out)
            reshape(f"{layer.name}.map", source, seen, (n, 1, 1))
            layer.inputs = (seen,)
            activated = len(readers) == 1 and readers[0].op == "Clip" and out not in {*net.outputs, *known}
            ends[id(readers[0] if activated else layer)] = f"{layer.name}.line", n
        found.append(layer)
        if id(layer) in ends:
            name, n = ends[id(layer)]
            layer.output = fresh(f"{out}.map", taken)
            taken.add(layer.output)
            reshape(name, layer.output, out, (n,))
    net.layers[:] = found


def _scale(layer: Layer, line: Line) -> None:
    """weights, bias -> factor * weights, factor * bias + offset, each rounded once."""
    f, factor, offset = layer.fields, line.factor, line.offset
    rows = f["weights"].reshape(len(factor), -1)
    out = [[float(a * w) for w in exact(row)] if a != 1 else row for a, row in zip(factor, rows, strict=True)]
    bias = exact(f["bias"])
    f["weights"] = np.array(out).reshape(f["weights"].shape)
    f["bias"] = np.array([float(a * b + o) for a, b, o in zip(factor, bias, offset, strict=True)])
    size = np.array([float(abs(a * b) + s) for a, b, s in zip(factor, bias, line.size, strict=True)])
    f["folded"] = line.extra, size, line.gain


def _join(net: Network, layer: Layer, ready: set[str], values: set[str], names: set[str]) -> None:
    """A Concat, with activations of its inputs in front where those are not `ready` to take its scale."""
    reads = []
    for value in layer.inputs:
        reads.append(value if value in ready else fresh(f"{layer.output}.in", values))
        if value not in ready:
            values.add(reads[-1])
            name = fresh(f"{layer.name}.in", names)
            names.add(name)
            net.layers.append(Layer(name, "Clip", (value,), reads[-1], dict(FREE)))
    layer.inputs = tuple(reads)
    net.layers.append(layer)


def _activate(net: Network, known: dict[str, Scaled]) -> None:
    """One Clip behind every sum, and one where an op that keeps integers would have to change their scale."""
    for layer in reversed(net.layers):
        source = layer.inputs[0]
        alone = len(_readers(net, source)) == 1 and source not in net.outputs
        if layer.op in KEEPS and layer.output in known and source not in known and alone:
            known[source] = known[layer.output]
    for layer in net.layers:
        if layer.op in KEEPS and layer.inputs[0] in known:
            known.setdefault(layer.output, known[layer.inputs[0]])
    values = {*net.inputs, *(layer.output for layer in net.layers)}
    names, found = {layer.name for layer in net.layers}, list(net.layers)
    choosers = (*SUMS, "Clip", "Concat", *NAMES)  # nothing else decides their scale
    chosen = {x.output for x in found if x.op in choosers}
    reads = Counter(name for x in found for name in x.inputs)  # before joins read activations instead
    net.layers[:] = []
    for layer in found:
        readers = [x for x in found if layer.output in x.inputs]
        if layer.op == "Concat":
            single = {n for n in layer.inputs if reads[n] == 1}
            single -= {n for n in layer.inputs if known.get(n) not in (None, known.get(layer.output))}
            _join(net, layer, single & chosen - set(net.outputs), values, names)
            continue
        if layer.op in SUMS:
            fused = len(readers) == 1 and readers[0].op == "Clip"
            extra = not fused or layer.output in known or layer.output in net.outputs
        else:
            before, after = known.get(layer.inputs[0]), known.get(layer.output)
            extra = layer.op in KEEPS and after not in (None, before)
        net.layers.append(layer)
        if not extra:
            continue
        outer, inner = layer.output, fresh(f"{layer.output}.{'sum' if layer.op in SUMS else 'in'}", values)
        name = fresh(f"{layer.name}.activation", names)
        values.add(inner)
        names.add(name)
        swallowed = layer.op in SUMS and outer in known and known[outer][1] == known[outer][2]
        layer.output = inner
        net.layers.append(
            Layer(name, "Clip", (inner,), outer, {"lo": 0.0 if swallowed else -np.inf, "hi": np.inf})
        )
