# SPDX-License-Identifier: Apache-2.0
"""TFLite's average pool: the mean of the stored integers, halves away from 0: recipe, cores, certificate."""

import json
from fractions import Fraction

import numpy as np
import pytest
import samples
import slow
from onnx_nets import Net
from test_checker import sound
from test_requant import CORES

import tinybound
from tinybound.checker import check_certificate, rounding
from tinybound.domains import exact, pair_float
from tinybound.domains.pair import farthest
from tinybound.graph import Graph, Node, Value
from tinybound.ops import AveragePool, Clip, Requantise
from tinybound.ops.base import Scaled
from tinybound.passes.activations import add_activations
from tinybound.quantise.lower import lower
from tinybound.quantise.requantise import average_multiplier
from tinybound.quantise.scales import float32_scale
from tinybound.rounding import AVERAGE, MEAN, MODES


def recipe(total, count):
    """A quotient of C, which truncates, after half of the divisor was added to the magnitude."""
    return (total + count // 2) // count if total > 0 else -((-total + count // 2) // count)


@pytest.mark.parametrize("zero", [-128, pytest.param(-3, marks=pytest.mark.slow), 0, 127])
def test_the_law_is_what_tflite_does(zero):
    """Every sum of up to 49 integers, and the ends and ties of larger windows."""
    compared = 0
    for count in (*range(1, 26), 36, 49, 125, 2809, 4096, 65_536, 300_000):
        m, s = average_multiplier(count)
        totals = np.arange(-128 * count, 127 * count + 1)
        if count > 50:
            ties = np.arange(-128, 128) * count + count // 2
            near = [ties - 1, ties, ties + 1, totals[:3], totals[-3:], [-1, 0, 1]]
            totals = np.clip(np.concatenate(near), totals[0], totals[-1])
        want = np.clip([recipe(int(t), count) for t in totals], -128, 127)
        acc, some = totals - count * zero, slice(None, None, max(1, len(totals) // 500))
        op = Requantise(np.array([m]), np.array([s]), 0, zero, -128, 127, AVERAGE)
        assert np.array_equal(op.meaning(exact.Exact(), acc), want)
        for found in (pair_float.rounded, rounding.rounded):
            assert np.array_equal(found(acc, op.multiplier, op.shift, AVERAGE, zero) + zero, want)
        assert np.array_equal(slow.requantise(op, acc[None, some])[0], want[some])
        moved = np.abs((want - zero) - acc / count)
        assert rounding.moved(Fraction(1), op.shift, AVERAGE) >= farthest(AVERAGE, s) >= moved.max() - 1e-9
        compared += len(acc)
    print(f"{compared} means compared")
    assert compared > 100_000


# -- networks ---------------------------------------------------------------------------------------

KERNELS = ((2, 2), (3, 2), (1, 1), (5, 4), (3, 3), (2, 3))


def pools(mode, zero, *, other=None, pads=(0, 0, 0, 0)):
    """An average pool per kernel, side by side, all of one quantisation but for the outputs' `other` one."""
    unit = Scaled(float32_scale(0.037, power_of_two=False), zero, -128, 127)
    values, nodes, outputs = {"x": Value("x", (3, 5, 4))}, [], []
    for i, kernel in enumerate(KERNELS):
        op = AveragePool((3, 5, 4), kernel, pads=pads if min(kernel) > 1 else (0, 0, 0, 0))
        shape = op.shape((3, 5, 4))
        values |= {name: Value(name, shape) for name in (f"sum{i}", f"y{i}")}
        clip = Clip(-1.0, 2.0) if i == 4 else Clip()
        nodes += [Node(f"sum{i}", op, ("x",), f"sum{i}"), Node(f"y{i}", clip, (f"sum{i}",), f"y{i}")]
        outputs.append(f"y{i}")
    graph = Graph("pools", ("x",), tuple(outputs), tuple(nodes), values)
    graph, known = add_activations(graph, dict.fromkeys(outputs, other or unit) | {"x": unit})
    return lower(graph, known, {}, mode)


def tied(graph, count=30):
    """Inputs of few different integers, whose means are ties often; both ends too."""
    rng = np.random.default_rng(5)
    shape = (count, *graph.values["x"].shape)
    x = rng.integers(-128, 128, (*shape[:1], 1, 1, 1)) // 2 + rng.integers(-2, 3, shape)
    x[0], x[1] = -128, 127
    return {"x": np.clip(x, -128, 127)}


@pytest.mark.parametrize("zero", [-128, 9])
@pytest.mark.parametrize("executor", CORES, ids=lambda e: e.name)
def test_every_executor(executor, zero, tmp_path):
    graph = pools("tflite-double", zero)
    x = tied(graph)

    got = executor(graph, x, tmp_path)[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    print(f"{executor.name}: {compared} integers compared")
    assert wrong == 0, first
    for i, kernel in enumerate(KERNELS):
        (oh, ow), (kh, kw) = graph.values[f"y{i}"].shape[1:], kernel
        op = graph.node(f"y{i}").op
        for c, r, k in np.ndindex(3, oh, ow):
            totals = x["x"][:, c, r : r + kh, k : k + kw].sum(axis=(1, 2))
            want = np.clip([recipe(int(t), kh * kw) for t in totals], op.lo, op.hi)
            assert np.array_equal(np.reshape(got[f"y{i}"], (-1, 3, oh, ow))[:, c, r, k], want)


def test_inputs_that_tell_the_rules_apart():
    graphs = [pools(mode, -128) for mode in ("half-even", "tflite-double")]
    x = tied(graphs[0])
    runs = [samples.golden(graph, x)[:30] for graph in graphs]
    found = [
        np.concatenate([run[name].ravel() for run in each for name in graphs[0].outputs]) for each in runs
    ]
    assert (found[0] != found[1]).sum() > 50


@pytest.mark.parametrize("mode", MODES.values())
def test_where_the_rule_holds(mode):
    """In TFLite's modes, where the pool keeps its quantisation and counts no padding; else half to even."""
    even = ["half-even", MEAN, "half-even", MEAN, "half-even", MEAN]
    wanted = even if mode == "half-even" else [AVERAGE] * 6
    assert [n.op.mode for n in pools(mode, 3).nodes if n.name.startswith("y")] == wanted
    other = Scaled(float32_scale(0.02, power_of_two=False), 3, -128, 127)
    assert {n.op.mode for n in pools(mode, 3, other=other).nodes if n.name.startswith("y")} == {"half-even"}
    padded = [n.op.mode for n in pools(mode, 3, pads=(1, 1, 1, 1)).nodes if n.name.startswith("y")]
    assert padded == [*even[:2], wanted[2], *even[3:]]


@pytest.mark.parametrize(("m", "s"), [(3, 4), (1 << 30, 31 + 1), (5, 62), ((1 << 30) // 3, 30)])
def test_a_factor_that_is_no_mean(m, s):
    """Only powers of two, and factors just above one over a whole number."""
    if m == 1 << 30:
        Requantise(np.array([m]), np.array([s]), 0, 0, -128, 127, AVERAGE)
        assert rounding.is_mean(np.array([m]), np.array([s]))
        return
    assert not rounding.is_mean(np.array([m]), np.array([s]))
    with pytest.raises(ValueError, match="is not one over a number of taps"):
        Requantise(np.array([m]), np.array([s]), 0, 0, -128, 127, AVERAGE)


def pool_build(kernel, tmp_path, **options):
    """Of a quantised file with a pool of one quantisation."""
    net = Net(1, 3, 4, 4, seed=3)
    x = net.quantised("x", 0.0371, 5, np.int8)
    y = net.quantised(net.put("Relu", net.put("Conv", x, net.normal(4, 3, 1, 1))), 0.0413, -128, np.int8)
    y = net.quantised(net.put("AveragePool", y, kernel_shape=kernel), 0.0413, -128, np.int8)
    return tinybound.compile(
        net.save(tmp_path, y), tmp_path / "B", tinybound.Options(domain="-1,1", **options)
    )


def holds(build, rule):
    """The certificate is accepted, names its rule, and is sound by brute force."""
    path = build.folder / "certificate.json"
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    document = json.loads(path.read_text())
    assert document["semantics"]["requantise"] == rule
    sound(build, document, None, 3)


@pytest.mark.parametrize("kernel", [[2, 2], [3, 2]])
def test_a_certificate(kernel, tmp_path):
    """A quantised file with a pool of one quantisation: certified, checked, and sound by brute force."""
    build = pool_build(kernel, tmp_path, requant="tflite-double")
    modes = {type(build.graph.producer(n.inputs[0]).op).__name__: n.op.mode
             for n in build.graph.nodes if hasattr(n.op, "mode")}  # fmt: skip
    assert modes == {"Conv": "tflite-double", "AveragePool": AVERAGE}
    holds(build, "tflite-double")
