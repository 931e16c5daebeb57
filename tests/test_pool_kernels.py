# SPDX-License-Identifier: Apache-2.0
"""Kernels for weight pools against the golden model at every number of activation bits: pools at the ends of
their range and of what fits 16 bits, windows that leave gaps in the ring, maps of one pixel."""

from dataclasses import replace

import numpy as np
import pytest
import samples
from test_kernels import M4, requantise

from tinybound.errors import PromiseError
from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels.choose import kernel_plan
from tinybound.kernels.ring import narrow_bits
from tinybound.ops import Conv, Dense
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import flatten
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c

SLOW = [pytest.param(Emulated(BOARDS[core]), marks=pytest.mark.slow, id=core)
        for core in ("cortex-m7", "cortex-m33", "cortex-m3", "rv32imc")]  # fmt: skip
M0 = Emulated(BOARDS["cortex-m0plus"])
MACHINES = [pytest.param(Host(sanitize=True, level="-O0"), id="host"), pytest.param(M4, id="cortex-m4"),
            pytest.param(M0, id="cortex-m0plus", marks=pytest.mark.slow), *SLOW]  # fmt: skip
BITS = tuple(range(2, 9))
KERNELS = ("ring", "baked", "pool64")

# input channels, outputs, height, width, kernel, strides, dilations, pads
SHAPES = [
    (8, 4, 4, 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (16, 5, 5, 3, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (8, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (24, 3, 1, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (8, 6, 5, 6, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    (16, 4, 6, 5, (3, 3), (2, 2), (1, 1), (0, 1, 1, 0)),
    (8, 3, 7, 7, (3, 3), (1, 1), (2, 2), (2, 2, 2, 2)),
    (8, 4, 8, 7, (3, 2), (2, 3), (2, 3), (3, 0, 0, 2)),
    (8, 4, 7, 5, (2, 2), (3, 1), (1, 2), (0, 2, 1, 0)),
    (8, 2, 3, 4, (4, 4), (1, 1), (1, 1), (3, 3, 3, 3)),
    (8, 35, 3, 3, (2, 1), (1, 2), (1, 1), (1, 0, 0, 0)),
]
DENSE = [(8, 1), (24, 5), (136, 34)]
POOLS = ("random", "low", "high", "turns", "edges", "narrow", "middle")


def slow(kind):
    return pytest.param(kind, marks=pytest.mark.slow)


def make_pool(rng, kind):
    """64 vectors, or fewer; `narrow` and `middle` reach the most that fits 16 bits at 8 and at 7 bits."""

    def of_size(size):
        rows = rng.multinomial(size, np.full(8, 1 / 8), 64)
        return np.minimum(rows, 127) * rng.choice([-1, 1], (64, 8))

    made = {
        "random": rng.integers(-128, 128, (64, 8)),
        "low": np.full((1, 8), -128), "high": np.full((1, 8), 127),
        "turns": np.where(np.indices((2, 8)).sum(axis=0) % 2, 127, -128),
        "edges": rng.choice([-128, 127], (64, 8)), "narrow": of_size(257), "middle": of_size(516),
    }  # fmt: skip
    return made[kind]


def network(seed, kind):
    """Every shape as a network of its own, all in one graph with one pool."""
    rng, values, nodes, ops = np.random.default_rng(seed), {}, [], []
    pool = make_pool(rng, kind)

    def weights(*shape):
        return pool[rng.integers(0, len(pool), shape)].reshape(*shape[:-1], -1)

    for c, o, h, w, kernel, strides, dilations, pads in SHAPES:
        matrix = weights(o, *kernel, c // 8).transpose(0, 3, 1, 2)
        bias, zero = rng.integers(-3000, 3000, o), int(rng.choice([-128, 127, 0, 5, -77]))
        ops.append((Conv(matrix, bias, (c, h, w), strides, dilations, pads, 1, zero), (c, h, w)))
    for c, o in DENSE:
        dense = Dense(weights(o, c // 8), rng.integers(-3000, 3000, o), int(rng.integers(-128, 128)))
        ops.append((dense, (c,)))
    for i, (op, shape) in enumerate(ops):
        reach = np.abs(op.bias) + 128 * np.abs(op.weights).reshape(len(op.bias), -1).sum(axis=1)
        out = op.shape(shape)
        values |= {n: Value(n, s, Quant.of(1)) for n, s in ((f"x{i}", shape), (f"s{i}", out), (f"y{i}", out))}
        nodes.append(Node(f"n{i}", op, (f"x{i}",), f"s{i}", code="pool64"))
        nodes.append(Node(f"r{i}", requantise(rng, reach, seed + i), (f"s{i}",), f"y{i}"))
    names = range(len(ops))
    return Graph("pools", tuple(f"x{i}" for i in names), tuple(f"y{i}" for i in names), tuple(nodes), values)


def vectors(graph, seed):
    """All activations at either end, by turns, random, and with the sign of a vector or its opposite."""
    rng, found = np.random.default_rng(seed), {}
    for node in graph.nodes[::2]:
        (name,) = node.inputs
        shape = graph.values[name].shape
        turns = np.indices(shape).sum(axis=0) % 2
        rows = [np.full(shape, -128), np.full(shape, 127), np.where(turns, 127, -128),
                rng.integers(-128, 128, shape), rng.choice([-128, 127], shape)]  # fmt: skip
        first = node.op.weights.reshape(len(node.op.bias), shape[0], -1)[0, :8, 0]
        sign = np.resize(first > 0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        rows += [np.broadcast_to(np.where(sign, a, b), shape) for a, b in ((127, -128), (-128, 127))]
        found[name] = np.stack(rows).astype(np.int64)
    return found


def with_kernel(graph, kernel):
    """The C of a graph whose pool layers are all computed by one kernel."""
    plan = kernel_plan(graph, (kernel,))
    assert {plan.kernel(step).name for step in plan.steps if "stored" in step.view} == {kernel}
    return generate_c(graph, plan=plan)


def at_bits(graph, bits):
    nodes = [replace(n, op=replace(n.op, bits=bits)) if n.code == "pool64" else n for n in graph.nodes]
    return Graph(graph.name, graph.inputs, graph.outputs, tuple(nodes), graph.values)


@pytest.mark.parametrize("kind", [kind if kind == "middle" else slow(kind) for kind in POOLS])
@pytest.mark.parametrize("machine", MACHINES)
def test_every_shape_at_every_number_of_bits(machine, kind, tmp_path):
    graph = network(POOLS.index(kind), kind)
    x = vectors(graph, 1)
    for kernel in KERNELS:
        texts = with_kernel(graph, kernel)
        got = samples.OnMachine(machine)(graph, x, tmp_path / kernel, BITS, texts)
        for bits in BITS:
            wrong, compared, first = samples.mismatches(at_bits(graph, bits), x, got[bits])
            assert compared > 5_000
            assert wrong == 0, f"{kernel} at {bits} bits: {first}"


def test_the_pools_that_are_tested():
    """16 bits hold the products of some at 8 bits, of some at 7, of some at 6 only."""
    found = {}
    for kind in ("narrow", "middle", "edges", "low"):
        steps = kernel_plan(network(POOLS.index(kind), kind)).steps
        found[kind] = next(narrow_bits(step) for step in steps if "pool" in step.view)
    assert found == {"narrow": 8, "middle": 7, "edges": 6, "low": 6}


PLANTS = {
    "a lane too many": ("pools.c", ".narrow = 6", ".narrow = 7", "edges"),
    "two lanes too many": ("pools.c", ".narrow = 7", ".narrow = 8", "middle"),
    "a vector is raised by one more": ("tb_pool.h", "(uint32_t)less[o]", "(uint32_t)less[o] + 9u", "random"),
    "padding reads zero": ("tb_pool.h", "pad[8] = {w->pad,", "pad[8] = {0,", "random"),
    "the ring does not turn": ("tb_pool.h", "slot -= (slot == size) ? size : 0;", "slot -= 0;", "random"),
    "a plane too few": ("tb_pool_dots.h", "if (count) {", "if (count > 1) {", "random"),
    "bits that were dropped come back":
        ("tb_pool_dots.h", "* 0x01010101u;", "* 0x01010101u | 0x80808080u;", "edges"),
    "the second output reads the first": ("tb_pool_sums.h", '" r3, [r2, r3"', '" r3, [r0, r3"', "random"),
    "an odd vector is left out": ("tb_pool_sums.h", '"lsls r3, r3, #31', '"lsls r3, r3, #30', "random"),
}  # fmt: skip


FIRST = {file: plant for plant, (file, *_) in reversed(PLANTS.items())}  # of each header


@pytest.mark.parametrize("plant", [plant if plant in FIRST.values() else slow(plant) for plant in PLANTS])
def test_a_planted_bug_is_seen(plant, tmp_path):
    file, old, new, kind = PLANTS[plant]
    graph = network(POOLS.index(kind), kind)
    texts = with_kernel(graph, "ring")
    x = vectors(graph, 1)
    assert old in texts[file]

    texts[file] = texts[file].replace(old, new)
    try:
        got = samples.OnMachine(M4)(graph, x, tmp_path, BITS, texts)
    except PromiseError as stopped:  # a stray write is seen as well
        print(stopped)
        return
    wrong = {bits: samples.mismatches(at_bits(graph, bits), x, got[bits])[0] for bits in BITS}
    print(f"{plant}: {wrong}")
    assert any(wrong.values())


@pytest.mark.parametrize(
    "bits, rows", [(8, 2), *(pytest.param(b, 7, marks=pytest.mark.slow) for b in (8, 4))]
)
def test_the_count_does_not_depend_on_activations(bits, rows, tmp_path):
    graph = network(0, "random")
    x = {name: array[:rows] for name, array in vectors(graph, 1).items()}
    outer = samples.with_one_buffer(graph, with_kernel(graph, "ring"), tmp_path)
    counts = {M4.count(tmp_path, outer, tmp_path, row[None], bits).total for row in flatten(graph, x)}
    print(counts)
    assert len(counts) == 1


@pytest.mark.slow
def test_pool_kernels_beside_all_others(tmp_path):
    """One file with every op and the headers of all kernels of weights."""
    graph = samples.build("all", samples.all_samples(), relu=False)[1]
    plan = kernel_plan(graph, ("ring", "straight"))
    assert {"ring", "straight", "fours", "pairs"} <= {kernel.name for kernel in plan.kernels}
    x = samples.vectors(graph, 8, seed=3)

    for machine in (Host(), M4):
        texts = generate_c(graph, plan=plan)
        got = samples.OnMachine(machine)(graph, x, tmp_path / machine.name, texts=texts)
        wrong, compared, first = samples.mismatches(graph, x, got[8])
        assert compared > 1000
        assert wrong == 0, first
