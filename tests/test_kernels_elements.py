# SPDX-License-Identifier: Apache-2.0
"""Kernels of pools and sums against the golden model, and the search for one shift against brute force."""

import numpy as np
import pytest
import samples
from test_kernels import M4, MACHINES, SLOW

from tinybound.domains.exact import Exact
from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels.choose import kernel_plan
from tinybound.kernels.one_shift import one_shift
from tinybound.ops import Add, AveragePool, MaxPool, Requantise
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c

# size, kernel, strides, pads; channels that are a multiple of four and others
POOLS = [
    ((8, 6, 5), (3, 2), (1, 2), (1, 0, 1, 1)),
    ((4, 5, 5), (5, 5), (1, 1), (0, 0, 0, 0)),
    ((12, 3, 3), (2, 2), (2, 2), (1, 1, 0, 0)),
    ((4, 16, 16), (16, 16), (1, 1), (0, 0, 0, 0)),
    ((4, 18, 15), (18, 15), (1, 1), (0, 0, 0, 0)),
    ((3, 4, 4), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((4, 3, 3), (1, 1), (1, 1), (0, 0, 0, 0)),
]
SUMS = [(4, 3, 3), (1, 1, 1), (3, 3, 5), (16, 2, 2), (7, 1, 1)]


def network(seed):
    """Every pool and sum as a network of its own, all in one graph."""
    rng, values, nodes, inputs = np.random.default_rng(seed), {}, [], []

    def put(op, shapes, requantise):
        names = [f"x{len(inputs) + k}" for k in range(len(shapes))]
        out, i = op.shape(*shapes), len(nodes)
        inputs.extend(names)
        values.update({n: Value(n, s, Quant.of(1)) for n, s in zip(names, shapes, strict=True)})
        values[f"y{i}"] = Value(f"y{i}", out, Quant.of(1))
        if requantise is None:
            nodes.append(Node(f"n{i}", op, tuple(names), f"y{i}"))
            return
        values[f"s{i}"] = Value(f"s{i}", out, Quant.of(1))
        nodes.append(Node(f"n{i}", op, tuple(names), f"s{i}", code="int8"))
        nodes.append(Node(f"r{i}", requantise, (f"s{i}",), f"y{i}"))

    for number, (size, kernel, strides, pads) in enumerate(POOLS):
        taps, zero = kernel[0] * kernel[1], int(rng.integers(-128, 128))
        m = int((1 << 32) / taps / rng.uniform(1, 2.5)) | 1 if taps > 1 else 1
        narrow = (-90, 90) if number % 3 == 2 else (-128, 127)
        scale = Requantise(np.array([m]), np.array([32 if m > 1 else 0]), 0, 3, *narrow)
        put(AveragePool(size, kernel, strides, pads=pads, zero=zero, total=True), [size], scale)
        put(MaxPool(size, kernel, strides, (1, 1), pads), [size], None)
    for number, shape in enumerate(SUMS):
        shift = int(rng.integers(18, 30))
        ma, mb = (int(r * (1 << shift)) for r in rng.uniform(0.3, 1.4, 2))
        if number % 2:
            ma, mb = 1 << (shift - 1), -(1 << (shift - 2))  # ties, and a difference
        narrow = (-100, 90) if number % 3 == 2 else (-128, 127)
        scale = Requantise(np.array([1]), np.array([shift]), 0, -7, *narrow)
        put(Add(ma, mb, *(int(z) for z in rng.integers(-128, 128, 2))), [shape, shape], scale)
    outputs = tuple(name for name in values if name.startswith("y"))
    return Graph("elements", tuple(inputs), outputs, tuple(nodes), values)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("machine", MACHINES)
def test_pools_and_sums(machine, seed, tmp_path):
    graph = network(seed)
    x = samples.vectors(graph, 40, seed=1)
    kernels = {kernel.name for kernel in kernel_plan(graph).kernels}
    assert kernels >= {"add", "add_split", "average_fours", "average_pool", "max_fours", "max_pool"}

    wrong, compared, first = samples.mismatches(graph, x, samples.OnMachine(machine)(graph, x, tmp_path)[8])

    print(f"{compared} integers equal")
    assert compared > 10_000
    assert wrong == 0, first


@pytest.mark.parametrize("machine", [M4, *SLOW])
def test_the_number_of_instructions_does_not_depend_on_the_input(machine, tmp_path):
    graph = network(0)
    x = samples.vectors(graph, 12, seed=2)
    name = samples.with_one_buffer(graph, generate_c(graph), tmp_path)
    flat = np.concatenate([x[n].reshape(12, -1) for n in graph.inputs], axis=1).astype(np.int8)

    elf = machine.build(tmp_path, name, tmp_path, count=True)
    _, *counts = machine.run(elf, flat, 8, tmp_path).instructions

    assert len(set(counts)) == 1, counts


PLANTS = {
    "a sum reads its neighbour": ("tb_add.h", "sxtb16 r7, r4, ror #8", "sxtb16 r7, r4"),
    "the lower halves carry nothing": ("tb_add.h", "r8, asr #16", "r8, asr #31"),
    "an average forgets its odd channels": ("tb_reduce.h", "((i & 1) ? odd : even)", "even"),
    "a maximum is compared unsigned": ("tb_reduce.h", "ssub8 r5, %0, r4", "usub8 r5, %0, r4"),
    "padding counts": ("tb_reduce.h", "rows * columns * w->pad", "w->kernel_height * w->pad"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_seen(plant, tmp_path):
    file, old, new = PLANTS[plant]
    graph = network(0)
    texts = generate_c(graph)
    assert old in texts[file]
    x = samples.vectors(graph, 40, seed=1)

    texts[file] = texts[file].replace(old, new)
    got = samples.OnMachine(M4)(graph, x, tmp_path, texts=texts)

    assert samples.mismatches(graph, x, got[8])[0] > 0


@pytest.mark.parametrize("mode", ["half-even", "tflite-single"])
def test_one_shift_gives_the_same_integers_for_every_sum(mode):
    rng, found, d = np.random.default_rng(5), 0, Exact()
    for turn in range(60):
        channels, reach = 5, int(2 ** rng.uniform(12, 17))
        ratio = rng.uniform(0.2, 3, channels) * 150 / reach
        shift = np.minimum(31 - np.frexp(ratio)[1], 50) if turn % 2 else np.full(channels, 32)
        m = np.clip(np.round(ratio * 2.0**shift), 1, (1 << 31) - 1).astype(np.int64)
        if turn % 5 == 0:  # ties
            m, shift = np.ones(channels, np.int64), np.full(channels, max(reach.bit_length() - 7, 0))
        low, high = (
            -rng.integers(reach // 2, reach + 1, channels),
            rng.integers(reach // 2, reach + 1, channels),
        )
        bounds = [(-128, 127), (-128, 127), (-100, 90)][turn % 3]
        r = Requantise(m, shift.astype(np.int64), 0, int(rng.integers(-128, 128)), *bounds, mode)
        one = one_shift(r, low, high)
        if one is None:
            continue
        found += 1
        assert 33 <= one.shift <= 46
        for c in range(channels):
            sums = np.arange(low[c], high[c] + 1)[None, :]
            end = (0, r.zero, r.lo, r.hi)
            want = d.requantise(sums, m[[c]], shift[[c]], *end, mode)
            got = [
                d.requantise(sums, one.multiplier[[c]], np.array([one.shift]), *end, how)
                for how in ("half-even", "tflite-single")
            ]
            assert (want == got[0]).all()
            assert (want == got[1]).all()
    assert found > 30


def test_a_range_of_one_output_has_no_step():
    scale = Requantise(np.array([3 << 28]), np.array([33]), 0, 127, 127, 127)
    assert one_shift(scale, np.array([-900]), np.array([900])) is None


@pytest.mark.parametrize("machine", [Host(sanitize=True, level="-O0"), M4])
def test_sums_of_maps_that_hardly_move_the_output(machine, tmp_path):
    """The zero point times 2^shift is what leaves 32 bits first."""
    shape, factor, values, nodes = (4, 2, 2), (1 << 30) + 77, {}, []
    ends = [(shift, zero) for shift in (39, 40, 41, 46) for zero in (-128, 127)]
    for i, (shift, zero) in enumerate(ends):
        less = 127 if zero < 0 else -128
        a, b, s, y = names = tuple(f"{name}{i}" for name in "absy")
        values |= {name: Value(name, shape, Quant.of(1)) for name in names}
        nodes.append(Node(f"n{i}", Add(factor, factor, less, less), (a, b), s))
        scale = Requantise(np.array([1]), np.array([shift]), 0, zero, -128, 127)
        nodes.append(Node(f"r{i}", scale, (s,), y))
    inputs = tuple(name for name in values if name[0] in "ab")
    graph = Graph("far", inputs, tuple(f"y{i}" for i in range(len(ends))), tuple(nodes), values)
    x = samples.vectors(graph, 12, seed=1)

    got = samples.OnMachine(machine)(graph, x, tmp_path)[8]

    assert samples.mismatches(graph, x, got)[0] == 0
