# SPDX-License-Identifier: Apache-2.0
"""A graph as ONNX operators: layers as the operators that verifiers know, other ops word by word."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import Exact
from ..errors import CompileError
from ..graph import Graph, Node, Value
from ..ops import AveragePool, Conv, Dense, MatMul, MaxPool, Requantise, Transpose
from ..ops.final import final
from ..rounding import AVERAGE
from .merge_words import DOUBLE, FLOAT, Ref, Sink, Words
from .round_double import DoubleForm, double_form

EXACT32 = 1 << 24  # every integer up to here is a float32, so no order of summation rounds


def entered(out: Sink, value: Value, x: Ref) -> Ref:
    """The integers of a real input. float32 / float32 in float64 rounds onto no tie but a true one: with 24
    bits each, a quotient is half an odd integer or at least 2^-25 away from it."""
    quant, span, words = value.quant, value.range, Words(out, DOUBLE)
    assert quant is not None
    assert span is not None
    scale = float(quant.scale[0])
    if Fraction(float(np.float32(scale))) != quant.scale[0]:
        raise CompileError(value.name, f"a scale of {scale}", "one that a float32 holds")
    steps = words.put(x.shape, "Div", Ref(out.cast(x.name, DOUBLE), x.shape, DOUBLE), scale)
    q = words.put(x.shape, "Round", steps)
    return words.clip(words.put(x.shape, "Add", q, quant.zero) if quant.zero else q, span.lo, span.hi)


def emit(out: Sink, graph: Graph, inputs: Mapping[str, Ref]) -> dict[str, Ref]:
    """Every value of the graph before a final op."""
    values = dict(inputs)
    kind = FLOAT if all(value.quant is None for value in graph.values.values()) else DOUBLE
    for node in graph.nodes:
        if final(graph, node.output) is None:
            xs = [values[name] for name in node.inputs]
            values[node.output] = _node(Words(out, kind), graph, node, xs)
    return values


def _node(words: Words, graph: Graph, node: Node, xs: list[Ref]) -> Ref:
    op: Any = node.op
    shape, span = graph.values[node.output].shape, graph.values[node.inputs[0]].range
    match op:
        case Requantise():
            assert span is not None
            return _requantise(words, node.name, op, xs[0], (span.lo, span.hi))
        case Conv(bits=8):
            window = {"dilations": list(op.dilations), "group": op.groups, **_window(op)}
            if words.kind == FLOAT:
                return words.put(shape, "Conv", xs[0], op.weights, op.bias, **window)
            assert span is not None
            reach = max(span.hi - op.zero, op.zero - span.lo)
            return _sums(words, xs[0], op.zero, op.weights, op.bias, reach, shape, window)
        case AveragePool():
            plain = words.kind == FLOAT and op.dilations == (1, 1) and not op.total
            if plain:
                more = {"count_include_pad": 1} if any(op.pads) else {}
                return words.put(shape, "AveragePool", xs[0], **_window(op), **more)
            ones, zeros = np.ones((shape[0], 1, *op.kernel)), np.zeros(shape[0])
            window = {"group": shape[0], "dilations": list(op.dilations), **_window(op)}
            if words.kind == FLOAT:  # opset 13 has neither holes nor sums
                each = ones / (1 if op.total else prod(op.kernel))
                return words.put(shape, "Conv", xs[0], each, zeros, **window)
            assert span is not None
            reach = max(span.hi - op.zero, op.zero - span.lo)
            return _sums(words, xs[0], op.zero, ones, zeros, reach, shape, window)
        case MaxPool():
            return words.put(shape, "MaxPool", xs[0], **_window(op), dilations=list(op.dilations))
        case Dense(bits=8):
            return words.put(shape, "Gemm", words.less(xs[0], op.zero), op.weights, op.bias, transB=1)
        case MatMul():
            groups, rows, columns, depth = op.extents
            a = words.reshape(words.less(xs[0], op.za), (groups, rows, depth))
            b = words.reshape(words.less(xs[1], op.zb), (groups, columns, depth))
            b = words.put((groups, depth, columns), "Transpose", b, perm=[0, 1, 3, 2])
            found = words.reshape(words.put((groups, rows, columns), "MatMul", a, b), shape)
            return words.put(shape, "Mul", found, op.factor) if op.factor != 1 else found
        case Transpose():
            return words.put(shape, "Transpose", xs[0], perm=[0, *(axis + 1 for axis in op.perm)])
        case _:
            found = op.meaning(words, *xs)
            assert isinstance(found, Ref)
            return found


def _window(op: Any) -> dict[str, Any]:
    return {"kernel_shape": list(op.kernel), "strides": list(op.strides), "pads": list(op.pads)}


def _sums(
    words: Words,
    x: Ref,
    zero: int,
    weights: NDArray[Any],
    bias: NDArray[Any],
    reach: int,
    shape: tuple[int, ...],
    window: dict[str, Any],
) -> Ref:
    """An exact integer convolution: no runtime has one on float64, so on float32, with the weights split into
    digits until no sum can leave the integers that a float32 holds; put together in float64."""
    single = Words(words.out, FLOAT)
    narrow = Ref(words.out.cast(words.less(x, zero).name, FLOAT), x.shape, FLOAT)
    parts = []
    for factor, digits in _digits(weights, reach):
        part = single.put(shape, "Conv", narrow, digits, **window)
        wide = Ref(words.out.cast(part.name, DOUBLE), shape, DOUBLE)
        parts.append(words.put(shape, "Mul", wide, factor) if factor != 1 else wide)
    total = parts[0]
    for part in parts[1:]:
        total = words.put(shape, "Add", total, part)
    if not np.any(bias):
        return total
    return words.put(shape, "Add", total, bias.reshape(-1, *(1,) * (len(shape) - 1)))


def _digits(weights: NDArray[Any], reach: int) -> list[tuple[int, NDArray[Any]]]:
    """weights = sum of factor * digits with reach * sum |digits| <= 2^24 for every output."""
    for base in (1 << power for power in range(8, 0, -1)):  # 256: int8 weights as they are
        digits, factor = weights.astype(np.int64), 1
        parts: list[tuple[int, NDArray[Any]]] = []
        while np.any(digits) or not parts:
            low = digits - base * np.rint(digits / base).astype(np.int64)
            parts.append((factor, low))
            digits, factor = (digits - low) // base, factor * base
        if all(reach * np.abs(part).reshape(len(part), -1).sum(axis=1).max() <= EXACT32 for _, part in parts):
            return parts
    raise CompileError("--export-merged", "a convolution beyond 2^24 with weights of one bit", "fewer inputs")


def _requantise(words: Words, where: str, op: Requantise, x: Ref, span: tuple[int, int]) -> Ref:
    column = (-1, *(1,) * (len(x.shape) - 1))

    def law(acc: NDArray[np.int64]) -> NDArray[np.int64]:
        found = Exact().requantise(acc, op.multiplier, op.shift, op.zero_in, op.zero, op.lo, op.hi, op.mode)
        return np.asarray(found)

    form: DoubleForm = double_form(where, op, law, span)
    t = words.put(x.shape, "Mul", words.less(x, form.shift), form.factor.reshape(column))
    if form.up is None or form.down is None:
        if form.first > 1:
            fine = words.put(x.shape, "Round", words.put(x.shape, "Mul", t, form.first))
            t = words.put(x.shape, "Mul", fine, 1 / form.first)
        q = words.put(x.shape, "Round", t)
    else:
        rises = words.put(x.shape, "Floor", words.put(x.shape, "Add", t, form.up.reshape(column)))
        falls = words.put(x.shape, "Ceil", words.put(x.shape, "Sub", t, form.down.reshape(column)))
        q = words.put(
            x.shape, "Add", words.put(x.shape, "Relu", rises), words.put(x.shape, "Min", falls, 0.0)
        )
    if op.zero and op.mode != AVERAGE:
        q = words.put(x.shape, "Add", q, op.zero)
    return words.clip(q, op.lo, op.hi)
