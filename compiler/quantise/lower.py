# SPDX-License-Identifier: Apache-2.0
"""From the float graph to the integer graph: each op's integer twin, one Requantise per activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor, prod
from typing import Any

import numpy as np

from ..errors import CompileError
from ..graph import Graph, Node, Quant
from ..ops import (
    Add,
    ArgMax,
    AveragePool,
    Clip,
    Concat,
    Conv,
    Dense,
    MatMul,
    Mul,
    Requantise,
    Softmax,
    Take,
    Trunc,
)
from ..ops.argmax import offset_of
from ..ops.base import Array, IntegerWeights, Op, Scaled
from ..ops.function import Function, Table
from ..ops.softmax import FINEST
from ..passes.derive_ranges import derive_ranges
from ..ranges import INT8
from ..rounding import AVERAGE, HALF_EVEN, MEAN
from .curves import curve, truncation
from .requantise import average_multiplier, halves, multiplier, tflite_multiplier
from .room import BIAS_BITS, WIDE_BITS, finer, make_room
from .signs import UNKNOWN, finest, of_signs, only_signs

INT32 = (1 << 31) - 1
WIDE = (1 << 45) - 1  # of sums of 16-bit activations: a multiplier keeps 17 bits


@dataclass(frozen=True)
class _Sum:
    """An accumulator on its way to its Requantise: the real value of one unit, per channel."""

    unit: tuple[Fraction, ...]
    reach: int


def chosen(graph: Graph) -> dict[str, str]:
    """Values whose quantisation must be chosen, and whose it is: of what is joined, the Concat's."""
    joined = {i: node.output for node in graph.nodes if isinstance(node.op, Concat) for i in node.inputs}
    found = {name: name for name in graph.inputs}
    for node in graph.nodes:
        if (node.op.activates or isinstance(node.op, Function)) and not isinstance(node.op, Softmax):
            owner = node.output
            while owner in joined:
                owner = joined[owner]
            found[node.output] = owner
    return found


def stored_scales(graph: Graph, wanted: Mapping[str, Scaled]) -> dict[str, Scaled]:
    """Quantisation of every stored value: as wanted, or passed on by ops that only move integers. Of those in
    `only_signs` that nothing is wanted of it follows from their sums: until then it is UNKNOWN."""
    signs = only_signs(graph)
    scales = {
        name: wanted.get(owner, UNKNOWN) if owner in signs else wanted[owner]
        for name, owner in chosen(graph).items()
    }
    for node in graph.nodes:
        if isinstance(node.op, Softmax):
            usual = Softmax.wide_out if scales[node.inputs[0]].wide else Softmax.out
            scales[node.output] = wanted.get(node.output, usual)
        elif isinstance(node.op, ArgMax):
            offset = offset_of(graph.values[node.inputs[0]].shape[-1])
            scales[node.output] = Scaled(Fraction(1), offset, -128, 127)
        elif not node.op.accumulates and node.output not in scales:
            scales[node.output] = scales[node.inputs[0]]
    return scales


def lower(
    graph: Graph,
    wanted: Mapping[str, Scaled],
    weights: Mapping[str, IntegerWeights],
    mode: str = HALF_EVEN,
) -> Graph:
    """The integer graph. `wanted` quantises inputs and activations, `weights` the weighted nodes.

    `mode` is that of every Requantise but those of sums without weights: TFLite has other rules for these.
    """
    scales = stored_scales(graph, wanted)
    signs = {name: moved for name, moved in only_signs(graph).items() if name not in wanted}
    sums: dict[str, _Sum] = {}
    units: dict[str, Quant] = {name: Quant((s.scale,), s.zero) for name, s in scales.items()}
    nodes = []
    for node in graph.nodes:
        if node.op.accumulates:
            reader = graph.consumers(node.output)[0].output
            sources = [scales[n] for n in node.inputs]
            target = scales[reader] if reader not in signs else finest(sources)
            long = scales[node.inputs[0]].wide and not _is_padding(graph.producer(node.inputs[0]))
            room = WIDE_BITS if long else BIAS_BITS
            to_bias = round if reader not in signs else floor
            op, sums[node.output] = _accumulate(node, sources, target, weights, room, to_bias)
            for name in signs.get(reader, ()):
                scales[name] = of_signs(sums[node.output].unit)
                units[name] = Quant((scales[name].scale,), scales[name].zero)
        elif isinstance(node.op, Clip):
            source = sums.get(node.inputs[0]) or _stored(scales[node.inputs[0]])
            zero_in = 0 if node.inputs[0] in sums else scales[node.inputs[0]].zero
            maker = graph.producer(node.inputs[0])
            other = maker is not None and maker.op.accumulates and not maker.op.weighted
            op = _requantise(node, source, zero_in, scales[node.output], HALF_EVEN if other else mode)
            if maker is not None and isinstance(maker.op, AveragePool):
                read, target = scales[maker.inputs[0]], scales[node.output]
                own = op if mode == HALF_EVEN else _average(op, maker.op, read, target)
                op = _mean(op, maker.op, source, read, target) if own is op else own
            if node.inputs[0] in sums:
                units[node.inputs[0]] = _unit(op, scales[node.output])
        elif isinstance(node.op, Softmax):
            op = _softmax(node.name, scales[node.inputs[0]], scales[node.output])
        elif isinstance(node.op, ArgMax):
            op = replace(node.op, offset=scales[node.output].zero)
        elif isinstance(node.op, Function):
            op = _pointwise(node, scales[node.inputs[0]], scales[node.output])
        elif isinstance(node.op, Take):
            op = replace(node.op, pad=_pad(node.name, node.op.pad, scales[node.inputs[0]]))
        else:
            op = node.op
        code = weights[node.name].code if node.name in weights else ""
        nodes.append(Node(node.name, op, node.inputs, node.output, node.name, code))
    bare = Graph(graph.name, graph.inputs, graph.outputs, tuple(nodes), graph.values)
    spans = {name: (scales[name].lo, scales[name].hi) for name in graph.inputs}
    whole = derive_ranges(bare, spans, units)
    _check_bytes(whole, scales)
    return whole


def _check_bytes(whole: Graph, scales: Mapping[str, Scaled]) -> None:
    """A Clip may leave 8 of 16 bits: kernels of 8 add up in 32."""
    for node in whole.nodes:
        words = [whole.values[name].word for name in node.inputs]
        if isinstance(node.op, MatMul):
            _product_reach(node.name, node.op, [word != "int8" for word in words])
        elif isinstance(node.op, Conv | Dense) and words == ["int8"]:
            bytewise = replace(scales[node.inputs[0]], lo=INT8[0], hi=INT8[1])
            _reach(node.name, node.op.weights, node.op.bias, bytewise)


def _pad(where: str, pad: float, scale: Scaled) -> int:
    """The nearest integer to what a Take pads with; at the ends of a word rounding may lead one step out."""
    q = round(Fraction(pad) / scale.scale) + scale.zero
    q += {scale.whole.lo - 1: 1, scale.whole.hi + 1: -1}.get(q, 0)
    if not scale.lo <= q <= scale.hi:
        low, high = (float(scale.scale * (end - scale.zero)) for end in (scale.lo, scale.hi))
        raise CompileError(
            where, f"a Pad with {pad:.6g}", f"{low:.6g} to {high:.6g}, what its input's scale can hold",
            "a quantised model whose Pad has equal scales around it",
        )  # fmt: skip
    return q


def _softmax(where: str, read: Scaled, written: Scaled) -> Softmax:
    """Of a file's own scale of probabilities too, so that nothing is rounded twice."""
    if not FINEST <= written.scale <= 1 or written.lo > written.zero:
        low, high = written.reals
        raise CompileError(
            where, f"a softmax stored in steps of {float(written.scale):.3g} from {low:.3g} to {high:.3g}",
            f"steps of {float(FINEST):.3g} to 1, from 0 or less on", "probabilities quantised over 0 to 1",
        )  # fmt: skip
    return Softmax.of(read, written)


def _is_padding(maker: Node | None) -> bool:
    """Whether a Take takes nothing: its range is one number, and sums of it are of 8-bit integers or so."""
    return maker is not None and isinstance(maker.op, Take) and bool((maker.op.positions < 0).all())


def _accumulate(
    node: Node,
    inputs: list[Scaled],
    target: Scaled,
    weights: Mapping[str, IntegerWeights],
    room: int,
    to_bias: Callable[[Fraction], int],
) -> tuple[Op, _Sum]:
    op: Any = node.op
    if isinstance(op, Conv | Dense):
        chosen = weights[node.name]
        if chosen.bias is None:
            chosen = make_room(op, chosen, inputs[0].scale, room)
            if to_bias is round:  # down, the sign is exact in any unit
                chosen = finer(op, chosen, inputs[0].scale, room)
        unit = tuple(inputs[0].scale * s for s in chosen.scales)
        bias = chosen.bias
        if bias is None:
            bias = np.array(
                [to_bias(Fraction(float(b)) / u) for b, u in zip(op.bias, unit, strict=True)], object
            )
        reach = _reach(node.name, chosen.integers, bias, inputs[0])
        return replace(op, weights=chosen.integers, bias=bias.astype(np.int64), zero=inputs[0].zero), _Sum(
            unit, reach
        )
    if isinstance(op, AveragePool):
        taps = op.kernel[0] * op.kernel[1]
        twin = replace(op, zero=inputs[0].zero, total=True)
        return twin, _Sum((inputs[0].scale / (1 if op.total else taps),), inputs[0].reach * taps)
    if isinstance(op, Mul):
        most = inputs[0].reach * inputs[1].reach
        return Mul(inputs[0].zero, inputs[1].zero), _Sum((inputs[0].scale * inputs[1].scale,), most)
    if isinstance(op, MatMul):
        return _product(node.name, op, inputs)
    assert isinstance(op, Add)
    ratios = [s.scale / target.scale for s in inputs]
    shift = _add_shift(node.name, ratios)
    ma, mb = (max(1, round(r * (1 << shift))) for r in ratios)
    return Add(ma, op.mb * mb, inputs[0].zero, inputs[1].zero), _Sum(
        (target.scale / (1 << shift),), inputs[0].reach * ma + inputs[1].reach * mb
    )


def _product(where: str, op: MatMul, inputs: list[Scaled]) -> tuple[Op, _Sum]:
    """Of two tensors."""
    a, b = inputs
    most = _product_reach(where, op, [a.wide, b.wide])
    unit = a.scale * b.scale * Fraction(op.factor)
    return replace(op, za=a.zero, zb=b.zero, factor=1), _Sum((unit,), most)


def _product_reach(where: str, op: MatMul, wide: list[bool]) -> int:
    """What no sum exceeds, also one in which a kernel has not yet taken off a zero point. Kernels add up the
    rows of the first factor in 32 bits."""
    most = op.extents[-1] << sum(16 if long else 8 for long in wide)
    if most > (WIDE if any(wide) else INT32) + 1 or op.extents[-1] << 16 > INT32 + 1:
        raise CompileError(where, f"sums of {op.extents[-1]} products", "fewer", "a product of fewer columns")
    return most


def _reach(where: str, weights: Array, bias: Any, source: Scaled) -> int:
    """Largest magnitude of any partial sum, the zero point folded into the bias, in any order of terms."""
    term, most, bits = (abs(source.zero) + (1 << 15), WIDE, 46) if source.wide else (384, INT32, 32)
    mass = np.abs(weights.reshape(len(bias), -1)).sum(axis=1)
    worst = max(abs(int(b)) + term * int(m) for b, m in zip(bias, mass, strict=True))
    if worst > most:
        raise CompileError(
            where,
            f"sums up to {worst} do not fit the {bits}-bit accumulator",
            f"at most {most}",
            "another quantisation (the bias dwarfs the weights), or fewer inputs per output",
        )
    return worst


def _add_shift(where: str, ratios: list[Fraction]) -> int:
    """The smallest exact shift if both ratios are dyadic, else 30 bits for the larger factor."""
    exact = [r.denominator for r in ratios]
    if all(d & (d - 1) == 0 and d <= 1 << 24 for d in exact):
        shift = max(d.bit_length() - 1 for d in exact)
        if max(r * (1 << shift) for r in ratios) < 1 << 30:
            return shift
    largest = max(ratios)
    if largest >= 1 << 29:
        raise CompileError(where, f"input scale {float(largest):.3g} times the output's", "comparable scales")
    return next(s for s in range(45, -1, -1) if largest * (1 << s) < 1 << 30)


def _stored(scale: Scaled) -> _Sum:
    return _Sum((scale.scale,), scale.reach)


def _requantise(node: Node, source: _Sum, zero_in: int, target: Scaled, mode: str) -> Requantise:
    assert isinstance(node.op, Clip)
    ratios = [unit / target.scale for unit in source.unit]
    if mode == HALF_EVEN:
        pairs = [multiplier(ratio, source.reach, node.name) for ratio in ratios]
    else:
        pairs = [tflite_multiplier(ratio, node.name) for ratio in ratios]
    if len(set(pairs)) == 1:
        pairs = pairs[:1]
    lo, hi = target.lo, target.hi
    if node.op.lo > -np.inf:
        lo = max(lo, min(hi, round(Fraction(node.op.lo) / target.scale) + target.zero))
    if node.op.hi < np.inf:
        hi = min(hi, max(lo, round(Fraction(node.op.hi) / target.scale) + target.zero))
    m, s = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    return Requantise(m, s, zero_in, target.zero, lo, hi, mode)


def _average(op: Requantise, pool: AveragePool, source: Scaled, target: Scaled) -> Requantise:
    """The rule of TFLite's average pool; it knows no other scale behind it, and does not count padding."""
    same = (source.scale, source.zero) == (target.scale, target.zero)
    if not same or any(pool.pads) or pool.total:
        return op
    m, s = average_multiplier(pool.kernel[0] * pool.kernel[1])
    return replace(op, multiplier=np.array([m], np.int64), shift=np.array([s], np.int64), mode=AVERAGE)


def _mean(op: Requantise, pool: AveragePool, source: _Sum, read: Scaled, target: Scaled) -> Requantise:
    """With halves that go to even where 1 / taps, or a power of two times it, is no m / 2^s."""
    ratio, word = source.unit[0] / target.scale, read.whole
    most = prod(pool.kernel) * max(word.hi - read.zero, read.zero - word.lo)
    if not halves(ratio, int(op.multiplier[0]), int(op.shift[0]), most):
        return op
    return replace(op, mode=MEAN)


def _unit(op: Op, target: Scaled) -> Quant:
    """What one unit of the accumulator is worth exactly, given the multiplier that was chosen."""
    assert isinstance(op, Requantise)
    return Quant(
        tuple(target.scale * int(m) / (1 << int(s)) for m, s in zip(op.multiplier, op.shift, strict=True)), 0
    )


def _pointwise(node: Node, source: Scaled, target: Scaled) -> Op:
    """entries[q + 128] = the function of the real value of q, rounded as it says, saturated; or a Curve."""
    fn: Any = node.op
    if source.wide:
        return (truncation if isinstance(fn, Trunc) else curve)(node.name, fn, source, target)
    reals = np.array([float(source.scale * (q - source.zero)) for q in range(-128, 128)])
    units = [fn.entry(Fraction(float(y)) / target.scale, target.zero) for y in fn(reals)]
    return Table(np.clip(np.array(units), target.lo, target.hi).astype(np.int64))
