# SPDX-License-Identifier: Apache-2.0
"""Straight-line kernels of powers of two against the golden model: maps that drive every lane as far as it
goes, shapes that do not fit the blocks, and lane bounds that are planted too wide."""

from itertools import product

import numpy as np
import pytest
import samples
from test_c_target import chain, multiplications
from test_kernels import DENSE, SHAPES, requantise

from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels import buckets, buckets_code, straight, straight_code, triples_code
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Conv, Dense, Reshape
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c
from tinybound.targets.layout import lay_out
from tinybound.targets.rows import Group, can_run_by_rows

HOST = Host(sanitize=True, level="-O0")  # large sources, few vectors
FIRST = {
    "straight": "cortex-m4",
    "buckets": "rv32imc",
    "triples": "cortex-m0plus",
    "book": "cortex-m4",
}  # the core that each kernel is written for
ONE_GROUP = [shape for shape in SHAPES if shape[-1] == 1 and shape[0] < 64] + [
    (8, 5, 3, 9, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),  # pairs that go on within a row, and an odd end
    (3, 9, 3, 12, (3, 5), (1, 1), (1, 1), (1, 2, 1, 2), 1),  # three shared pixels
    (30, 2, 6, 12, (3, 3), (3, 3), (1, 1), (0, 0, 0, 0), 1),  # windows side by side: each lane has its own
    (64, 2, 1, 7, (1, 4), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    (2, 7, 3, 3, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0), 1),  # one position
    (3, 11, 3, 3, (3, 3), (3, 3), (1, 1), (1, 0, 0, 1), 1),  # one position and padding
]
WEIGHTS = ("random", "top", "turns", "low", "ones", "zero", "few")


def usual(kernel, machine, kind):
    """Run by default: on the kernel's own core weights of two kinds; on the host random ones of the first."""
    if machine is HOST:
        return kind == "random" and kernel == "straight"
    return FIRST[kernel] == machine.name and kind in WEIGHTS[:2]


EVERY = [
    pytest.param(
        *each, id=f"{each[0]}-{each[1].name}-{each[2]}", marks=() if usual(*each) else pytest.mark.slow
    )
    for each in product(FIRST, (HOST, *map(Emulated, BOARDS.values())), WEIGHTS)
]


def powers(rng, kind, shape):
    """Weights of a kind."""
    random = (1 << rng.integers(0, 7, shape)) * rng.choice([-1, 1], shape)
    made = {
        "random": random, "top": np.full(shape, 64), "low": np.full(shape, -64), "ones": np.full(shape, 1),
        "zero": np.zeros(shape), "few": random * (rng.random(shape) < 0.1),
        "turns": np.where(np.indices(shape).sum(axis=0) % 2, 8, -16),
    }  # fmt: skip
    return made[kind].astype(np.int64)


def network(seed, kind):
    """Every shape as a network of its own, all in one graph."""
    rng, values, nodes, ops = np.random.default_rng(seed), {}, [], []
    for c, o, h, w, kernel, strides, dilations, pads, _ in ONE_GROUP:
        weights, bias = powers(rng, kind, (o, c, *kernel)), rng.integers(-3000, 3000, o)
        zero = int(rng.integers(-128, 128))
        ops.append((Conv(weights, bias, (c, h, w), strides, dilations, pads, 1, zero), (c, h, w)))
    for c, o in [*DENSE[:-1], (70, 12)]:
        zero = int(rng.integers(-128, 128))
        ops.append((Dense(powers(rng, kind, (o, c)), rng.integers(-3000, 3000, o), zero), (c,)))
    for i, (op, shape) in enumerate(ops):
        reach = np.abs(op.bias) + 128 * np.abs(op.weights).reshape(len(op.bias), -1).sum(axis=1) + 1
        out = op.shape(shape)
        values |= {n: Value(n, s, Quant.of(1)) for n, s in ((f"x{i}", shape), (f"s{i}", out), (f"y{i}", out))}
        nodes.append(Node(f"n{i}", op, (f"x{i}",), f"s{i}", code="pot4"))
        nodes.append(Node(f"r{i}", requantise(rng, reach, seed + i), (f"s{i}",), f"y{i}"))
    count = range(len(ops))
    return Graph(
        "straight", tuple(f"x{i}" for i in count), tuple(f"y{i}" for i in count), tuple(nodes), values
    )


def worst(op, filters):
    """Maps that are the worst inputs of a filter, tile by tile: up, down, and by turns."""
    maps = []
    for weights in op.weights[:filters]:
        if weights.ndim == 1:
            maps += [np.where(weights > 0, a, b) for a, b in ((-128, 127), (127, -128))]
            continue
        _, height, width = op.size
        rows, columns = (np.arange(n) % k for n, k in zip((height, width), op.kernel, strict=True))
        tiled = weights[:, rows[:, None], columns]
        turns = np.arange(width) // op.kernel[1] % 2
        for flip in (np.zeros(width), np.ones(width), turns, 1 - turns):
            maps.append(np.where((tiled > 0) ^ (flip > 0), -128, 127))
    return maps


def vectors(graph, seed):
    rng, found = np.random.default_rng(seed), {}
    for node in graph.nodes[::2]:
        shape = graph.values[node.inputs[0]].shape
        rows = [np.full(shape, -128), np.full(shape, 127), *rng.integers(-128, 128, (2, *shape)),
                *rng.choice([-128, 127], (2, *shape)), *worst(node.op, 3)]  # fmt: skip
        found[node.inputs[0]] = np.stack((rows * 3)[:18]).astype(np.int64)
    return found


def differing(graph, machine, folder, kernel):
    plan = kernel_plan(graph, (kernel,))
    assert {plan.kernel(step).name for step in plan.steps if "stored" in step.view} == {kernel}
    x = vectors(graph, 1)
    got = samples.OnMachine(machine)(graph, x, folder, texts=generate_c(graph, plan=plan))[8]
    return samples.mismatches(graph, x, got)


@pytest.mark.parametrize("kernel, machine, kind", EVERY)
def test_every_shape(kernel, machine, kind, tmp_path):
    wrong, compared, first = differing(network(WEIGHTS.index(kind), kind), machine, tmp_path, kernel)

    print(f"{compared} integers equal")
    assert compared > 10_000
    assert wrong == 0, first


@pytest.mark.parametrize("limit", [33_000, 36_000, 65_535])
@pytest.mark.parametrize("kernel", ["straight", "buckets", "triples"])
def test_a_lane_that_is_too_full_is_seen(kernel, limit, monkeypatch, tmp_path):
    monkeypatch.setattr(straight_code, "LARGEST", limit)
    monkeypatch.setattr(buckets_code, "MOST", limit // 128)
    monkeypatch.setattr(triples_code, "MOST", limit // 128)
    caches = straight._code.cache_clear, buckets._code.cache_clear, kernel_plan.cache_clear
    for clear in caches:
        clear()
    wrong, compared, first = differing(network(1, "low"), Host(level="-O0"), tmp_path, kernel)
    for clear in caches:
        clear()
    print(f"{wrong} of {compared}: {first}")
    assert wrong > 0


def chained():
    """Three convolutions of maps whose outputs lie over their inputs, and a dense layer."""
    rng = np.random.default_rng(5)
    sizes = [(3, 6, 9, 7), (6, 6, 9, 7), (6, 4, 9, 7)]
    convolutions = [
        Conv(rng.normal(0, 0.3, (o, c, 3, 3)), rng.normal(0, 0.2, o), (c, h, w), pads=(1, 1, 1, 1))
        for c, o, h, w in sizes
    ]
    dense = Dense(rng.normal(0, 0.1, (5, 4 * 9 * 7)), rng.normal(0, 0.2, 5))
    return chain("tiny", (3, 9, 7), *convolutions, Reshape((4 * 9 * 7,)), dense, code="pot4", two=True)


@pytest.mark.parametrize("by_rows", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("kernel", FIRST)
def test_layers_that_follow_each_other(kernel, by_rows, tmp_path):
    graph = chained()
    plan = kernel_plan(graph, (kernel,))
    rows = [step.index for step in plan.steps if can_run_by_rows(plan, step)]
    memory = lay_out(plan, (Group(plan, rows[0], rows[2]),) if by_rows else ())
    x = samples.vectors(graph, 6, seed=3)

    texts = generate_c(graph, memory=memory, plan=plan)
    got = samples.OnMachine(HOST)(graph, x, tmp_path, texts=texts)[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    assert compared > 1000
    assert wrong == 0, first


@pytest.mark.parametrize("kernel", FIRST)
def test_powers_of_two_need_no_multiplication(kernel, tmp_path):
    graph = chained()
    for march in ("rv32i", "rv32im"):
        plan = kernel_plan(graph, (kernel,))
        assert multiplications(graph, tmp_path, march, plan=plan) == ([], [])


@pytest.mark.parametrize("kernel", ["straight", "triples", "buckets"])
def test_the_same_instructions_for_every_input(kernel, tmp_path):
    core, graph = FIRST[kernel], chained()
    for file, text in generate_c(graph, plan=kernel_plan(graph, (kernel,))).items():
        (tmp_path / file).write_text(text)
    rng = np.random.default_rng(1)
    size = graph.values["x"].size
    x = np.stack([np.full(size, -128), np.full(size, 127), *rng.integers(-128, 128, (3, size))])

    counts = Emulated(BOARDS[core]).count_each(tmp_path, "tiny", tmp_path, x.astype(np.int8))

    assert len({(each.total, each.layers) for each in counts}) == 1
