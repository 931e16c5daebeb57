# SPDX-License-Identifier: Apache-2.0
"""All samples of all ops as one network, and the executors that run it. A new op in OPS is picked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinybound.domains.exact import run
from tinybound.graph import Graph, Node, Value, check
from tinybound.ops import OPS, ArgMax, Clip
from tinybound.ops.base import Sample, Scaled
from tinybound.passes.activations import add_activations
from tinybound.passes.run_time_bits import has_bits, with_bits
from tinybound.quantise.lower import lower
from tinybound.quantise.weights import choose_weights
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import flatten, numbers, unflatten
from tinybound.simulate.host import Host
from tinybound.simulate.machine import Machine, Result
from tinybound.simulate.rtl import Rtl
from tinybound.targets.c import generate_c, identifier
from tinybound.targets.plan import exposed, make_plan
from tinybound.targets.verilog import generate_verilog

Integers = NDArray[np.int64]
Vectors = dict[str, Integers]  # graph input -> (n, *shape)

# These have no samples of their own: ChannelAffine is folded away, the others follow a sum or are a function.
COVERED_BY_OTHERS = {"ChannelAffine", "Clip", "Curve", "Requantise", "Table"}


@dataclass(frozen=True)
class Case:
    """A sample as a network of its own: float and integer graph."""

    name: str
    sample: Sample
    real: Graph
    whole: Graph


def all_samples() -> list[tuple[str, Sample]]:
    """(name, sample) of every op in the list."""
    return [(f"{op.__name__}{i}", sample) for op in OPS for i, sample in enumerate(op.samples())]


def float_nodes(
    name: str, sample: Sample, *, relu: bool
) -> tuple[list[Node], list[str], str, dict[str, Scaled]]:
    """The sample's nodes, inputs, output and quantisations. Values are named after the sample.

    Sums get a Clip (Relu or identity). Other ops get a Relu into another scale with `relu`: a rescaling.
    """
    op = sample.float_op
    inputs = [f"{name}.x{i}" for i in range(len(sample.shapes))]
    known = dict(zip(inputs, sample.inputs, strict=True))
    out = f"{name}.y"
    if op.accumulates:
        known[out] = replace(sample.output, zero=sample.output.whole.lo) if relu else sample.output
        clip = Clip(0.0) if relu else Clip()
        nodes = [Node(name, op, tuple(inputs), f"{name}.t"), Node(f"{name}.clip", clip, (f"{name}.t",), out)]
    elif relu and not isinstance(op, ArgMax):
        whole = sample.output.whole
        wider = replace(whole, scale=whole.scale * Fraction(7, 5), zero=whole.lo)
        known |= {f"{name}.t": sample.output, out: wider}
        nodes = [
            Node(name, op, tuple(inputs), f"{name}.t"),
            Node(f"{name}.clip", Clip(0.0), (f"{name}.t",), out),
        ]
    else:
        known[out] = sample.output
        nodes = [Node(name, op, tuple(inputs), out)]
    return nodes, inputs, out, known


def build(
    name: str, parts: list[tuple[str, Sample]], *, relu: bool | None, mode: str = "half-even"
) -> tuple[Graph, Graph]:
    """The float and the integer graph that hold the samples side by side; relu None: at every second one."""
    nodes: list[Node] = []
    inputs: list[str] = []
    outputs: list[str] = []
    known: dict[str, Scaled] = {}
    values: dict[str, Value] = {}
    codes: dict[str, str] = {}
    for i, (label, sample) in enumerate(parts):
        more, names, out, scales = float_nodes(label, sample, relu=i % 2 == 1 if relu is None else relu)
        nodes += more
        inputs += names
        outputs.append(out)
        known |= scales
        codes[label] = sample.code
        values |= {n: Value(n, shape) for n, shape in zip(names, sample.shapes, strict=True)}
        for node in more:
            shape = node.op.shape(*(values[i].shape for i in node.inputs))
            values[node.output] = Value(node.output, shape)
    real = check(Graph(name, tuple(inputs), tuple(outputs), tuple(nodes), values), integer=False)
    real, known = add_activations(real, known)
    weights = choose_weights(real, codes, {}, power_of_two=False)
    return real, lower(real, known, weights, mode)


def cases(*, relu: bool) -> list[Case]:
    """Every sample alone."""
    return [Case(name, sample, *build(name, [(name, sample)], relu=relu)) for name, sample in all_samples()]


def vectors(graph: Graph, count: int, seed: int) -> Vectors:
    """(count, *shape) per input: constant -128, 127 (ends of 16 bits), the zero point and -1; extremes; then
    random."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in graph.inputs:
        value = graph.values[name]
        assert value.quant is not None
        low, high = (-128, 127) if value.range is None else value.ends
        x = rng.integers(low, high + 1, (count, *value.shape))
        for i, constant in enumerate((low, high, value.quant.zero, -1)[:count]):
            x[i] = constant
        for i in range(4, min(8, count)):
            x[i] = rng.choice([low, high], value.shape)
        for i in range(8, min(16, count)):
            x[i] = value.quant.zero + rng.integers(-2, 3, value.shape)
        found[name] = np.clip(x, low, high)
    return found


def golden(graph: Graph, x: Vectors, domain: Any | None = None) -> list[Mapping[str, Integers]]:
    """Every value for every vector by the golden model."""
    count = len(next(iter(x.values())))
    return [run(graph, {name: array[i] for name, array in x.items()}, domain) for i in range(count)]


def with_one_buffer(graph: Graph, texts: Mapping[str, str], folder: Path) -> str:
    """Write the C of a network and a wrapper with one input and one output buffer, as the driver wants it.

    Returns the wrapper's name.
    """
    name, outer = identifier(graph.name), f"{identifier(graph.name)}_whole"
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text)

    def spans(names: tuple[str, ...], buffer: str) -> tuple[list[str], int]:
        at, found = 0, []
        for value in names:
            found.append(f"{buffer} + {at}")
            at += graph.values[value].size
        return found, at

    inputs, in_size = spans(graph.inputs, "in")
    outputs, out_size = spans(graph.outputs, "out")
    arguments = ", ".join([*inputs, *outputs])
    bits = has_bits(graph)
    lines = [
        "#include <stdint.h>", f'#include "{name}.h"',
        f"#define {outer}_INPUT_SIZE {in_size}", f"#define {outer}_OUTPUT_SIZE {out_size}",
        f"#define {outer}_ARENA_SIZE {name}_ARENA_SIZE",
        *([f"#define {outer}_HAS_BITS 1"] if bits else []),
        f"typedef {name}_input_t {outer}_input_t;", f"typedef {name}_output_t {outer}_output_t;",
        f"int {outer}_run(const {outer}_input_t *in, {outer}_output_t *out);",
        f"int {outer}_run_bits(const {outer}_input_t *in, {outer}_output_t *out, int bits);", "",
    ]  # fmt: skip
    (folder / f"{outer}.h").write_text("\n".join(lines))
    body = [
        f'#include "{outer}.h"',
        f'#include "{name}.c"',
        f"int {outer}_run(const {outer}_input_t *in, {outer}_output_t *out)",
        f"{{ return {name}_run({arguments}); }}",
    ]
    if bits:
        body.append(f"int {outer}_run_bits(const {outer}_input_t *in, {outer}_output_t *out, int bits)"
                    f" {{ return {name}_run_bits({arguments}, bits); }}")  # fmt: skip
    (folder / f"{outer}.c").write_text("\n".join([*body, ""]))
    return outer


def shown(graph: Graph, result: Result) -> dict[str, Integers]:
    """value -> (n, *shape) of every layer that a verification build shows, and of every output."""
    count = len(result.outputs)
    values: dict[str, Integers] = {}
    plan = make_plan(graph)
    for index, value, order in exposed(plan):
        seen = numbers(result.traces[index], plan.words[plan.steps[index].target])
        logical = np.empty_like(seen)
        logical[:, order] = seen
        values.setdefault(value, logical.reshape(count, *graph.values[value].shape))
    return values | {f"output {name}": array for name, array in unflatten(graph, result.outputs).items()}


@dataclass(frozen=True)
class OnMachine:
    """Runs generated C on a machine, with guard zones and traces, and gives values in logical order."""

    machine: Machine

    @property
    def name(self) -> str:
        return self.machine.name

    def __call__(self, graph: Graph, x: Vectors, folder: Path, settings: tuple[int, ...] = (8,),
                 texts: Mapping[str, str] | None = None) -> dict[int, dict[str, Integers]]:  # fmt: skip
        """bits -> value -> (n, *shape), of every layer that a verification build shows and every output."""
        outer = with_one_buffer(graph, generate_c(graph) if texts is None else texts, folder)
        program = self.machine.build(folder, outer, folder / "build", trace=True)
        flat = flatten(graph, x)
        return {bits: shown(graph, self.machine.run(program, flat, bits, folder)) for bits in settings}


@dataclass(frozen=True)
class OnRtl:
    """Runs generated Verilog, with stalls on both sides, and gives values in logical order."""

    machine: Rtl = field(default_factory=lambda: Rtl(stalls=(20, 20)))

    @property
    def name(self) -> str:
        return self.machine.name

    def __call__(self, graph: Graph, x: Vectors, folder: Path, settings: tuple[int, ...] = (8,),
                 texts: Mapping[str, str] | None = None) -> dict[int, dict[str, Integers]]:  # fmt: skip
        """As OnMachine."""
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in (generate_verilog(graph) if texts is None else texts).items():
            (folder / file).write_text(text)
        program = self.machine.build(folder, identifier(graph.name), folder / "build", trace=True)
        flat = flatten(graph, x)
        return {bits: shown(graph, self.machine.run(program, flat, bits, folder)) for bits in settings}


Executor = OnMachine | OnRtl


def executors() -> list[Executor]:
    """Every back end that the table of tests/test_ops.py compares with the golden model."""
    hosts = Host(), Host(sanitize=True, level="-O0")
    cores = Emulated(BOARDS["cortex-m4"]), Emulated(BOARDS["rv32imc"])
    return [*map(OnMachine, (*hosts, *cores)), OnRtl()]


def mismatches(graph: Graph, x: Vectors, got: Mapping[str, Integers]) -> tuple[int, int, str]:
    """(differing elements, compared elements, the first difference in words) against the golden model."""
    want = golden(graph, x)
    wrong = compared = 0
    first = ""
    for name, values in got.items():
        value = name.removeprefix("output ")
        right = np.stack([w[value] for w in want])
        assert right.shape == values.shape, (name, right.shape, values.shape)
        differs = right != values
        compared += differs.size
        wrong += int(differs.sum())
        if differs.any() and not first:
            at = tuple(int(i) for i in np.argwhere(differs)[0])
            first = f"{name}{list(at)}: expected {right[at]}, found {values[at]}"
    return wrong, compared, first


def at_bits(graph: Graph, bits: int) -> Graph:
    """The graph as it runs at `bits` activation bits."""
    return with_bits(graph, bits)
