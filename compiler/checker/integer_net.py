# SPDX-License-Identifier: Apache-2.0
"""Reads network.json and network.npz, and checks that the integer network is what it says: scales of sums,
zero points, multipliers, ranges, accumulators in their words."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np

from .curves import FIRST, read_curve
from .files import integer, integers, mapping, need, rational, sequence, shape_of, text, texts
from .layers import FINAL, Layer, Meaning, Network, check_final, output_shape
from .rounding import AVERAGE, MEAN, NEAR, Ints, is_mean
from .shares import check_law
from .spans import SUMS, spans

FORMAT = "tinybound-network-1"
KEEPS = ("Concat", "MaxPool", "Reshape", "Take", "Transpose")
CODES = ("int8", "int4", "pot4", "pool64", "int16")
MODES = ("half-even", "tflite-single", "tflite-double", AVERAGE, MEAN)
# Per op: scalar fields with their limits, tuple fields with their lengths, arrays.
_HALF, _PAIR = (-(1 << 15), (1 << 15) - 1), {"strides": 2, "dilations": 2}
_FIELDS: dict[str, tuple[dict[str, tuple[int, int]], dict[str, int | None], set[str]]] = {
    "Conv": (
        {"zero": _HALF, "bits": (2, 8), "groups": (1, 1 << 24)},
        {**_PAIR, "pads": 4, "size": 3},
        {"weights", "bias"},
    ),
    "Dense": ({"zero": _HALF, "bits": (2, 8)}, {}, {"weights", "bias"}),
    "Add": (
        {"za": _HALF, "zb": _HALF, "ma": (1, (1 << 31) - 1), "mb": (1 - (1 << 31), (1 << 31) - 1)},
        {},
        set(),
    ),
    "MatMul": ({"za": _HALF, "zb": _HALF, "factor": (1, 1)}, {"extents": 4}, set()),
    "Mul": ({"za": _HALF, "zb": _HALF}, {}, set()),
    "AveragePool": ({"zero": _HALF}, {"kernel": 2, **_PAIR, "pads": 4, "size": 3}, set()),
    "MaxPool": ({}, {"kernel": 2, **_PAIR, "pads": 4, "size": 3}, set()),
    "Requantise": (
        {"zero_in": _HALF, "zero": _HALF, "lo": _HALF, "hi": _HALF},
        {},
        {"multiplier", "shift"},
    ),
    "Reshape": ({}, {"target": None}, set()),
    "Concat": ({"axis": (0, 8)}, {}, set()),
    "Take": ({"pad": _HALF}, {"size": None}, {"positions"}),
    "Transpose": ({}, {"size": None, "perm": None}, set()),
    "Table": ({"first": (-128, -128)}, {}, {"entries"}),
    "Curve": ({"bits": (5, 8), "parity": (0, 1), "lo": _HALF, "hi": _HALF}, {}, {"knots", "bends", "knees"}),
    "Softmax": ({"bits": (0, 24), "extra": (0, (1 << 24) - 1), "zero": _HALF, "top": _HALF}, {}, {"table"}),
    "ArgMax": ({"last": (0, 1), "offset": (-128, 0)}, {}, set()),
}


def read_network(data: dict[str, Any], arrays: dict[str, Ints], bits: int | None) -> Network:
    """The integer network as it runs at `bits` activation bits (None: it has no such layers), checked."""
    mapping(data, "network.json", {"format", "name", "inputs", "outputs", "values", "nodes"})
    need(data["format"] == FORMAT, f"network.json: format {data['format']!r}")
    text(data["name"], "network.json: name")
    meanings, shapes = {}, {}
    for entry in sequence(data["values"], "values"):
        name = text(mapping(entry, "value", {"name", "shape", "scale", "zero", "range"})["name"], "value")
        need(name not in shapes, f"{name}: two values of this name")
        scales = tuple(rational(s, name) for s in sequence(entry["scale"], name))
        low, high = integers(entry["range"], name, -(1 << 62), 1 << 62, 2)
        need(scales and all(Fraction(1, 1 << 200) < s < 1 << 200 for s in scales), f"{name}: scales")
        meanings[name] = Meaning(scales, integer(entry["zero"], name, *_HALF), low, high)
        shapes[name] = shape_of(entry["shape"], name)
    layers = [_layer(entry, arrays) for entry in sequence(data["nodes"], "nodes")]
    held = {f"{layer.name}.{key}" for layer in layers for key in _FIELDS[layer.op][2]}
    need(held == set(arrays), "network.npz: other arrays than network.json names")
    ends = texts(data["inputs"], "inputs"), texts(data["outputs"], "outputs")
    net = Network(*ends, layers, shapes, meanings)
    pooled = [layer for layer in layers if layer.code == "pool64"]
    need((bits is not None) == bool(pooled), f"bits {bits} for a network with {len(pooled)} pool layers")
    _check_structure(net)
    for layer in layers:
        if layer.op in (*SUMS, *FINAL, "Concat", "Curve", "Requantise", "Table", "Take"):
            _check_numbers(net, layer)
    _check_ranges(net)  # at 8 bits, as the file describes it
    for layer in pooled:
        layer.fields["bits"] = bits
    net.hulls = {name: (int(low.min()), int(high.max())) for name, (low, high) in spans(net).items()}
    return net


def _layer(entry: Any, arrays: dict[str, Ints]) -> Layer:
    keys = {"name", "op", "inputs", "output", "origin", "code", "fields", "arrays"}
    name = text(mapping(entry, "node", keys)["name"], "node")
    op = text(entry["op"], name)
    need(op in _FIELDS, f"{name}: op {op!r}")
    scalars, tuples, named = _FIELDS[op]
    more = {"AveragePool": {"total"}, "Requantise": {"mode"}}.get(op, set())
    found = mapping(entry["fields"], name, set(scalars) | set(tuples) | more)
    need(sorted(named) == entry["arrays"], f"{name}: arrays {entry['arrays']}")
    need(op != "AveragePool" or found["total"] is True, f"{name}: an average that is no total")
    fields: dict[str, Any] = {k: integer(found[k], f"{name}.{k}", *ends) for k, ends in scalars.items()}
    fields.update({k: integers(found[k], f"{name}.{k}", 0, 1 << 24, n) for k, n in tuples.items()})
    for key in named:
        need(f"{name}.{key}" in arrays, f"network.npz: no {name}.{key}")
        fields[key] = arrays[f"{name}.{key}"]
    if op == "Requantise":
        fields["mode"] = text(found["mode"], f"{name}.mode")
        need(fields["mode"] in MODES, f"{name}: mode {fields['mode']!r}")
        mean = fields["mode"] == AVERAGE
        need(not mean or is_mean(fields["multiplier"], fields["shift"]), f"{name}: no mean of integers")
        need(
            fields["mode"] != MEAN or int(fields["shift"].min()) > NEAR, f"{name}: a mean with a short shift"
        )
    if op in ("Conv", "Dense"):
        need(fields["bits"] == 8, f"{name}: bits {fields['bits']} in the file")
    code, origin = text(entry["code"], name), text(entry["origin"], name)
    need(code in (CODES if op in ("Conv", "Dense") else ("",)), f"{name}: code {code!r}")
    return Layer(name, op, texts(entry["inputs"], name), text(entry["output"], name), fields, origin, code)


def _check_structure(net: Network) -> None:
    """Topological order, one producer per value, shapes, one Requantise behind every sum."""
    need(net.inputs and net.outputs, "network.json: no inputs or no outputs")
    need(
        len(set(net.inputs)) == len(net.inputs) and len(set(net.outputs)) == len(net.outputs), "a name twice"
    )
    need(len({layer.name for layer in net.layers}) == len(net.layers), "two nodes of one name")
    known, by_output = set(net.inputs), {layer.output: layer for layer in net.layers}
    need(known <= set(net.shapes), "an input that is no value")
    readers = Counter(name for layer in net.layers for name in layer.inputs)
    for layer in net.layers:
        need(set(layer.inputs) <= known, f"{layer.name}: reads what is not yet computed")
        if layer.op in KEEPS:
            kept = {(m.scales, m.zero) for m in (net.meanings[n] for n in (*layer.inputs, layer.output))}
            need(len(kept) == 1, f"{layer.name}: moves integers to another scale or zero point")
        need(layer.output not in known and layer.output in net.shapes, f"{layer.name}: its output")
        known.add(layer.output)
        shape = output_shape(layer, [net.shapes[name] for name in layer.inputs])
        need(shape == net.shapes[layer.output], f"{layer.name}: shape {shape} is not what its value says")
        for name in layer.inputs:
            summed = name in by_output and by_output[name].op in SUMS
            need(
                not summed or (layer.op == "Requantise" and readers[name] == 1), f"{layer.name}: reads a sum"
            )
            need(summed or len(net.meanings[name].scales) == 1, f"{name}: several scales")
    check_final(net)
    need(known == set(net.shapes), "a value that is not computed")
    need(set(net.outputs) <= known, "an output that is not computed")
    need(not any(by_output[n].op in SUMS for n in net.outputs if n in by_output), "a sum as output")


def _check_numbers(net: Network, layer: Layer) -> None:
    """Scales, zero points and sizes of words of one layer."""
    f, name, out = layer.fields, layer.name, net.meanings[layer.output]
    ins = [net.meanings[n] for n in layer.inputs]
    if layer.op in ("Add", "MatMul", "Mul"):
        need((f["za"], f["zb"]) == (ins[0].zero, ins[1].zero), f"{name}: zero points")
        _check_products(layer, ins, out)
    elif layer.op == "Concat":
        same = all((m.scales, m.zero) == (out.scales, out.zero) for m in ins)
        need(same, f"{name}: inputs of other scales or zero points")
    elif layer.op in SUMS:
        need(f["zero"] == ins[0].zero, f"{name}: zero point")
    if layer.op in SUMS:
        need(out.zero == 0, f"{name}: a sum with a zero point")
        need(len(out.scales) in (1, net.shapes[layer.output][0]), f"{name}: {len(out.scales)} scales")
    else:
        need(len(out.scales) == 1, f"{name}: several scales")
    if layer.op in ("Conv", "Dense"):
        w = f["weights"]
        most = 1 << (15 if layer.code == "int16" else 7)
        need(w.min() >= -most and w.max() < most, f"{name}: weights beyond {layer.code}")
        _check_code(layer, _is_byte(ins[0]))
        mass = np.abs(w.reshape(len(w), -1)).sum(axis=1)
        term, bits = (384, 32) if _is_byte(ins[0]) else (abs(ins[0].zero) + (1 << 15), 46)
        need(np.abs(f["bias"]).max() < 1 << (bits - 1), f"{name}: bias beyond {bits} bits")
        most = (np.abs(f["bias"]) + term * mass).max()  # zero points folded into the bias: |x| <= term
        need(most < 1 << (bits - 1), f"{name}: the accumulator can leave {bits} bits")
    elif layer.op == "Requantise":
        m, s = f["multiplier"], f["shift"]
        need(m.ndim == 1 and m.shape == s.shape, f"{name}: multipliers")
        need(len(m) in (1, net.shapes[layer.output][0]), f"{name}: {len(m)} multipliers")
        need(
            m.min() > 0 and m.max() < 1 << 31 and s.min() >= 0 and s.max() <= 62,
            f"{name}: multiplier or shift",
        )
        need(f["lo"] <= f["hi"], f"{name}: lo above hi")
        need(f["zero"] == out.zero and f["zero_in"] == ins[0].zero, f"{name}: zero points")
        reach = max(abs(ins[0].low - f["zero_in"]), abs(ins[0].high - f["zero_in"]))
        need(
            all(reach * int(a) + (1 << int(b) >> 1) < 1 << 63 for a, b in zip(m, s, strict=True)),
            f"{name}: wide",
        )
        maker = next((x for x in net.layers if x.output == layer.inputs[0]), None)
        if maker is not None and maker.op in SUMS:
            exact = tuple(out.scales[0] * int(a) / (1 << int(b)) for a, b in zip(m, s, strict=True))
            need(exact == ins[0].scales, f"{layer.inputs[0]}: scale is not S_out * m / 2^s")
    elif layer.op == "Table":
        entries = f["entries"]
        fit = _HALF[0] <= entries.min() <= entries.max() <= _HALF[1]
        need(entries.shape == (256,) and fit and _is_byte(ins[0]), f"{name}: entries")
    elif layer.op == "ArgMax":
        wide = net.shapes[layer.inputs[0]][-1] > 128
        fit = f["offset"] == out.zero == (-128 if wide else 0)
        need(fit and out.scales[0] == Fraction(1), f"{name}: offset, scale or zero point of an index")
    elif layer.op == "Curve":
        f |= {"entries": read_curve(layer, out), "first": FIRST}
    elif layer.op == "Softmax":
        check_law(layer, ins[0], out, byte=_is_byte(ins[0]))


def _check_products(layer: Layer, ins: list[Meaning], out: Meaning) -> None:
    """Sums of products have one scale; before the sum itself come sums in which a zero point is left out."""
    if layer.op == "MatMul":
        sizes = [8 if _is_byte(x) else 16 for x in ins]
        most = (1 << sum(sizes)) * layer.fields["extents"][-1]
        need(
            most <= 1 << (31 if max(sizes) == 8 else 45), f"{layer.name}: the accumulator can leave its bits"
        )
        need(len(out.scales) == 1, f"{layer.name}: several scales")


def _is_byte(meaning: Meaning) -> bool:
    """Whether 8 bits hold all integers, and the zero point, which padding reads."""
    return -128 <= min(meaning.low, meaning.zero) <= max(meaning.high, meaning.zero) <= 127


def _check_code(layer: Layer, byte: bool) -> None:
    w = layer.fields["weights"]
    if layer.code == "int4":
        need(w.min() >= -8 and w.max() <= 7, f"{layer.name}: weights beyond int4")
    if layer.code == "pot4":
        need(np.isin(np.abs(w), [0, 1, 2, 4, 8, 16, 32, 64]).all(), f"{layer.name}: not powers of two")
    if layer.code == "pool64":
        need(
            w.shape[1] >= 8 and layer.fields.get("groups", 1) == 1 and byte,
            f"{layer.name}: too few channels for a pool, or too many bits",
        )


def _check_ranges(net: Network) -> None:
    """Declared ranges equal derived ones; inputs are int8 or int16."""
    for name in net.inputs:
        ends = net.meanings[name].low, net.meanings[name].high
        need(ends in ((-128, 127), _HALF), f"{name}: input range")
        need(len(net.meanings[name].scales) == 1, f"{name}: several scales")
    for name, (low, high) in spans(net).items():
        found = (int(low.min()), int(high.max()))
        said = (net.meanings[name].low, net.meanings[name].high)
        need(found == said, f"{name}: range {said}, derived {found}")


def rule(net: Network) -> str:
    """What every Requantise rounds by, as a certificate says it; to even behind sums without weights."""
    makers = {layer.output: layer.op for layer in net.layers}
    modes: dict[bool, set[str]] = {True: set(), False: set()}
    for layer in net.layers:
        if layer.op == "Requantise":
            maker = makers.get(layer.inputs[0])
            average = maker == "AveragePool" and layer.fields["mode"] in (AVERAGE, MEAN)
            if not average:
                modes[maker in SUMS and maker not in ("Conv", "Dense")].add(layer.fields["mode"])
    need(modes[True] <= {"half-even"}, "a mode behind a sum without weights")
    need(len(modes[False]) <= 1, f"several modes: {sorted(modes[False])}")
    mode = "".join(modes[False])
    return mode if mode.startswith("tflite") else "onnx"
