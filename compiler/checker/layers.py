# SPDX-License-Identifier: Apache-2.0
"""What both readers return: a network as a list of layers in topological order."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from .files import MAX_ELEMENTS, need
from .rounding import Ints

Shape = tuple[int, ...]
FINAL = {"ArgMax": 256, "Softmax": 1 << 14}  # what may end a network; longest rows
MOVES = ("Reshape", "Take", "Transpose")


@dataclass
class Layer:
    """One operation; `fields` holds its parameters, arrays included, by the names of network.json."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    fields: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    code: str = ""


@dataclass(frozen=True)
class Meaning:
    """What an integer tensor stands for: real = scale[channel] * (q - zero); its declared range."""

    scales: tuple[Fraction, ...]
    zero: int
    low: int
    high: int


@dataclass
class Network:
    """Layers with the shapes (no batch axis) of every value; `meanings` and `hulls` for the integer one."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: list[Layer]
    shapes: dict[str, Shape]
    meanings: dict[str, Meaning] = field(default_factory=dict)
    hulls: dict[str, tuple[int, int]] = field(default_factory=dict)  # derived ranges of the integers


def made_by(net: Network, value: str) -> Layer | None:
    """The layer that computes a value, whatever moves it afterwards."""
    makers = {layer.output: layer for layer in net.layers}
    maker = makers.get(value)
    while maker is not None and _moves(maker):
        maker = makers.get(maker.inputs[0])
    return maker


def final(net: Network, value: str) -> Layer | None:
    """The ArgMax or Softmax whose result, moved at most, is this value, and with which no layer computes."""
    maker = made_by(net, value)
    if maker is None or maker.op not in FINAL:
        return None
    moved = {maker.output}
    for layer in net.layers:
        if moved & {*layer.inputs}:
            if not _moves(layer):
                return None
            moved.add(layer.output)
    return maker


def _moves(layer: Layer) -> bool:
    return layer.op in MOVES and bool(np.all(layer.fields.get("positions", 0) >= np.int64(0)))


def check_final(net: Network) -> None:
    """Nothing computes with indices."""
    for layer in net.layers:
        for name in () if _moves(layer) else layer.inputs:
            maker = made_by(net, name)
            need(maker is None or maker.op != "ArgMax", f"{layer.name}: computes with an ArgMax")


def fresh(wanted: str, taken: set[str]) -> str:
    """`wanted`, or the first of wanted_2, wanted_3 ... that is free."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


def window(size: Shape, kernel: Shape, strides: Shape, dilations: Shape, pads: Shape) -> tuple[Ints, Shape]:
    """Flat positions (C, taps, places) that a window reads in (C, H, W), -1 for padding; and (OH, OW)."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    extents = [size[1] + pads[0] + pads[2], size[2] + pads[1] + pads[3]]
    out = tuple((n - span) // s + 1 for n, span, s in zip(extents, spans, strides, strict=True))
    need(min(*out, *strides, *kernel, *dilations) > 0 and min(pads) >= 0, "a window that does not fit")
    need(size[0] * kernel[0] * kernel[1] * out[0] * out[1] <= 8 * MAX_ELEMENTS, "a window that is too large")
    u, v, i, j = np.ix_(*(np.arange(n) for n in (*kernel, *out)))
    row, column = u * dilations[0] + i * strides[0] - pads[0], v * dilations[1] + j * strides[1] - pads[1]
    inside = (row >= 0) & (row < size[1]) & (column >= 0) & (column < size[2])
    plane = np.where(inside, row * size[2] + column, -1).reshape(1, kernel[0] * kernel[1], -1)
    shift = np.arange(size[0]).reshape(-1, 1, 1) * (size[1] * size[2])
    return np.where(plane < 0, -1, plane + shift), out


def terms(extents: Shape) -> tuple[Ints, Ints]:
    """Flat positions (K, G M N) of the factors of every product of a MatMul, in both of its inputs."""
    groups, rows, columns, depth = extents
    a, b = (np.arange(groups * n * depth).reshape(groups, n, depth) for n in (rows, columns))
    pairs = np.broadcast_arrays(a[:, :, None], b[:, None])
    first, second = (part.reshape(-1, depth).T for part in pairs)
    return first, second


def _joint_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    """Of an op with several inputs."""
    f, first = layer.fields, shapes[0]
    if layer.op == "Concat":
        axis, around = f["axis"], {(len(s), *s[: f["axis"]], 0, *s[f["axis"] + 1 :]) for s in shapes}
        need(len(around) == 1 and 0 <= axis < len(first), f"{layer.name}: shapes {shapes} on axis {axis}")
        return (*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :])
    need(len(shapes) == 2, f"{layer.name}: {len(shapes)} inputs")
    if layer.op == "MatMul":
        groups, rows, columns, depth = extents = f["extents"]
        need(min(extents) > 0 and np.prod(extents) <= MAX_ELEMENTS, f"{layer.name}: extents")
        need(shapes == [(groups * rows, depth), (groups * columns, depth)], f"{layer.name}: shapes {shapes}")
        return groups * rows, columns
    need(shapes[0] == shapes[1], f"{layer.name}: shapes {shapes}")
    return first


def output_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    """Shape of a layer's result, after everything about its shapes has been checked."""
    f, first = layer.fields, shapes[0]
    if layer.op in ("Add", "Concat", "MatMul", "Mul"):
        return _joint_shape(layer, shapes)
    need(len(shapes) == 1, f"{layer.name}: {len(shapes)} inputs")
    if "size" in f:
        need(tuple(f["size"]) == first, f"{layer.name}: size {f['size']} for an input of shape {first}")
    if layer.op in ("Conv", "MaxPool", "AveragePool"):
        need(len(first) == 3, f"{layer.name}: input of shape {first}")
        if layer.op == "Conv":
            w = f["weights"]
            need(w.ndim == 4 and f["bias"].shape == w.shape[:1], f"{layer.name}: weights {w.shape}")
            need(f["groups"] > 0 and w.shape[0] % f["groups"] == 0, f"{layer.name}: groups")
            need(w.shape[1] * f["groups"] == first[0], f"{layer.name}: weights for other channels")
            f["kernel"] = w.shape[2:]
        dilations = f.get("dilations", (1, 1))
        f["index"], out = window(first, f["kernel"], f["strides"], dilations, f["pads"])
        if layer.op == "MaxPool":
            need((f["index"] >= 0).any(axis=1).all(), f"{layer.name}: a window of padding only")
        return (f["weights"].shape[0] if layer.op == "Conv" else first[0], *out)
    if layer.op == "Dense":
        w = f["weights"]
        need(w.ndim == 2 and first == w.shape[1:], f"{layer.name}: weights {w.shape} for shape {first}")
        need(f["bias"].shape == w.shape[:1], f"{layer.name}: bias of another size")
        return (w.shape[0],)
    if layer.op == "Reshape":
        target = tuple(f["target"])
        need(min(target, default=0) > 0 and np.prod(target) == np.prod(first), f"{layer.name}: reshape")
        return target
    if layer.op == "Take":
        at = f["positions"]
        need(at.size and at.min() >= -1 and at.max() < np.prod(first), f"{layer.name}: positions")
        return tuple(at.shape)
    if layer.op == "Transpose":
        need(sorted(f["perm"]) == list(range(len(first))), f"{layer.name}: perm {f['perm']}")
        return tuple(first[axis] for axis in f["perm"])
    if layer.op in FINAL:
        need(len(first) in (1, 2), f"{layer.name}: {layer.op} of shape {first}")
        need(first[-1] <= FINAL[layer.op], f"{layer.name}: {layer.op} of {first[-1]} elements")
    return (first[:-1] or (1,)) if layer.op == "ArgMax" else first


def result_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    """Shape of a float layer's result."""
    if layer.op == "ChannelAffine":
        need(len(layer.fields["factor"]) == shapes[0][0], f"{layer.name}: channels")
        return shapes[0]
    return output_shape(layer, shapes)
