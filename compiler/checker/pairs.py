# SPDX-License-Identifier: Apache-2.0
"""Pairs both networks, layer by layer, and derives the numbers that the analysis needs from exact scales."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from .files import need
from .forms import Pad
from .functions import NAMES, Function, function
from .layers import Layer, Meaning, Network, final, terms
from .rounding import Floats, Ints
from .shares import Share
from .single import folded
from .stored import whole

GEOMETRY = ("size", "kernel", "strides", "dilations", "pads", "groups", "target", "perm", "axis", "extents")
Limits = tuple[float, float]
Span = tuple[int, int]  # of integers less their zero point


@dataclass(frozen=True)
class Affine:
    """xhat = W x + b, yhat = V y + c on x (G, K, P): W (G, M, K) and so on; E = V - W; read through `index`.

    `lost`: the low bits cleared before (x has this scale, zero, span); `pad`: what padding then means.
    """

    w: Floats
    v: Floats
    e: Floats
    b: Floats
    c: Floats
    offset: Floats
    index: Ints
    pad: Pad
    lost: int
    scale: Fraction
    zero: int
    span: Span
    folded: tuple[int, Floats, Floats]  # see single.py


@dataclass(frozen=True)
class Sum:
    """xhat = a + sign b, yhat = factors[0] ya + factors[1] yb; excess = factors - (1, sign)."""

    sign: float
    factors: tuple[float, float]
    excess: tuple[float, float]


@dataclass(frozen=True)
class Product:
    """xhat = a b, yhat = (1 + e) ya yb with |e| = off."""

    off: float


@dataclass(frozen=True)
class Rows:
    """Products of the elements at `a` and `b`, (1, K, P) flat positions, and their sums."""

    a: Ints
    b: Ints
    product: Product
    sums: Affine


@dataclass(frozen=True)
class Rounding:
    """q = clip(round(n m / 2^s) + zero, lo, hi) by `mode` on n, y = step * n, beside x = clip(xhat, limits).
    `gain` is S_out m / (2^s S_in) where the input is no sum, else None."""

    m: Ints
    s: Ints
    step: Floats
    zero: int
    lo: int
    hi: int
    scale: Fraction
    limits: Limits
    gain: tuple[Floats, Floats] | None
    span: Span
    mode: str


@dataclass(frozen=True)
class Table:
    """y_out = entry of q beside the function of the float layer; `out` is rounded outward. `zero`: which
    of the entries is that of the number 0."""

    out: tuple[Floats, Floats]
    scale: Fraction
    zero: int
    span: Span
    function: Function


@dataclass(frozen=True)
class Step:
    """One pair of layers; `data` is an Affine, a Sum, a Rounding, a Table, a Share, or index and shape."""

    layer: Layer
    data: Any
    shape: tuple[int, ...]


def pair(real: Network, whole: Network) -> list[Step]:
    """Steps in topological order, up to a final layer. Rejected when the structures differ."""
    need(len(real.inputs) == len(whole.inputs), "other inputs than the float network")
    need(len(real.outputs) == len(whole.outputs), "other outputs than the float network")
    need(
        len(real.layers) == len(whole.layers),
        f"{len(whole.layers)} layers, {len(real.layers)} in the float network",
    )
    twin = dict(zip(whole.inputs, real.inputs, strict=True))
    for mine, other in twin.items():
        need(whole.shapes[mine] == real.shapes[other], f"{mine}: shape of an input")
    steps = []
    for q, f in zip(whole.layers, real.layers, strict=True):
        need(q.origin == f.name, f"{q.name}: origin {q.origin!r} where the float network has {f.name!r}")
        twins = {"Requantise": {"Clip"}, "Curve": NAMES, "Table": NAMES}.get(q.op, {q.op})
        need(f.op in twins, f"{q.name}: {q.op} beside {f.op}")
        need(tuple(twin[n] for n in q.inputs) == f.inputs, f"{q.name}: other inputs than {f.name}")
        for key in GEOMETRY:
            same = tuple(np.ravel(q.fields.get(key, ()))) == tuple(np.ravel(f.fields.get(key, ())))
            need(same, f"{q.name}: {key} differs from the float network's")
        same = np.array_equal(q.fields.get("positions", ()), f.fields.get("positions", ()))
        need(same, f"{q.name}: other positions than the float network's")
        twin[q.output] = f.output
        need(q.fields.get("last", 0) == f.fields.get("last", 0), f"{q.name}: another of equal elements")
        if final(whole, q.output) is None:
            steps.append(Step(q, _data(q, f, whole), whole.shapes[q.output]))
    for name, other in zip(whole.outputs, real.outputs, strict=True):
        need(twin[name] == other, f"{name}: not the float network's output {other}")
    return steps


def _data(q: Layer, f: Layer, net: Network) -> Any:
    shape, out = net.shapes[q.output], net.meanings[q.output]
    ins = [net.meanings[n] for n in q.inputs]
    if q.op in ("Conv", "Dense", "AveragePool"):
        return _affine(q, f, ins[0], out, net)
    if q.op == "Add":
        exact = [out.scales[0] * q.fields[m] / a.scales[0] for m, a in zip(("ma", "mb"), ins, strict=True)]
        (a, b), sign = exact, f.fields["sign"]
        return Sum(float(sign), (float(a), float(b)), (float(a - 1), float(b - sign)))
    if q.op == "Mul":
        return Product(float(abs(out.scales[0] / (ins[0].scales[0] * ins[1].scales[0]) - 1)))
    if q.op == "MatMul":
        return _rows(q, f, ins, out)
    if q.op == "Requantise":
        return _rounding(q, f, ins[0], out, shape, _span(net, q))
    if q.op in ("Curve", "Table"):
        entries = q.fields["entries"] - out.zero
        unit = float(out.scales[0])
        low, high = (
            entries * unit - abs(entries * unit) * 2.0**-50,
            entries * unit + abs(entries * unit) * 2.0**-50,
        )
        at = ins[0].zero - q.fields["first"]
        return Table((low, high), ins[0].scales[0], at, _span(net, q), function(f))
    if q.op == "Softmax":
        low, high = net.hulls[q.output]
        return Share.of(q, out, shape[-1], (low - out.zero, high - out.zero))
    if q.op == "Concat":
        return q.fields["axis"]
    if q.op == "Take":
        nearest = round(Fraction(f.fields["pad"]) / ins[0].scales[0]) + ins[0].zero
        pad = q.fields["pad"]
        low, high = whole(pad, pad)
        need(pad == min(max(nearest, low), high), f"{q.name}: not the integer for what is padded")
        y = ins[0].scales[0] * (pad - ins[0].zero)
        return q.fields["positions"], Pad.of(f.fields["pad"], y)
    if q.op == "Transpose":
        size = net.shapes[q.inputs[0]]
        return np.arange(prod(size)).reshape(size).transpose(q.fields["perm"]), Pad()
    if q.op == "MaxPool":  # a padded tap reads the first real tap of its window again
        index = q.fields["index"]
        first = np.take_along_axis(index, (index >= 0).argmax(axis=1)[:, None, :], axis=1)
        return np.where(index >= 0, index, first)
    return None


def _span(net: Network, layer: Layer) -> Span:
    """What the integers that a layer reads, less their zero point, can be whatever the input."""
    low, high = net.hulls[layer.inputs[0]]
    zero = net.meanings[layer.inputs[0]].zero
    return low - zero, high - zero


def _affine(q: Layer, f: Layer, unit: Meaning, out: Meaning, net: Network) -> Affine:
    if q.op == "AveragePool":
        channels, taps = net.shapes[q.inputs[0]][0], prod(q.fields["kernel"])
        wq = np.ones((channels, 1, taps), np.int64)
        w = wq / (1 if f.fields.get("total") else taps)
        b = np.zeros((channels, 1))
        bq = b.astype(np.int64)
    else:
        groups, outputs = q.fields.get("groups", 1), len(q.fields["weights"])
        need(f.fields["weights"].shape == q.fields["weights"].shape, f"{q.name}: weights of another shape")
        w = f.fields["weights"].reshape(groups, outputs // groups, -1)
        wq = q.fields["weights"].reshape(w.shape)
        b, bq = (layer.fields["bias"].reshape(w.shape[:2]) for layer in (f, q))
    rows = w.shape[0] * w.shape[1]
    acc = out.scales if len(out.scales) > 1 else out.scales * rows
    need(len(acc) == rows, f"{q.name}: {len(acc)} scales")
    ratio = np.array([float(s / unit.scales[0]) for s in acc]).reshape(b.shape)
    v = ratio[..., None] * wq
    c = np.array([float(s * int(n)) for s, n in zip(acc, bq.ravel(), strict=True)]).reshape(b.shape)
    lost = (1 << (8 - q.fields.get("bits", 8))) - 1
    moved = unit.scales[0] * ((unit.zero & ~lost) - unit.zero)  # what padding means with its bits cleared
    index = np.arange(w.shape[2]) if q.op == "Dense" else q.fields["index"]
    index = index.reshape(w.shape[0], w.shape[2], -1)
    return Affine(
        w,
        v,
        v - w,
        b[..., None],
        c[..., None],
        (abs(b) + abs(c))[..., None],
        index,
        Pad.of(0.0, Fraction(moved)),
        lost,
        unit.scales[0],
        unit.zero,
        _span(net, q),
        folded(f, w, w.shape[2]),
    )


def _rows(q: Layer, f: Layer, ins: list[Meaning], out: Meaning) -> Rows:
    a, b = (at[None] for at in terms(q.fields["extents"]))
    unit, zero = ins[0].scales[0] * ins[1].scales[0], np.zeros((1, 1, 1))
    factor = float(f.fields["factor"])
    w = np.full((1, 1, a.shape[1]), factor)
    v, at = np.full_like(w, float(out.scales[0] / unit)), np.arange(a.size).reshape(a.shape)
    folded = int(factor != 1), zero, zero + max(factor, 1 / factor)  # one rounding, of the larger or smaller
    sums = Affine(w, v, v - w, zero, zero, zero, at, Pad(), 0, unit, 0, (0, 0), folded)
    return Rows(a, b, Product(0.0), sums)


def _rounding(
    q: Layer, f: Layer, unit: Meaning, out: Meaning, shape: tuple[int, ...], span: Span
) -> Rounding:
    def spread(values: Any, dtype: Any) -> Any:
        return np.broadcast_to(np.array(values, dtype).reshape(-1, *(1,) * (len(shape) - 1)), shape)

    m, s = q.fields["multiplier"], q.fields["shift"]
    count = max(len(m), len(unit.scales))
    need(len(m) in (1, count) and len(unit.scales) in (1, count), f"{q.name}: scales and multipliers")
    units, wide = (
        (unit.scales * count)[:count],
        [(int(m[i % len(m)]), int(s[i % len(s)])) for i in range(count)],
    )
    gains = [out.scales[0] * a / (1 << b) / u for (a, b), u in zip(wide, units, strict=True)]
    gain = None
    if any(g != 1 for g in gains):
        gain = (
            spread([float(g) for g in gains], np.float64),
            spread([float(g - 1) for g in gains], np.float64),
        )
    return Rounding(
        spread(m, np.int64), spread(s, np.int64), spread([float(u) for u in unit.scales], np.float64),
        q.fields["zero"], q.fields["lo"], q.fields["hi"], out.scales[0],
        (f.fields["lo"], f.fields["hi"]), gain, span, q.fields["mode"],
    )  # fmt: skip
