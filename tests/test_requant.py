# SPDX-License-Identifier: Apache-2.0
"""--requant: TFLite's two ways to round, from its own recipe to the emulated cores and the certificate."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import samples
import slow
from command import dense_model, save
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinybound
from tinybound.checker import check_certificate, rounding
from tinybound.domains import exact, pair_float
from tinybound.domains.pair import farthest
from tinybound.errors import CompileError
from tinybound.graph import Graph, Node, Quant, Value
from tinybound.ops import Dense, Requantise
from tinybound.passes.derive_ranges import derive_ranges
from tinybound.quantise.requantise import tflite_multiplier
from tinybound.rounding import MODES

TFLITE = ("tflite-single", "tflite-double")
every_mode = pytest.mark.parametrize("mode", MODES.values())
ENDS = [-(2**31), -(2**31) + 1, -(2**30) - 1, -(2**30), -1, 0, 1, 2**30, 2**31 - 2, 2**31 - 1]


def recipe(acc: int, m: int, s: int, mode: str) -> int:
    """TFLite's steps on 32-bit numbers, with its quotients that truncate: the doubled high half of a product,
    then a division by a power of two; or one shift after adding half."""
    if mode == "tflite-single":
        return (acc * m + 2 ** (s - 1)) >> s
    product = acc * 2 ** max(31 - s, 0) * m
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    right = max(s - 31, 0)
    mask = 2**right - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def near_ties(m: int, s: int, k: int) -> list[int]:
    """Accumulators whose product lies near k + 1/2 steps, by either rounding."""
    tie = (2 * k + 1) << s >> 1
    found = [(tie + off) // m + more for off in (0, -(1 << 30), 1 << 30) for more in (-1, 0, 1, 2)]
    return [acc for acc in found if -(2**31) <= acc < 2**31]


def everywhere(n, m, s, mode):
    """The same rounding by the golden model, the certifier and the checker."""
    n, m, s = (np.array([v], np.int64) for v in (n, m, s))
    return [
        int(exact.rounded(n * m, s, mode)[0]),
        int(pair_float.rounded(n, m, s, mode)[0]),
        int(rounding.rounded(n, m, s, mode)[0]),
    ]


# -- the rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", TFLITE)
def test_the_law_is_what_tflite_does(mode):
    """Multipliers of 31 bits, shifts of both signs, all ends, near every kind of tie."""
    rng = np.random.default_rng(3)
    compared = 0
    for s in range(1, 63):
        for m in (2**30, 2**30 + 1, 2**31 - 1, int(rng.integers(2**30, 2**31))):
            ties = [acc for k in (-129, -8, -2, -1, 0, 1, 7, 126) for acc in near_ties(m, s, k)]
            for acc in ENDS + ties + rng.integers(-(2**31), 2**31, 20).tolist():
                want = recipe(acc, m, s, mode)
                assert slow.quotient(acc * m, s, mode) == want, (acc, m, s)
                assert everywhere(acc, m, s, mode) == [want] * 3, (acc, m, s)
                compared += 1
    print(f"{compared} roundings compared")
    assert compared > 25_000


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.integers(-(2**31), 2**31 - 1), st.integers(1, 2**31 - 1), st.integers(0, 62), st.integers(-99, 99))
@example(-(2**31), 2**31 - 1, 62, 0)
@example(2**31 - 1, 2**31 - 1, 0, 0)
@example(-3, 2**30, 31, -2)
@every_mode
def test_all_say_the_same_for_any_multiplier(mode, acc, m, s, k):
    for n in (acc, *near_ties(m, s, k)):
        assert everywhere(n, m, s, mode) == [slow.quotient(n * m, s, mode)] * 3, (n, m, s)


@every_mode
def test_rounding_is_monotone(mode):
    """Ranges rest on it: their ends are the images of ends."""
    for s in (0, 1, 2, 30, 31, 32, 33, 40):
        for m in (1, 3, 2**30, 2**31 - 1):
            acc = np.unique([*ENDS, *(a for k in range(-5, 5) for a in near_ties(m, s, k))])
            q = exact.rounded(acc * m, np.int64(s), mode)
            assert (np.diff(q) >= 0).all(), (m, s)


@every_mode
def test_how_far_rounding_moves(mode):
    """Never farther than the certifier and the checker allow, and that far exactly at some tie."""
    for s in (1, 2, 30, 31, 32, 33, 34, 38, 45):
        allowed = farthest(mode, s)
        unit = 2 ** max(s - 3, 0)  # grid of eighths, and around the ties of both roundings
        products = {k * unit for k in range(-40, 41)}
        for k, off, more in itertools.product(range(-9, 9), (0, -(2**30), 2**30), (-1, 0, 1)):
            products.add(((2 * k + 1) << s >> 1) + off + more)
        moved = [abs(slow.quotient(p, s, mode) - Fraction(p, 2**s)) for p in products]
        assert max(moved) == allowed, s
        outward = float(rounding.moved(Fraction(1), np.array([s]), mode)[0])
        assert allowed <= outward <= float(allowed) * (1 + 1e-12)


def test_a_mode_that_is_none():
    with pytest.raises(ValueError, match="no requantisation mode 'half-up'"):
        Requantise(np.array([1]), np.array([0]), 0, 0, -128, 127, "half-up")


# -- the multiplier ---------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.floats(2.0**-31, 2.0**29))
@example(0.5)
@example(1.0)
@example(1 - 2.0**-53)
@example(0.1)
def test_the_multiplier_is_tflites(ratio):
    """31 bits of the significand, rounded half away from 0; one more power of two where that carries."""
    m, s = tflite_multiplier(Fraction(ratio))
    fraction, exponent = math.frexp(ratio)
    want = math.floor(Fraction(fraction) * 2**31 + Fraction(1, 2))
    if want == 2**31:
        want, exponent = 2**30, exponent + 1
    assert (m, s) == (want, 31 - exponent)
    assert 2**30 <= m < 2**31


@pytest.mark.parametrize("ratio", [Fraction(1, 2**33), Fraction(3, 2**70), Fraction(1, 10**400)])
def test_a_tiny_ratio_makes_everything_zero(ratio):
    m, s = tflite_multiplier(ratio)
    assert 0 < m < 2**31
    assert s == 62
    for mode in TFLITE:
        assert [exact.rounded(np.array([end]) * m, np.int64(s), mode)[0] for end in ENDS] == [0] * len(ENDS)


def test_a_ratio_that_is_too_large_is_refused():
    assert tflite_multiplier(Fraction(2**30) - 1) == (2**31 - 2, 1)
    for ratio in (Fraction(2**30), Fraction(2**40)):
        with pytest.raises(CompileError, match="layer: scale ratio"):
            tflite_multiplier(ratio, "layer")


# -- every executor ---------------------------------------------------------------------------------


def edges(mode: str) -> Graph:
    """One dense layer, a channel per accumulator: the sum is the bias, or one beside it."""
    rng = np.random.default_rng(11)
    bias, m, s = [], [], []
    for shift in (1, 2, 7, 20, 30, 31, 32, 33, 36, 40, 50, 62):
        for multiplier in (2**30, 2**31 - 1, int(rng.integers(2**30, 2**31))):
            picked = [*ENDS[:2], *ENDS[-2:], *rng.choice([-77, -2, -1, 0, 1, 76], 2).tolist()]
            picked[4:] = [acc for k in picked[4:] for acc in near_ties(multiplier, shift, k)[:9]]
            bias += picked
            m += [multiplier] * len(picked)
            s += [shift] * len(picked)
    count = len(bias)
    # One input moves sums by -128 .. 127; those at the ends of int32 stay.
    weights = np.array([[int(abs(b) < 2**31 - 300)] for b in bias], np.int64)
    dense = Dense(weights, np.array(bias, np.int64), zero=0)
    narrow = Requantise(np.array(m, np.int64), np.array(s, np.int64), 0, -3, -128, 127, mode)
    values = {"x": Value("x", (1,)), "t": Value("t", (count,)), "y": Value("y", (count,))}
    nodes = (Node("d", dense, ("x",), "t", "d", "int8"), Node("r", narrow, ("t",), "y", "r"))
    one = Quant((Fraction(1),), 0)
    graph = Graph("edges", ("x",), ("y",), nodes, values)
    return derive_ranges(graph, {"x": (-128, 127)}, {"x": one, "t": one, "y": Quant((Fraction(1),), -3)})


CORES = [*samples.executors(), samples.OnMachine(samples.Emulated(samples.BOARDS["cortex-m0plus"]))]


@pytest.mark.parametrize("mode", [pytest.param(TFLITE[0], marks=pytest.mark.slow), *TFLITE[1:]])
@pytest.mark.parametrize("executor", CORES, ids=lambda e: e.name)
def test_edges_on_every_executor(executor, mode, tmp_path):
    graph = edges(mode)
    x = {"x": np.array([[v] for v in (-128, -2, -1, 0, 1, 2, 127)])}

    got = executor(graph, x, tmp_path)

    wrong, compared, first = samples.mismatches(graph, x, got[8])
    print(f"{executor.name}: {compared} integers compared")
    assert compared > 5000
    assert wrong == 0, first
    bias, op = graph.node("d").op.bias, graph.node("r").op
    want = [
        recipe(int(b), int(m), int(s), mode) for b, m, s in zip(bias, op.multiplier, op.shift, strict=True)
    ]
    assert got[8]["y"][3].tolist() == np.clip(np.array(want, object) - 3, -128, 127).tolist()


@pytest.mark.parametrize("mode", [pytest.param(TFLITE[0], marks=pytest.mark.slow), *TFLITE[1:]])
def test_every_op_and_code(mode, tmp_path):
    """All samples side by side: convolutions, dense layers, pools, additions, in every weight code."""
    graph = samples.build("samples", samples.all_samples(), relu=True, mode=mode)[1]
    unweighted = {n.output for n in graph.nodes if n.op.accumulates and not n.op.weighted}
    for node in graph.nodes:
        if isinstance(node.op, Requantise):
            found = node.op.mode.removesuffix("-mean")
            assert found == ("half-even" if node.inputs[0] in unweighted else mode)
    x = samples.vectors(graph, 40, seed=7)
    wrong, compared, first = samples.mismatches(graph, x, CORES[1](graph, x, tmp_path)[8])
    print(f"{CORES[1].name}: {compared} integers compared")
    assert wrong == 0, first
    want = slow.run(graph, {name: array[20] for name, array in x.items()})
    got = samples.golden(graph, {name: array[20:21] for name, array in x.items()})[0]
    assert all((want[name] == got[name]).all() for name in graph.outputs)


def test_the_edges_tell_the_modes_apart():
    """Else the test above could not see one taken for another."""
    x = {"x": np.array([0])}
    found = {mode: samples.run(edges(mode), x)["y"] for mode in MODES.values()}
    for a, b in itertools.combinations(found, 2):
        assert (found[a] != found[b]).any(), (a, b)


# -- the product ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=TFLITE)
def build(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    model = save(dense_model(np.random.default_rng(3).normal(0, 0.5, (3, 4))), folder / "net.onnx")
    options = tinybound.Options(domain="-1,1", requant=request.param)
    return tinybound.compile(model, folder / "BUILD", options)


def test_a_build_says_how_it_rounds(build):
    mode = build.folder.parent.name.rstrip("0123456789")
    document = json.loads((build.folder / "certificate.json").read_text())
    manifest = json.loads((build.folder / "manifest.json").read_text())
    network = json.loads((build.folder / "network.json").read_text())
    modes = {node["fields"]["mode"] for node in network["nodes"] if node["op"] == "Requantise"}
    assert document["semantics"]["requantise"] == manifest["requantise"] == mode
    assert manifest["options"]["requant"] == mode
    assert modes == {mode}
    assert tinybound.load(build.folder).graph.nodes[-1].op.mode == mode


def test_a_build_verifies_and_checks(build):
    assert build.verify(["host", "rtl"]).ok
    answer = check_certificate(build.folder / "certificate.json", build.folder)
    assert answer["accepted"], answer["reason"]


def test_an_unknown_rule_is_refused():
    with pytest.raises(CompileError, match="--requant: 'tflite'; expected one of onnx, tflite-single"):
        tinybound.Options(requant="tflite")
