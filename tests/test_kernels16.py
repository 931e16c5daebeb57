# SPDX-License-Identifier: Apache-2.0
"""Kernels for activations of 16 bits against the golden model: shapes that do not fit their blocks, weights
and inputs at the ends of their range, inputs that drive a sum as far as it goes, every way to requantise."""

import numpy as np
import pytest
import samples
from test_kernels import MACHINES, SHAPES, integers

from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Add, Conv, Dense, Requantise
from tinybound.ranges import INT8, INT16, Range
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.targets.c import generate_c
from tinybound.targets.plan import make_plan

M4 = Emulated(BOARDS["cortex-m4"])
FAST = ("quads_16", "wide_16")
DENSE = [(1, 1), (2, 3), (17, 8), (64, 4), (66, 7), (35, 12), (515, 5), (1040, 4)]
WEIGHTS = ("random", "low", "high", "turns", "small")
BOUNDS = [(-32768, 32767, -32768), (-32768, 32767, 77), (0, 32767, 0), (-20000, 9000, -3), (700, 32767, 700)]


def requantise(rng, reach, kind):
    """Ratios that spread sums over the codes, or saturate most of them: odd, even and 1 as multipliers."""
    size = 1 if kind % 2 else len(reach)
    most = [int(reach.max())] if size == 1 else [int(each) for each in reach]
    bits = np.array([max(each.bit_length() - int(rng.integers(14, 19)), 0) for each in most])
    if kind % 5 == 0:  # ties
        multiplier, shift = np.ones(size, dtype=np.int64), bits
    elif kind % 5 == 1:  # 32 and an odd multiplier, as quantise/requantise.py likes it
        multiplier, shift = (1 << np.clip(32 - bits, 1, 31)) // 2 * 2 - 1, np.full(size, 32)
    else:
        long = min(31, 62 - max(most).bit_length())
        multiplier = rng.integers(1 << (long - 1), 1 << long, size) & -(1 << int(rng.integers(0, 12)))
        shift = bits + long
    low, high, zero = BOUNDS[int(rng.integers(5))]
    return Requantise(multiplier, shift, 0, zero, low, high)


def network(seed, weights, reads=INT16, writes=INT16):
    """Every shape as a network of its own, all in one graph, between integers of these ranges."""
    rng, values, nodes, ops = np.random.default_rng(seed), {}, [], []
    low, high = reads
    for c, o, h, w, kernel, strides, dilations, pads, groups in SHAPES:
        matrix = integers(rng, weights, (o, c // groups, *kernel), "int8")
        bias, zero = rng.integers(-300_000, 300_000, o), int(rng.integers(low, high + 1))
        ops.append((Conv(matrix, bias, (c, h, w), strides, dilations, pads, groups, zero), (c, h, w)))
    for c, o in DENSE:
        matrix, zero = integers(rng, weights, (o, c), "int8"), int(rng.integers(low, high + 1))
        ops.append((Dense(matrix, rng.integers(-300_000, 300_000, o), zero), (c,)))
    for i, (op, shape) in enumerate(ops):
        reach = np.abs(op.bias) + (high - low) * np.abs(op.weights).reshape(len(op.bias), -1).sum(axis=1)
        out, then = op.shape(shape), requantise(rng, reach, seed + i)
        if writes == INT8:
            then = Requantise(then.multiplier, np.minimum(then.shift + 8, 62), 0, 3, *INT8)
        values[f"x{i}"] = Value(f"x{i}", shape, Quant.of(1), Range(*reads))
        values[f"s{i}"] = Value(f"s{i}", out, Quant.of(1), Range(-int(reach.max()), int(reach.max())))
        values[f"y{i}"] = Value(f"y{i}", out, Quant.of(1), Range(*writes))
        nodes.append(Node(f"n{i}", op, (f"x{i}",), f"s{i}", code="int8"))
        nodes.append(Node(f"r{i}", then, (f"s{i}",), f"y{i}"))
    names = [tuple(f"{letter}{i}" for i in range(len(ops))) for letter in "xy"]
    return Graph("kernels", *names, tuple(nodes), values)


def vectors(graph, seed):
    """All codes at one end, by turns, random, and with the sign of a filter's weights."""
    rng, found = np.random.default_rng(seed), {}
    for node in graph.nodes[::2]:
        (name,) = node.inputs
        shape, (low, high) = graph.values[name].shape, graph.values[name].ends
        turns = np.indices(shape).sum(axis=0) % 2
        rows = [np.full(shape, low), np.full(shape, high), np.where(turns, high, low),
                np.where(turns, low, high), *rng.integers(low, high + 1, (2, *shape)),
                rng.choice([low, high], shape)]  # fmt: skip
        each = node.op.weights[0] if len(shape) == 1 else node.op.weights[0][:, :1, :1]
        sign = np.resize(each > 0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        rows += [np.broadcast_to(np.where(sign, a, b), shape) for a, b in ((high, low), (low, high))]
        found[name] = np.stack(rows).astype(np.int64)
    return found


def differing(machine, graph, folder, change=None):
    """(wrong elements, compared ones, the first in words) of the fast kernels; change: file, old, new."""
    texts = generate_c(graph, plan=kernel_plan(graph, FAST))
    if change is not None:
        file, old, new = change
        assert old in texts[file]
        texts[file] = texts[file].replace(old, new)
    x = vectors(graph, 1)
    return samples.mismatches(graph, x, samples.OnMachine(machine)(graph, x, folder, texts=texts)[8])


QUICK = ("random",)
ALL = [pytest.param(weights, marks=() if weights in QUICK else pytest.mark.slow) for weights in WEIGHTS]
HOST, *REST = MACHINES  # the host is quick enough, but test_int16.py has these kernels there


@pytest.mark.parametrize("weights", ALL)
@pytest.mark.parametrize("machine", [*REST, pytest.param(*HOST.values, marks=pytest.mark.slow, id="host")])
def test_every_shape(machine, weights, tmp_path):
    wrong, compared, first = differing(machine, network(WEIGHTS.index(weights), weights), tmp_path)
    print(f"{compared} integers equal")
    assert compared > 10_000
    assert wrong == 0, first


@pytest.mark.slow
@pytest.mark.parametrize(("reads", "writes"), [(INT8, INT16), (INT16, INT8)], ids=["8 to 16", "16 to 8"])
@pytest.mark.parametrize("machine", MACHINES)
def test_between_8_and_16_bits(machine, reads, writes, tmp_path):
    wrong, compared, first = differing(machine, network(7, "random", reads, writes), tmp_path)
    assert compared > 10_000
    assert wrong == 0, first


def sums(seed):
    """Sums of maps with every kind of bounds and many ties, of even and odd sizes."""
    rng, values, nodes = np.random.default_rng(seed), {}, []
    for i in range(16):
        shift, low = int(rng.choice([17, 18, 26, 31, 32, 33, 46])), int(rng.integers(0, 3))
        top = min(shift + 1, 30)
        ma, mb = (int(rng.integers(1, 1 << min(top, 6))) << max(top - 6, 0) for _ in "ab")
        za, zb = map(int, rng.integers(-3000, 3000, 2) * low)
        low, high, zero = BOUNDS[i % 5]
        then = Requantise(np.ones(1, np.int64), np.full(1, shift), 0, zero & ~1, low, high)
        shape = (int(rng.choice([1, 2, 7, 64, 101])),)
        values |= {f"{n}{i}": Value(f"{n}{i}", shape, Quant.of(1), Range(*INT16)) for n in "aby"}
        values[f"s{i}"] = Value(f"s{i}", shape, Quant.of(1), Range(-(1 << 47), 1 << 47))
        nodes.append(Node(f"n{i}", Add(ma, mb, za, zb), (f"a{i}", f"b{i}"), f"s{i}"))
        nodes.append(Node(f"r{i}", then, (f"s{i}",), f"y{i}"))
    ends = [tuple(f"{n}{i}" for i in range(16) for n in names) for names in ("ab", "y")]
    return Graph("sums", *ends, tuple(nodes), values)


SUMS = [
    pytest.param(M4, id="cortex-m4"),
    pytest.param(*HOST.values, marks=pytest.mark.slow, id="host"),
    *REST[1:],
]


@pytest.mark.parametrize("machine", SUMS)
def test_sums_of_two_maps(machine, tmp_path):
    graph = sums(1)
    taken = {kernel_plan(graph, ("sum_16",)).kernel(step).name for step in make_plan(graph).steps}
    x = samples.vectors(graph, 24, 3)
    gold = samples.golden(graph, x)
    ties = 0
    for add, then in zip(graph.nodes[::2], graph.nodes[1::2], strict=True):
        unit = 1 << int(then.op.shift[0])
        ties += sum(int((2 * each[add.output] % (2 * unit) == unit).sum()) for each in gold)
    wrong, compared, first = samples.mismatches(graph, x, samples.OnMachine(machine)(graph, x, tmp_path)[8])
    print(f"{compared} integers equal, {ties} ties; {taken}")
    assert ties > 100
    assert "sum_16" in taken
    assert wrong == 0, first


def difference(factor, zero):
    """(a - b) factor / 2^33 + zero."""
    values = {n: Value(n, (9,), Quant.of(1), Range(*INT16)) for n in "aby"}
    values["s"] = Value("s", (9,), Quant.of(1), Range(-(1 << 47), 1 << 47))
    then = Requantise(np.ones(1, np.int64), np.full(1, 33), 0, zero, *INT16)
    nodes = Node("n", Add(factor, -factor), ("a", "b"), "s"), Node("r", then, ("s",), "y")
    return Graph("difference", ("a", "b"), ("y",), nodes, values)


@pytest.mark.parametrize("zero, taken", [(16380, False), (8190, True), (-8190, True), (-16380, False)])
def test_a_difference_of_two_maps_fits_64_bits(zero, taken, tmp_path):
    """Both maps at opposite ends, and a zero point that moves what they reach further."""
    graph = difference((1 << 30) - 1, zero)
    plan = kernel_plan(graph, ("sum_16",))
    ends = np.array([[a] * 8 + [b] for a in INT16 for b in INT16])
    x = {"a": ends, "b": ends[::-1]}
    wrong, _, first = samples.mismatches(graph, x, samples.OnMachine(M4)(graph, x, tmp_path)[8])
    assert wrong == 0, first
    assert (plan.kernel(plan.steps[0]).name == "sum_16") == taken


def test_the_kernels_that_are_tested():
    """Both kernels, sums of both lengths, and all ways to requantise."""
    found = set()
    for seed, weights in enumerate(WEIGHTS):
        graph = network(seed, weights)
        plan = kernel_plan(graph, FAST)
        for step in plan.steps:
            kernel = plan.kernel(step)
            if kernel.name == "quads_16":
                found.add(kernel.functions(step)[0].name)
            if kernel.name == "wide_16":
                found.add((kernel.name, kernel.inner(step)[1]))
    assert found == {
        *(f"tb_direct_quads_int16_{bounds}" for bounds in range(3)),
        *(f"tb_quads_int16_int16_int{bits}" for bits in (32, 64)),
        *(("wide_16", bounds) for bounds in range(3)),
    }


@pytest.mark.parametrize("machine", [M4, *MACHINES[2:]])
def test_the_number_of_instructions_does_not_depend_on_the_input(machine, tmp_path):
    graph = network(0, "random")
    x = vectors(graph, 1)
    name = samples.with_one_buffer(graph, generate_c(graph, plan=kernel_plan(graph, FAST)), tmp_path)
    elf = machine.build(tmp_path, name, tmp_path, count=True)
    _, *counts = machine.run(elf, samples.flatten(graph, x), 8, tmp_path).instructions
    print(counts)
    assert len(counts) == 9
    assert len(set(counts)) == 1


QUADS, WIDE, BOUND = "tb_dsp_quads_16.h", "tb_dsp_wide_16.h", "tb_dsp_bounds_16.h"
PLANTS = {  # header, what it says, and what it says instead
    "the second position reads the first": (QUADS, "smlad lr, r3, r9, lr", "smlad lr, r3, r7, lr"),
    "a filter reads another's taps": (QUADS, "sxtb16 r5, r3\\n", "sxtb16 r5, r2\\n"),
    "a pair begins at the one before": (QUADS, "{ 8 - w->row_bytes, -8 }", "{ -w->row_bytes, 0 }"),
    "the rest is not taken over": (QUADS, "rest[4 + i - whole]", "rest[i - whole]"),
    "no rounding": (
        BOUND,
        '"smmla " sum ", " sum ", " multiplier ", " round',
        '"smmul " sum ", " sum ", " multiplier',
    ),
    "no lower bound": (BOUND, 'sel " word ", " word ", r4', 'sel " word ", " word ", " word "'),
    "no upper bound": (BOUND, 'sel " word ", r5, " word "', 'sel " word ", " word ", " word "'),
    "outputs below 0": (BOUND, "usat", "ssat"),
    "padding reads zero": ("tb_quads_16.h", "(int16_t)pad;", "(int16_t)(0 * pad);"),
    "a line begins one later": ("tb_quads_16.h", "in + tap + before, count", "in + tap + before + 1, count"),
    "a chunk of 32 bits is too long": ("tb_quads_16.h", "TB_CHUNK 120", "TB_CHUNK 200"),
    "words: a channel reads its neighbour": (WIDE, "smlatt r9, r6, lr, r9", "smlabt r9, r6, lr, r9"),
    "words: a last tap is another's": (WIDE, "smlatt r11, r4, r0, r11", "smlatb r11, r4, r0, r11"),
    "words: padding reads zero": ("tb_wide_16.h", "(int16_t)pad;", "(int16_t)(0 * pad);"),
    "words: a shift is another channel's": (WIDE, "lsr r12, r12, #8", "lsr r12, r12, #0"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_seen(plant, tmp_path):
    graph = network(1, "low" if "chunk" in plant else "random")
    wrong, compared, first = differing(M4, graph, tmp_path, PLANTS[plant])
    print(f"{wrong} of {compared}: {first}")
    assert wrong > 0
