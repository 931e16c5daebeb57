# SPDX-License-Identifier: Apache-2.0
"""Depthwise layers that compute two positions side by side against the golden model: lines of every length,
pads that leave no window inside, rows that lie over what they read."""

from dataclasses import replace

import numpy as np
import pytest
import samples
from test_kernels import M4, MACHINES, WEIGHTS, network, vectors

from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Conv, Requantise
from tinybound.ranges import INT8, Range
from tinybound.targets.c import generate_c
from tinybound.targets.layout import buffers_of, lay_out

# input channels, outputs, height, width, kernel, strides, dilations, pads, groups
SHAPES = [
    (channels, channels, height, width, (3, 3), (stride, 1), (dilation, 1), pads, channels)
    for channels, height, width, stride, dilation, pads in (
        (4, 1, 2, 1, 1, (1, 1, 1, 1)),
        (4, 5, 3, 1, 1, (1, 1, 1, 1)),
        (8, 4, 5, 1, 1, (1, 1, 1, 1)),
        (12, 3, 4, 1, 1, (0, 0, 0, 0)),
        (20, 6, 5, 2, 1, (0, 0, 1, 0)),
        (16, 7, 8, 1, 1, (1, 1, 1, 1)),
        (4, 9, 11, 1, 2, (2, 0, 2, 2)),
        (36, 3, 12, 1, 1, (0, 2, 0, 2)),
        (4, 2, 1, 1, 1, (2, 2, 2, 2)),
        (8, 5, 10, 3, 1, (2, 1, 2, 0)),
    )
]


def made(seed, weights):
    """The network and its C, every layer by this kernel."""
    graph = network(seed, weights, dense=[], shapes=SHAPES)
    plan = kernel_plan(graph, ("neighbours",))
    assert sum(plan.kernel(step).name == "neighbours" for step in plan.steps) > len(SHAPES) // 2  # no ties
    return graph, generate_c(graph, plan=plan)


ALL = [pytest.param(w, marks=() if w in ("random", "low") else pytest.mark.slow) for w in WEIGHTS]


@pytest.mark.parametrize("weights", ALL)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_line(machine, weights, tmp_path):
    graph, texts = made(WEIGHTS.index(weights), weights)
    assert "tb_affine_neighbours(" in texts["kernels.c"]
    x = vectors(graph, 1)
    got = samples.OnMachine(machine)(graph, x, tmp_path, texts=texts)[8]
    wrong, compared, first = samples.mismatches(graph, x, got)
    print(f"{compared} integers equal")
    assert compared > 10_000
    assert wrong == 0, first


@pytest.mark.parametrize("machine", [M4])
def test_the_number_of_instructions_does_not_depend_on_the_input(machine, tmp_path):
    graph, texts = made(0, "random")
    x = vectors(graph, 1)
    name = samples.with_one_buffer(graph, texts, tmp_path)
    flat = np.concatenate([x[n].reshape(13, -1) for n in graph.inputs], axis=1).astype(np.int8)
    elf = machine.build(tmp_path, name, tmp_path, count=True)
    _, *counts = machine.run(elf, flat, 8, tmp_path).instructions
    assert len(counts) == 13
    assert len(set(counts)) == 1


PLANTS = {  # what the header says, and what it says instead
    "a column is its neighbour's": ("smlad r8, r5, r4, r8", "smlad r8, r6, r4, r8"),
    "the last weight is another channel's": ("sxtb lr, r12, ror #24", "sxtb lr, r12, ror #8"),
    "the next position has the last row of this one": ("smlabt r10, r5, r6, r10", "smlabb r10, r5, r6, r10"),
    "padding reads zero": ("(uint8_t)w->pad * four", "0 * four"),
    "no lower bound": ("sel r8, r8, r4", "sel r8, r8, r8"),
    "a pair less at the end of a line": ("(w->width - x0 - 2) >> 1", "(w->width - x0) >> 1"),
}


@pytest.mark.parametrize(
    "plant", [pytest.param(p, marks=[pytest.mark.slow] * (i > 2)) for i, p in enumerate(PLANTS)]
)
def test_a_planted_bug_is_seen(plant, tmp_path):
    graph, texts = made(3, "random")
    old, new = PLANTS[plant]
    text = texts["tb_neighbours.h"]
    assert old in text
    texts["tb_neighbours.h"] = text.replace(old, new)
    got = samples.OnMachine(M4)(graph, vectors(graph, 1), tmp_path, texts=texts)
    wrong, compared, first = samples.mismatches(graph, vectors(graph, 1), got[8])
    print(f"{wrong} of {compared}: {first}")
    assert wrong > 0


@pytest.mark.parametrize("gap", [-8, -4, 0, 4, 12])
def test_outputs_lie_over_what_was_read(gap, tmp_path):
    """As near to the input as the layout allows, and further off by less than a pixel; nearer, it is seen."""
    rng, shape = np.random.default_rng(3), (16, 5, 8)
    weights, bias = rng.integers(-128, 128, (16, 1, 3, 3)), rng.integers(-3000, 3000, 16)
    ratio = Requantise(rng.integers(1 << 29, 1 << 30, 16) * 2 + 1, np.full(16, 41), 0, 3, -128, 127)
    whole = Requantise(np.array([1]), np.array([0]), 0, 0, -128, 127)
    op = Conv(weights, bias, shape, (1, 1), (1, 1), (1, 1, 1, 1), 16, 5)
    values = {n: Value(n, shape, Quant.of(1), Range(*INT8)) for n in ("x", "a", "s", "b", "y")}
    nodes = (
        Node("first", whole, ("x",), "a"),
        Node("layer", op, ("a",), "s", code="int8"),
        Node("layer2", ratio, ("s",), "b"),
        Node("last", whole, ("b",), "y"),
    )
    graph = Graph("over", ("x",), ("y",), nodes, values)
    plan = kernel_plan(graph, ("neighbours",))
    (step,) = (step for step in plan.steps if plan.kernel(step).name == "neighbours")
    memory = lay_out(plan, ())
    buffers, *_ = buffers_of(plan, (), "caller")
    ((_, between),) = next(buffer.over for buffer in buffers if buffer.name == step.target)
    assert between % 4 == 0
    begin = dict.fromkeys(("x.physical", *step.sources), between + gap) | {step.target: 0}
    memory = replace(memory, offsets={**memory.offsets, **begin}, arena=between + gap + plan.bytes("a"))
    texts = generate_c(graph, memory=memory, plan=plan)
    x = {"x": rng.integers(-128, 128, (3, *shape))}
    got = samples.OnMachine(M4)(graph, x, tmp_path, texts=texts)[8]
    wrong, compared, first = samples.mismatches(graph, x, {"y": got["y"]})
    print(f"{wrong} of {compared}: {first}")
    assert (wrong > 0) == (gap < 0)
