# SPDX-License-Identifier: Apache-2.0
"""One table: every sample of every op x {golden against the slow law, ranges, every executor}.

Nothing here names an op that has samples: a new op in compiler/ops is tested by being in OPS.
"""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import samples
import slow

from tinybound.domains.exact import Exact, run
from tinybound.domains.interval import Interval
from tinybound.graph import Graph, Node, Quant, Value
from tinybound.ops import OPS, Requantise
from tinybound.ops.base import Scaled
from tinybound.passes.derive_ranges import derive_ranges
from tinybound.passes.run_time_bits import has_bits, with_bits
from tinybound.rounding import MODES

ALL = [case for relu in (False, True) for case in samples.cases(relu=relu)]
IDS = [f"{case.name}-{'relu' if i >= len(ALL) // 2 else 'plain'}" for i, case in enumerate(ALL)]
every_case = pytest.mark.parametrize("case", ALL, ids=IDS)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)
def test_every_op_has_samples(op):
    if op.__name__ in samples.COVERED_BY_OTHERS:
        assert not list(op.samples())
    else:
        assert list(op.samples()), f"{op.__name__}.samples() is empty: no executor would run it"


def test_every_integer_op_and_code_is_in_the_table():
    seen = {type(node.op).__name__ for case in ALL for node in case.whole.nodes}
    codes = {node.code for case in ALL for node in case.whole.nodes if node.op.weighted}

    assert seen >= {
        "Add", "ArgMax", "AveragePool", "Concat", "Conv", "Dense", "MaxPool", "Mul", "Requantise", "Reshape",
        "Softmax", "Take", "Transpose",
    }  # fmt: skip
    assert codes == {"int8", "int4", "pot4", "pool64"}
    weighted = {type(n.op).__name__ for case in ALL for n in case.whole.nodes if n.code == "pool64"}
    assert weighted == {"Conv", "Dense"}


# -- golden against the slow law ------------------------------------------------------------------


def against_the_law(graph, x, domain=None):
    """(differing, compared) elements of the golden model against slow.py, over every value."""
    wrong = compared = 0
    for i in range(len(next(iter(x.values())))):
        one = {name: array[i] for name, array in x.items()}
        want, got = slow.run(graph, one), run(graph, one, domain)
        for name in want:
            assert want[name].shape == got[name].shape == graph.values[name].shape, name
            wrong += int((want[name] != got[name]).sum())
            compared += got[name].size
    return wrong, compared


@every_case
def test_golden_is_the_law(case):
    total = 0
    for bits in (8, 5, 2) if has_bits(case.whole) else (8,):
        graph = with_bits(case.whole, bits)
        wrong, compared = against_the_law(graph, samples.vectors(graph, 24, seed=bits))
        total += compared
        assert wrong == 0
    print(f"{total} integers compared")


def ideal(case, x):
    """y / S_out as exact rationals, from the dequantised inputs and weights: what the float op would give."""
    node = case.whole.nodes[0]
    sample, op = case.sample, node.op
    kind = type(op).__name__
    scales = [s.scale for s in sample.inputs]
    sums = slow.MEANINGS[kind](replace(op, ma=1, mb=1) if kind == "Add" else op, *x)
    unit = [u / sample.output.scale for u in case.whole.values[node.output].quant.scale]
    if kind == "Add":
        terms = [
            [Fraction(int(q) - unit.zero) * unit.scale / sample.output.scale for q in v.ravel()]
            for v, unit in zip(x, sample.inputs, strict=True)
        ]
        sign = case.sample.float_op.mb  # -1: a difference
        return [p + sign * q for p, q in zip(*terms, strict=True)]
    if kind == "AveragePool":
        ratio = [scales[0] / (op.kernel[0] * op.kernel[1]) / sample.output.scale]
    else:  # weights: the multiplier's error is checked apart, in test_quantise
        ratio = unit
    flat = sums.reshape(sums.shape[0], -1)
    return [Fraction(int(v)) * ratio[c if len(ratio) > 1 else 0] for c, row in enumerate(flat) for v in row]


@pytest.mark.parametrize("case", [c for c in ALL if c.sample.float_op.accumulates], ids=lambda c: c.name)
def test_a_sum_is_rounded_once(case):
    """The stored integer is within half a step of the exact real result (where that does not saturate)."""
    x = samples.vectors(case.whole, 24, seed=3)
    out = case.whole.nodes[1].op
    compared = 0
    for i in range(24):
        one = {name: array[i] for name, array in x.items()}
        q = run(case.whole, one)[case.whole.outputs[0]].ravel()
        for found, exact in zip(q.tolist(), ideal(case, [one[n] for n in case.whole.inputs]), strict=True):
            expected = min(max(exact + out.zero, Fraction(out.lo)), Fraction(out.hi))
            assert abs(found - expected) <= Fraction(1, 2) + Fraction(2, 100_000)
            compared += 1
    print(f"{compared} roundings compared")


# -- ranges ---------------------------------------------------------------------------------------


def small_box(graph, rng, free=7):
    """(lower, upper) per input: a few elements vary over two or three integers, the others are fixed."""
    lower, upper = {}, {}
    for name in graph.inputs:
        x = rng.integers(-128, 128, graph.values[name].size)
        if rng.random() < 0.3:
            x = np.clip(graph.values[name].quant.zero + rng.integers(-3, 4, x.size), -128, 127)
        top = x.copy()
        chosen = rng.choice(x.size, min(free // len(graph.inputs), x.size), replace=False)
        top[chosen] = np.minimum(x[chosen] + rng.integers(1, 3, len(chosen)), 127)
        lower[name] = x.reshape(graph.values[name].shape)
        upper[name] = top.reshape(graph.values[name].shape)
    return lower, upper


def corners(lower, upper):
    """Every integer point of a box."""
    names = list(lower)
    flat = []
    for n in names:
        ends = zip(lower[n].ravel().tolist(), upper[n].ravel().tolist(), strict=True)
        flat += [(n, i, range(lo, hi + 1)) for i, (lo, hi) in enumerate(ends) if lo < hi]
    for choice in product(*(span for _, _, span in flat)):
        point = {n: lower[n].copy() for n in names}
        for (n, i, _), q in zip(flat, choice, strict=True):
            point[n].reshape(-1)[i] = q
        yield point


def range_differences(graph, domain, seed, rounds=3):
    """(not contained, not tight, compared): the domain's boxes against brute force over small input boxes."""
    rng = np.random.default_rng(seed)
    lost = loose = compared = 0
    for _ in range(rounds):
        lower, upper = small_box(graph, rng)
        got = run(graph, {n: (lower[n], upper[n]) for n in graph.inputs}, domain)
        seen = [run(graph, point) for point in corners(lower, upper)]
        for name in graph.values:
            values = np.stack([s[name] for s in seen])
            low, high = values.min(axis=0), values.max(axis=0)
            lost += int((got[name][0] > low).sum() + (got[name][1] < high).sum())
            loose += int((got[name][0] < low).sum() + (got[name][1] > high).sum())
            compared += 2 * low.size
    return lost, loose, compared


@every_case
def test_the_interval_domain_equals_brute_force(case):
    """One op, and the requantisation of its sum, read each input element once per output: equality."""
    again = any(case is each for each in ALL[len(ALL) // 2 :])  # the same op, with a Relu
    lost, loose, compared = range_differences(
        case.whole, Interval(), seed=len(case.name), rounds=1 if again else 3
    )

    print(f"{compared} ends compared")
    assert (lost, loose) == (0, 0)


@pytest.mark.parametrize("bits", [7, 4, 2])
def test_the_interval_domain_equals_brute_force_at_few_bits(bits):
    pooled = [case for case in ALL if has_bits(case.whole)]
    assert pooled
    for case in pooled:
        lost, loose, _ = range_differences(with_bits(case.whole, bits), Interval(), seed=bits, rounds=1)
        assert (lost, loose) == (0, 0)


@every_case
def test_recorded_ranges_hold_and_are_reached(case):
    """Range of a value = hull over its elements, over all inputs: contained always; sums reach their ends."""
    graph = case.whole
    for node in graph.nodes:
        span = graph.values[node.output].range
        if type(node.op).__name__ in ("Conv", "Dense") and node.op.bits == 8:
            rows = node.op.weights.reshape(len(node.op.bias), -1)
            for end, pick in ((span.lo, min), (span.hi, max)):
                extreme = []
                for row, b in zip(rows.tolist(), node.op.bias.tolist(), strict=True):
                    extreme.append(b + sum(pick((q - node.op.zero) * w for q in (-128, 127)) for w in row))
                full = node.op.pads == (0, 0, 0, 0) if hasattr(node.op, "pads") else True
                inside = end == pick(extreme) if full else abs(end) <= max(map(abs, extreme))
                assert inside, (node.name, end, extreme)
    x = samples.vectors(graph, 24, seed=11)
    for values in samples.golden(graph, x):
        for name, array in values.items():
            assert graph.values[name].range.lo <= array.min(), name
            assert array.max() <= graph.values[name].range.hi, name


# -- executors ------------------------------------------------------------------------------------

FEW = (8, 7, 5, 2)


# Every sample once, with a Relu by turns; then each both with and without it.
NETWORKS = {"turns": (None, 24), "plain": (False, 150), "relu": (True, 150)}
EACH = [name if name == "turns" else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("executor", samples.executors(), ids=lambda e: e.name)
def test_every_executor_gives_the_golden_integers(name, executor, tmp_path):
    """All samples of all ops side by side: one build per executor."""
    relu, count = NETWORKS[name]
    network = samples.build(f"samples_{name}", samples.all_samples(), relu=relu)[1]
    x = samples.vectors(network, count, seed=17)

    got = executor(network, x, tmp_path, FEW)

    total = 0
    for bits in FEW:
        wrong, compared, first = samples.mismatches(samples.at_bits(network, bits), x, got[bits])
        total += compared
        assert wrong == 0, f"{bits} bits: {wrong} of {compared} differ; {first}"
    names = {name.split(".")[0] for name in got[8]}
    assert names >= {
        name for name, _ in samples.all_samples() if name != "Reshape0"
    }  # a vector: nothing moves
    print(f"{executor.name}: {total} integers compared")


# -- requantise: its own extra cases ---------------------------------------------------------------

REQUANTISE = {
    "half even, m = 1": ([1], [1]),
    "nothing to do": ([1], [0]),
    "ties at every second": ([1], [2]),
    "s = 0, m > 1": ([3], [0]),
    "s = 32, odd": ([(1 << 30) + 12345], [32]),
    "s = 31, even: ties": ([1 << 30], [31]),
    "s = 62": ([(1 << 31) - 1], [62]),
    "s = 62, half": ([1 << 30], [62]),
    "31 bits": ([(1 << 31) - 1], [38]),
    "1 at s = 8": ([1], [8]),
    "per channel": ([1, 3, (1 << 31) - 1, (1 << 29) + 1], [0, 2, 31, 32]),
    "per channel, all 1": ([1, 1, 1, 1], [0, 1, 2, 7]),
}
LIMITS = [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (-5, -5, 60), (3, 3, 3)]


@pytest.mark.parametrize("mode", MODES.values())
@pytest.mark.parametrize("name", REQUANTISE)
def test_requantise_is_the_law(name, mode):
    m, s = (np.array(column, np.int64) for column in REQUANTISE[name])
    rng = np.random.default_rng(len(name))
    edge = [0, 1, -1, 2, -2, 3, -3, (1 << 31) - 1, -(1 << 31), 1 << 30, -(1 << 30), 1 << 16]
    ties = [k << int(t - 1) for t in s if 1 <= t <= 30 for k in range(-9, 10)]
    spread = rng.integers(-(1 << 31), 1 << 31, 80).tolist() + rng.integers(-600, 600, 80).tolist()
    flat = edge + [t for t in ties if abs(t) < 1 << 31] + spread
    x = np.tile(np.array(flat), (4, 1))
    for zero, lo, hi in LIMITS:
        op = Requantise(m, s, 0, zero, lo, hi, mode)
        want = slow.requantise(op, x)
        np.testing.assert_array_equal(op.meaning(Exact(), x), want)
        low, high = op.meaning(Interval(), (np.minimum(x, x[:, ::-1]), np.maximum(x, x[:, ::-1])))
        ends = slow.requantise(op, np.minimum(x, x[:, ::-1])), slow.requantise(op, np.maximum(x, x[:, ::-1]))
        np.testing.assert_array_equal(low, ends[0])
        np.testing.assert_array_equal(high, ends[1])
    print(f"{x.size * len(LIMITS)} requantisations compared, {len(ties)} ties per channel")


def rescaling():
    """All cases as plain Requantise nodes from int8 to int8, side by side."""
    nodes, inputs, values, units, spans = [], [], {}, {}, {}
    for i, (label, (m, s)) in enumerate(REQUANTISE.items()):
        zero, lo, hi = LIMITS[i % len(LIMITS)]
        x, y, shape = f"x{i}", f"y{i}", (4, 8, 8)
        op = Requantise(np.array(m, np.int64), np.array(s, np.int64), 7 * (i % 4) - 12, zero, lo, hi)
        nodes.append(Node(label, op, (x,), y, "float"))
        inputs.append(x)
        values |= {x: Value(x, shape), y: Value(y, shape)}
        units |= {x: Quant((Fraction(1),), 0), y: Quant((Fraction(1),), 0)}
        spans[x] = (-128, 127)
    graph = Graph("rescale", tuple(inputs), tuple(n.output for n in nodes), tuple(nodes), values)
    return derive_ranges(graph, spans, units)


@pytest.mark.parametrize("executor", samples.executors(), ids=lambda e: e.name)
def test_requantise_alone_on_every_executor(executor, tmp_path):
    graph = rescaling()
    rng = np.random.default_rng(5)
    every = np.concatenate([np.arange(-128, 128), rng.integers(-128, 128, 256)])
    x = {name: rng.permuted(np.tile(every, (4, 1)), axis=1).reshape(4, 8, 8, 8).transpose(3, 0, 1, 2)
         for name in graph.inputs}  # fmt: skip

    got = executor(graph, x, tmp_path)

    wrong, compared, first = samples.mismatches(graph, x, got[8])
    print(f"{executor.name}: {compared} integers compared")
    assert wrong == 0, first
    for i in range(2):
        one = {name: array[i] for name, array in x.items()}
        want = slow.run(graph, one)
        assert all((want[n] == got[8][n][i]).all() for n in graph.outputs)


def test_wide_sums_with_per_channel_ties_on_the_host(tmp_path):
    """Accumulators near the 32-bit ends, power-of-two scales: ties and saturation beside each other."""
    from tinybound.ops import Clip, Dense
    from tinybound.ops.base import IntegerWeights
    from tinybound.quantise.lower import lower

    rng = np.random.default_rng(9)
    weights = rng.integers(-128, 128, (12, 600))
    weights[0], weights[1], weights[2] = 0, 127, -128
    bias = rng.integers(-(1 << 22), 1 << 22, 12)
    bias[:4] = [0, (1 << 31) - 1 - 384 * 127 * 600, -(1 << 30), 12345]
    scales = tuple(Fraction(1, 1 << int(k)) for k in rng.integers(2, 18, 12))
    values = {"x": Value("x", (600,)), "t": Value("t", (12,)), "y": Value("y", (12,))}
    nodes = (Node("d", Dense(weights * 1.0, bias * 1.0), ("x",), "t"), Node("c", Clip(), ("t",), "y"))
    unit = Scaled(Fraction(1, 2), -3, -128, 127)
    graph = lower(Graph("wide", ("x",), ("y",), nodes, values), {"x": unit, "y": unit},
                  {"d": IntegerWeights(weights, scales, "int8", bias)})  # fmt: skip
    x = samples.vectors(graph, 400, seed=2)
    for executor in samples.executors():
        got = executor(graph, x, tmp_path / executor.name)
        wrong, compared, first = samples.mismatches(graph, x, got[8])
        print(f"{executor.name}: {compared} integers compared")
        assert wrong == 0, first
    sums = np.stack([v["t"] for v in samples.golden(graph, x)])
    shift = graph.nodes[1].op.shift
    ties = (sums % (1 << shift) == 1 << (shift - 1)).sum()
    print(f"{ties} ties of {sums.size}")
    assert ties > 20
