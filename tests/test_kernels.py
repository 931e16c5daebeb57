# SPDX-License-Identifier: Apache-2.0
"""Kernels for int8 layers against the golden model: shapes that do not fit their blocks, weights and inputs
at the ends of their range, inputs that drive a sum as far as it goes, every way to requantise."""

import numpy as np
import pytest
import samples

from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Conv, Dense, Requantise
from tinybound.ranges import INT8, Range
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c

SLOW = [pytest.param(Emulated(BOARDS[core]), marks=pytest.mark.slow, id=core)
        for core in ("cortex-m7", "cortex-m33", "cortex-m0plus", "cortex-m3", "rv32imc")]  # fmt: skip
M4 = Emulated(BOARDS["cortex-m4"])
MACHINES = [
    pytest.param(Host(sanitize=True, level="-O0"), id="host"),
    pytest.param(M4, id="cortex-m4"),
    *SLOW,
]

# input channels, outputs, height, width, kernel, strides, dilations, pads, groups
SHAPES = [
    (3, 5, 5, 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    (4, 2, 3, 3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    (4, 3, 4, 3, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 1),
    (1, 4, 9, 6, (5, 4), (2, 2), (1, 1), (2, 1, 2, 1), 1),
    (16, 4, 6, 6, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), 1),
    (7, 6, 5, 4, (2, 3), (1, 2), (1, 1), (1, 0, 0, 2), 1),
    (5, 3, 7, 7, (3, 3), (1, 1), (2, 2), (2, 2, 2, 2), 1),
    (2, 2, 3, 4, (4, 4), (1, 1), (1, 1), (3, 3, 3, 3), 1),
    (64, 3, 3, 3, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (6, 6, 4, 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 6),
    (8, 8, 5, 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 8),
    (4, 4, 5, 5, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), 4),
    (12, 12, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 12),
    (16, 16, 7, 3, (5, 2), (1, 1), (2, 1), (4, 1, 1, 0), 16),
    (4, 8, 4, 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 4),
    (6, 4, 4, 4, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0), 2),
    (8, 12, 3, 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (3, 8, 5, 6, (3, 3), (2, 1), (1, 1), (0, 1, 1, 1), 1),
    (20, 4, 2, 2, (2, 1), (1, 1), (1, 1), (1, 0, 0, 0), 1),
    (8, 8, 2, 9, (3, 4), (1, 2), (1, 1), (1, 0, 1, 0), 8),
    (5, 8, 3, 3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),  # taps that fill up, and one position behind pairs
    (3, 8, 5, 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),  # 27 taps, and a last position without a second
]
DENSE = [(1, 1), (2, 3), (17, 8), (64, 4), (66, 7), (35, 12), (640, 4)]
# These take what layers they can, though others may be predicted faster for so small shapes.
FAST = ("halves", "pairs", "wide", "depthwise", "fours")
WEIGHTS = ("random", "low", "high", "turns", "small", "wide")


def integers(rng, kind, shape, code):
    """Weights of a kind; `wide` are so many extremes that the packed sums of long windows leave 32 bits."""
    low, high = {"int8": (-128, 127), "int4": (-8, 7)}[code]
    made = {
        "random": rng.integers(low, high + 1, shape), "low": np.full(shape, low),
        "high": np.full(shape, high), "turns": np.where(np.indices(shape).sum(axis=0) % 2, high, low),
        "small": rng.integers(-2, 3, shape), "wide": rng.choice([low, high], shape),
    }  # fmt: skip
    return made[kind].astype(np.int64)


def requantise(rng, reach, kind):
    """Ratios that spread sums over the codes, or saturate most of them: odd, even and 1 as multipliers."""
    size = 1 if kind % 2 else len(reach)
    most = np.full(1, reach.max()) if size == 1 else reach
    bits = np.maximum(np.ceil(np.log2(most)).astype(np.int64) - int(rng.integers(5, 9)), 0)
    if kind % 5 == 0:  # ties
        multiplier, shift = np.ones(size, dtype=np.int64), bits
    elif kind % 5 == 1:  # 32 and an odd multiplier, as quantise/requantise.py likes it
        multiplier, shift = (1 << np.maximum(32 - bits, 1)) // 2 * 2 - 1, np.full(size, 32)
    else:
        multiplier = rng.integers(1 << 30, 1 << 31, size) & -(1 << int(rng.integers(0, 12)))
        shift = bits + 31
    whole = [(-128, 127, zero) for zero in (-128, 5, 90)]
    low, high, zero = [*whole, (-100, 90, -3), (7, 127, 7)][int(rng.integers(5))]
    return Requantise(np.minimum(multiplier, (1 << 31) - 1), shift, 0, zero, low, high)


def network(seed, weights, code="int8", dense=DENSE, shapes=SHAPES):
    """Every shape as a network of its own, all in one graph; channels last where the layers have several."""
    rng, values, nodes = np.random.default_rng(seed), {}, []
    ops = []
    for c, o, h, w, kernel, strides, dilations, pads, groups in shapes:
        matrix = integers(rng, weights, (o, c // groups, *kernel), code)
        bias, zero = rng.integers(-3000, 3000, o), int(rng.integers(-128, 128))
        ops.append((Conv(matrix, bias, (c, h, w), strides, dilations, pads, groups, zero), (c, h, w)))
    for c, o in dense:
        matrix, zero = integers(rng, weights, (o, c), code), int(rng.integers(-128, 128))
        ops.append((Dense(matrix, rng.integers(-3000, 3000, o), zero), (c,)))
    for i, (op, shape) in enumerate(ops):
        reach = np.abs(op.bias) + 128 * np.abs(op.weights).reshape(len(op.bias), -1).sum(axis=1)
        out = op.shape(shape)
        values[f"x{i}"] = Value(f"x{i}", shape, Quant.of(1), Range(*INT8))
        values |= {n: Value(n, out, Quant.of(1)) for n in (f"s{i}", f"y{i}")}
        nodes.append(Node(f"n{i}", op, (f"x{i}",), f"s{i}", code=code))
        nodes.append(Node(f"r{i}", requantise(rng, reach, seed + i), (f"s{i}",), f"y{i}"))
    count = range(len(ops))
    return Graph(
        "kernels", tuple(f"x{i}" for i in count), tuple(f"y{i}" for i in count), tuple(nodes), values
    )


def vectors(graph, seed, worst=(0, 1)):
    """All codes at one end, by turns, random, and with the sign of the `worst` filters' weights."""
    rng, found = np.random.default_rng(seed), {}
    for node in graph.nodes[::2]:
        (name,) = node.inputs
        shape = graph.values[name].shape
        turns = np.indices(shape).sum(axis=0) % 2
        rows = [np.full(shape, -128), np.full(shape, 127), np.where(turns, 127, -128),
                np.where(turns, -128, 127), *rng.integers(-128, 128, (3, *shape)),
                *rng.choice([-128, 127], (2, *shape))]  # fmt: skip
        filters = [node.op.weights[min(i, len(node.op.weights) - 1)] for i in worst]
        for each in filters:  # as far up and down as a sum of these weights goes
            each = each if len(shape) == 1 else each[:, :1, :1]
            sign = np.resize(each > 0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
            rows += [np.broadcast_to(np.where(sign, a, b), shape) for a, b in ((127, -128), (-128, 127))]
        found[name] = np.stack((rows * 2)[:13]).astype(np.int64)
    return found


QUICK = ("random", "low")
ALL = [pytest.param(weights, marks=() if weights in QUICK else pytest.mark.slow) for weights in WEIGHTS]


@pytest.mark.parametrize("weights", ALL)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_shape(machine, weights, tmp_path):
    graph = network(WEIGHTS.index(weights), weights)
    x = vectors(graph, 1)

    texts = generate_c(graph, plan=kernel_plan(graph, FAST))
    got = samples.OnMachine(machine)(graph, x, tmp_path, texts=texts)[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    print(f"{compared} integers equal")
    assert compared > 10_000
    assert wrong == 0, first


def test_the_kernels_that_are_tested():
    """Every order of weights is among the layers, and both ways to requantise."""
    kernels, direct = set(), set()
    for seed, weights in enumerate(WEIGHTS):
        graph = network(seed, weights)
        plan = kernel_plan(graph, FAST)
        kernels |= {plan.kernel(step).name for step in plan.steps if "stored" in step.view}
        text = generate_c(graph, plan=plan)["kernels.c"]
        direct |= {
            line.split(", ")[-1] for line in text.splitlines() if line.endswith(" };") and "shift" in line
        }
    assert kernels == {"int8", "pairs", "halves", "depthwise", "wide"}
    assert {"0 };", "1 };"} <= direct


@pytest.mark.parametrize("kernel", ["wide", "neighbours"])
def test_weights_in_words_take_a_byte_each(kernel):
    """Beside them a bias and a multiplier per channel."""
    found = 0
    for seed in range(4):
        plan = kernel_plan(network(seed, "random"), (kernel,))
        for step in plan.steps:
            if plan.kernel(step).name == kernel:
                channels, taps = step.view["rows"].shape
                assert plan.packed(step).weights.nbytes == channels * (taps + 8)
                found += 1
    assert found


@pytest.mark.parametrize("kernel", ["wide", "neighbours"])
def test_bytes_of_words_whatever_the_order_of_bytes(kernel, tmp_path):
    """As on a machine whose words begin with their highest byte: by value, not by address."""
    graph, little = network(1, "low"), "defined __BYTE_ORDER__ && "
    texts, x = generate_c(graph, plan=kernel_plan(graph, (kernel,))), vectors(graph, 3)
    assert little in texts["tb_bytes.h"]
    texts["tb_bytes.h"] = texts["tb_bytes.h"].replace(little, "0 && ")
    found = samples.OnMachine(Host(level="-O0"))(graph, x, tmp_path, texts=texts)[8]
    wrong, compared, first = samples.mismatches(graph, x, found)
    assert compared > 10_000
    assert wrong == 0, first


@pytest.mark.parametrize("machine", [M4, *SLOW])
def test_the_number_of_instructions_does_not_depend_on_the_input(machine, tmp_path):
    graph = network(0, "random")
    x = vectors(graph, 1)
    name = samples.with_one_buffer(graph, generate_c(graph, plan=kernel_plan(graph, FAST)), tmp_path)
    flat = np.concatenate([x[n].reshape(13, -1) for n in graph.inputs], axis=1).astype(np.int8)

    elf = machine.build(tmp_path, name, tmp_path, count=True)
    _, *counts = machine.run(elf, flat, 8, tmp_path).instructions

    print(counts)
    assert len(counts) == 13
    assert len(set(counts)) == 1


PLANTS = {  # header, what it says, and what it says instead
    "the second position reads the first": ("tb_dsp_pairs.h", "smlad %[a1], r5, r10", "smlad %[a1], r5, r9"),
    "the low filter keeps its 128": ("tb_dsp_pairs.h", "*less1 = -128 * s1;", "*less1 = 0 * s1;"),
    "the high filter is signed by the low one": ("tb_dsp_pairs.h", "(s1 - a1) >> 8", "s1 >> 8"),
    "no rounding": ("tb_dsp.h", '"smmla %0, %1, %2, %4', '"smmul %0, %1, %2'),
    "no lower bound": ("tb_dsp.h", "tb_max(row[i], r->lo)", "tb_max(row[i], -128)"),
    "padding reads zero": ("tb_dsp_pairs.h", "w->pad, w->depth);", "0, w->depth);"),
    "a line outside reads zero": ("tb_dsp_pairs.h", "w->pad, line);", "0, line);"),
    "an odd window loses its last": ("tb_dsp_pairs.h", "if (count > 1) {", "if (count > 9) {"),
    "a depthwise tap reads its neighbour": ("tb_dsp.h", 'TB_TAP("r5", "r8")', 'TB_TAP("r5", "r6")'),
    "depthwise padding reads zero": ("tb_dsp.h", "pads[c] = w->pad;", "pads[c] = 0;"),
    "words: a channel reads its neighbour": ("tb_wide.h", "smlad r9, r5, r3, r9", "smlad r9, r4, r3, r9"),
    "words: a last tap is another's": ("tb_wide.h", "smlatt r11, r5, r3, r11", "smlabb r11, r5, r3, r11"),
    "words: a weight is another channel's": ("tb_wide.h", "sxtb16 lr, r12, ror #8", "sxtb16 lr, r12"),
    "words: padding reads zero": ("tb_wide.h", "(uint8_t)w->pad * four", "0 * four"),
    "words: no lower bound": ("tb_wide.h", "sel r8, r8, r4", "sel r8, r8, r8"),
    "words: a position is written over": ("tb_wide_walk.h", "subs r8, r8, r5", "subs r8, r8, r7"),
    "halves: the second reads the first": ("tb_dsp_halves.h", "smlad r11, r5, r9", "smlad r11, r5, r7"),
    "halves: the low filter keeps its 128": ("tb_dsp_halves.h", "two.less[1] = -128", "two.less[1] = 0"),
    "halves: a filter is unpacked as signed": ("tb_dsp_halves.h", "uxtb16 r6, r6", "sxtb16 r6, r6"),
    "halves: padding is not in the sum": ("tb_halves_window.h", "return pad * count;", "return 0;"),
    "halves: a filter is rounded as another": (
        "tb_dsp_halves.h",
        "smmla r10, r10, r7, lr",
        "smmla r10, r10, r7, r3",
    ),
    "halves: a line begins one later": (
        "tb_halves_window.h",
        "in + corner + before,",
        "in + corner + before + 1,",
    ),
}


FIRST = {file: plant for plant, (file, *_) in reversed(PLANTS.items())}  # of each header


@pytest.mark.parametrize(
    "plant", [p if p in FIRST.values() else pytest.param(p, marks=pytest.mark.slow) for p in PLANTS]
)
def test_a_planted_bug_is_seen(plant, tmp_path):
    file, old, new = PLANTS[plant]
    graph = network(10, "random")
    kernels = ("pairs", "depthwise") if "depthwise" in plant else FAST
    texts = generate_c(graph, plan=kernel_plan(graph, kernels))
    assert old in texts[file]
    x = vectors(graph, 1)

    texts[file] = texts[file].replace(old, new)
    got = samples.OnMachine(M4)(graph, x, tmp_path, texts=texts)

    wrong, compared, first = samples.mismatches(graph, x, got[8])
    print(f"{wrong} of {compared}: {first}")
    assert wrong > 0
