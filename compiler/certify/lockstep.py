# SPDX-License-Identifier: Apache-2.0
"""Walks the float and the integer network together: each integer node beside the float node it stands for.

float    gather  affine  reshape  clip        function  max  softmax
integer  gather  affine  reshape  requantise  table     max  softmax   (and truncate, without a float partner)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any, TypeVar

import numpy as np

from ..domains.exact import run
from ..domains.interval import Interval
from ..domains.pair import Affine, Entry, PairDomain, Product, Rounding, Step, Sum, Units
from ..domains.pair_box import Pad
from ..domains.pair_float import above, below
from ..domains.pair_single import noise
from ..domains.pair_softmax import Shares
from ..domains.pair_table import Pointwise
from ..errors import CompileError
from ..graph import Graph, Node, Rounded, Value
from ..ops.average_pool import AveragePool
from ..ops.final import final
from ..ops.mat_mul import MatMul
from .record import Word, record

State = TypeVar("State")
PARTNER = {"requantise": "clip", "table": "function"}


@dataclass(frozen=True)
class Lockstep:
    """Steps in topological order; `values` maps names of the integer network to positions of steps."""

    steps: tuple[Step, ...]
    values: Mapping[str, int]
    inputs: tuple[str, ...]
    single: bool = False  # the float network is computed in float32, in whatever order


def lockstep(real: Graph, whole: Graph, *, single: bool = False) -> Lockstep:
    """Pair the words of both networks. Stops before a final op: the certificate bounds what it reads.

    single: of the float network as float32 arithmetic evaluates it, else of the real one.
    """
    if real.inputs != whole.inputs:
        raise CompileError(whole.name, f"inputs {whole.inputs}", f"those of the float network, {real.inputs}")
    steps: list[Step] = []
    places: dict[str, int] = {}
    partner = {name: name for name in whole.inputs}  # integer value -> float value
    spans = _spans(whole)
    for name in whole.inputs:
        value = whole.values[name]
        places[name] = len(steps)
        steps.append(Step("input", (), (), (), value.shape, units_of(value, spans), name, name))
    for node in whole.nodes:
        twin = _twin(real, node, partner)
        partner[node.output] = twin.output
        if final(whole, node.output) is not None:
            continue
        places[node.output] = _pair(
            steps, places, real, whole, node, twin, units_of(whole.values[node.output], spans)
        )
    return Lockstep(tuple(steps), places, tuple(whole.inputs), single)


def _spans(whole: Graph) -> dict[str, tuple[int, int]]:
    """Range of every value's integers whatever the input, derived anew; the graph must not promise less."""
    boxes, spans = {}, {}
    for name in whole.inputs:
        span = whole.values[name].range
        assert span is not None
        boxes[name] = tuple(np.full(whole.values[name].shape, end, np.int64) for end in (span.lo, span.hi))
    for name, (low, high) in run(whole, boxes, Interval()).items():
        spans[name] = int(low.min()), int(high.max())
        span = whole.values[name].range
        assert span is not None
        if not span.lo <= spans[name][0] <= spans[name][1] <= span.hi:
            raise CompileError(name, f"range [{span.lo}, {span.hi}]", f"one that holds {spans[name]}")
    return spans


def units_of(value: Value, spans: Mapping[str, tuple[int, int]]) -> Units:
    """What the integers of a value mean, per element."""
    if value.quant is None:
        raise CompileError(value.name, "an integer value without scale", "a scale")
    scales, rank = value.quant.scale, len(value.shape)
    each = np.arange(len(scales)).reshape(-1, *(1,) * (rank - 1)) if rank and len(scales) > 1 else np.int64(0)
    channel = np.broadcast_to(np.asarray(each, np.int64), value.shape)
    return Units(scales, channel, value.quant.zero, spans[value.name])


def _twin(real: Graph, node: Node, partner: Mapping[str, str]) -> Node:
    try:
        twin = real.node(node.origin)
    except KeyError:
        raise CompileError(node.name, f"origin {node.origin!r}", "a node of the float network") from None
    reads = tuple(partner.get(name, "") for name in node.inputs)
    if reads != twin.inputs:
        raise CompileError(
            node.name, f"inputs that stand for {reads}", f"the inputs of {twin.name}, {twin.inputs}"
        )
    return twin


def _pair(
    steps: list[Step],
    places: Mapping[str, int],
    real: Graph,
    whole: Graph,
    node: Node,
    twin: Node,
    output: Units,
) -> int:
    """Append the steps of one node; the position of its result."""
    words, last = record(node.op, [whole.values[name].shape for name in node.inputs])
    others, twin_last = record(twin.op, [real.values[name].shape for name in twin.inputs])
    at = {-1 - i: places[name] for i, name in enumerate(node.inputs)}
    other_of = {-1 - i: -1 - i for i in range(len(node.inputs))}  # integer position -> float position
    waiting = list(enumerate(others))
    for position, word in enumerate(words):
        reads = tuple(at[i] for i in word.reads)
        if word.name == "truncate":
            at[position] = _truncate(steps, reads[0], word, node, twin)
            other_of[position] = other_of[word.reads[0]]
            continue
        match, other = waiting.pop(0) if waiting else (0, Word("nothing", (), (), ()))
        agree = other.name == PARTNER.get(word.name, word.name) and other.shape == word.shape
        if not agree or other.reads != tuple(other_of[i] for i in word.reads):
            raise CompileError(node.name, f"{word.name} beside {other.name} of {twin.name}", "the same words")
        other_of[position] = match
        names, rounded = (node.name, twin.name), _rounded(twin)
        units = output
        if word.name == "multiply" and position != last:
            units = _product(*(steps[i].units for i in reads))
        step = Step(word.name, reads, other.args, word.args, word.shape, units, *names, rounded)
        steps.append(replace(step, units=_units(step, steps, units)))
        at[position] = len(steps) - 1
    if waiting or other_of[last] != twin_last:
        raise CompileError(node.name, f"fewer words than {twin.name}", "the same words")
    return at[last]


def _rounded(twin: Node) -> Rounded | None:
    """A mean is a sum and a quotient, some products of two tensors a sum and a factor; or a product with a
    factor that has been rounded."""
    if isinstance(twin.op, AveragePool) and not twin.op.total:
        channels, taps = twin.op.size[0], prod(twin.op.kernel)  # the sum is larger than the mean
        return Rounded(1, np.zeros(channels), np.full(channels, float(taps)))
    if isinstance(twin.op, MatMul) and twin.op.factor != 1:
        factor = twin.op.factor
        return Rounded(1, np.zeros(1), np.array([max(factor, 1 / factor)]))
    return twin.rounded


def _product(a: Units, b: Units) -> Units:
    """Units of products on the way to a sum."""
    ends = [(p - a.zero) * (q - b.zero) for p in a.span for q in b.span]
    return Units((a.scale * b.scale,), np.zeros((), np.int64), 0, (min(ends), max(ends)))


def _units(step: Step, steps: Sequence[Step], output: Units) -> Units:
    """Units of a step's result: inherited where numbers stay the same, the node's own where they change."""
    if step.word in ("gather", "reshape", "max"):
        unit = steps[step.inputs[0]].units
        if step.word == "gather" and (step.integer[0] < 0).any():
            unit = _wider(unit, step.integer[1])
        if len(unit.scales) == 1:
            return replace(unit, channel=np.broadcast_to(np.int64(0), step.shape))
        if step.word == "reshape":
            return replace(unit, channel=unit.channel.reshape(step.shape))
        raise CompileError(step.node, f"{step.word} of a tensor with several scales", "one scale per tensor")
    if step.word == "concat":
        units = [steps[i].units for i in step.inputs]
        if any((u.scales, u.zero) != (output.scales, output.zero) for u in units):
            raise CompileError(step.node, "inputs of several scales or zero points", "the output's")
        ends = [end for u in units for end in u.span]
        return replace(_wider(output, *ends), channel=np.broadcast_to(np.int64(0), step.shape))
    if len(output.scales) > 1 and step.word == "affine":
        rows = np.arange(len(output.scales)).reshape(*step.shape[:2], 1)
        return replace(output, channel=np.broadcast_to(rows, step.shape))
    if len(output.scales) > 1:
        return output
    return replace(output, channel=np.broadcast_to(np.int64(0), step.shape))


def _truncate(steps: list[Step], read: int, word: Word, node: Node, twin: Node) -> int:
    """Clear bits before patches are gathered, so that overlapping patches share one error. What padding
    becomes (the zero point with its low bits cleared) goes with the gather."""
    before = steps[read]
    lost = (1 << (8 - word.args[0])) - 1
    units = _wider(before.units, before.units.span[0] & ~lost)
    step = Step("truncate", (read,), (), word.args, before.shape, units, node.name, twin.name)
    if before.word != "gather" or before.node != node.name:
        steps.append(step)
        return len(steps) - 1
    source = steps[before.inputs[0]]
    index, pad = before.integer
    units = _wider(source.units, source.units.span[0] & ~lost)
    steps.append(replace(step, inputs=before.inputs, shape=source.shape, units=units))
    units = _wider(before.units, pad & ~lost, units.span[0])
    steps.append(replace(before, inputs=(len(steps) - 1,), integer=(index, pad & ~lost), units=units))
    return len(steps) - 1


def _wider(units: Units, *more: int) -> Units:
    """Units whose span also holds these integers."""
    return replace(units, span=(min(units.span[0], *more), max(units.span[1], *more)))


def entries(
    both: Lockstep, whole: Graph, lower: Mapping[str, Any], upper: Mapping[str, Any], *, grid: bool = False
) -> dict[int, Entry]:
    """The box as exact rationals (floats stand for the dyadic numbers they are), checked; with `grid` the
    smallest one that holds the same integers."""
    result = {}
    for name in both.inputs:
        value, position = whole.values[name], both.values[name]
        sides = []
        for side in (lower, upper):
            array = np.asarray(side[name], None if np.asarray(side[name]).dtype == object else np.float64)
            if array.shape != value.shape:
                raise CompileError(name, f"a box of shape {array.shape}", f"{value.shape}")
            if array.dtype != object and not np.isfinite(array).all():
                raise CompileError(name, "a box that is not finite", "finite limits")
            sides.append(tuple(Fraction(v) for v in array.ravel().tolist()))
        if any(a > b for a, b in zip(*sides, strict=True)):
            raise CompileError(name, "a box with lower > upper", "lower <= upper")
        span = value.range
        assert span is not None
        entry = Entry(sides[0], sides[1], both.steps[position].units, span.lo, span.hi)
        result[position] = on_grid(entry, name) if grid else entry
    return result


def on_grid(entry: Entry, name: str) -> Entry:
    """From the first to the last number in the box that an integer stands for."""
    scale, zero = entry.units.scale, entry.units.zero
    lower = tuple(scale * max(ceil(v / scale), entry.lo - zero) for v in entry.lower)
    upper = tuple(scale * min(floor(v / scale), entry.hi - zero) for v in entry.upper)
    if any(a > b for a, b in zip(lower, upper, strict=True)):
        raise CompileError(name, "a box that holds no integer of the input", f"multiples of {float(scale):g}")
    return replace(entry, lower=lower, upper=upper, grid=True)


def walk(
    both: Lockstep,
    domain: PairDomain[State],
    at: Mapping[int, Entry],
    held: Callable[[int, State], State] = lambda _, state: state,
) -> Iterator[tuple[int, State]]:
    """Every step's state, in order; a state is dropped after its last reader. `held`: what else is known of
    a step's state."""
    last = {i: position for position, step in enumerate(both.steps) for i in step.inputs}
    states: dict[int, State] = {}
    for position, step in enumerate(both.steps):
        xs = [states[i] for i in step.inputs]
        try:
            state = _apply(step, domain, xs, both, at.get(position))
            if both.single:
                lost = noise(step, [domain.ranges(x) for x in xs], domain.ranges(state))
                state = state if lost is None else domain.blurred(state, lost)
            states[position] = held(position, state)
        except OverflowError as error:
            raise CompileError(step.node, str(error), "finite weights", "a smaller --domain") from error
        yield position, states[position]
        for i in (*step.inputs, position):
            if last.get(i, i) == position:
                states.pop(i, None)


def _apply(
    step: Step, domain: PairDomain[State], xs: list[State], both: Lockstep, entry: Entry | None
) -> State:
    """A step's word in a domain: those that only move elements here, after a look at where to."""
    if step.word in ("concat", "max") and step.real != step.integer:
        raise CompileError(step.node, f"{step.word} over another axis than the float network's", "the same")
    match step.word:
        case "input":
            assert entry is not None
            return domain.enter(entry)
        case "gather":
            if not np.array_equal(step.real[0], step.integer[0]):
                raise CompileError(step.node, "other positions than the float network reads", "the same")
            return domain.gather(xs[0], step.integer[0], _pad(step))
        case "reshape":
            return domain.reshape(xs[0], step.shape)
        case "concat":
            return domain.concat(xs, step.integer[0])
        case _:
            return _compute(step, domain, xs, [both.steps[i].units for i in step.inputs])


def _compute(step: Step, domain: PairDomain[State], xs: list[State], units: list[Units]) -> State:
    match step.word:
        case "truncate":
            return domain.truncate(xs[0], step)
        case "affine":
            return domain.affine(xs[0], Affine(step, units[0]))
        case "add":
            return domain.add(xs[0], xs[1], Sum(step, units[0], units[1]))
        case "multiply":
            return domain.multiply(xs[0], xs[1], Product(step, units[0], units[1]))
        case "requantise":
            return domain.requantise(xs[0], Rounding(step, units[0]), step.real)
        case "max":
            return domain.max(xs[0], step.integer[0])
        case "softmax":
            return domain.softmax(xs[0], Shares(step))
        case "table":
            return domain.table(xs[0], Pointwise(step, units[0]))
        case _:
            raise CompileError(step.node, f"the word {step.word}", "a word with a pair rule")


def _pad(step: Step) -> Pad:
    """What padding means: x as the float network pads, y = S * (pad - z), outward."""
    if (np.asarray(step.integer[0]) >= 0).all():
        return Pad()
    y = step.units.scale * (step.integer[1] - step.units.zero)
    d = y - Fraction(step.real[1])
    return Pad(float(step.real[1]), (below(y), above(y)), (below(d), above(d)))
