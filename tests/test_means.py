# SPDX-License-Identifier: Apache-2.0
"""Means whose halves no multiplier meets (of 6, 10, 12 ... numbers): exact, on every executor."""

import json
from fractions import Fraction

import numpy as np
import pytest
import samples
import slow
from onnx_nets import Net, session
from replay import integer_graph
from test_requant import CORES
from test_tflite_average import KERNELS, holds, pool_build, pools, tied

from tinybound.checker import rounding
from tinybound.domains import exact, pair_float
from tinybound.domains.pair import farthest
from tinybound.network_file import arrays_of, from_json, to_json
from tinybound.ops import Requantise
from tinybound.ops.base import Scaled
from tinybound.quantise.requantise import MOST_TAPS, halves, multiplier
from tinybound.quantise.scales import float32_scale
from tinybound.rounding import MEAN
from tinybound.simulate.golden import golden


@pytest.mark.parametrize("power", [-2, 0, 1])
def test_every_sum_rounds_as_its_exact_mean(power):
    """The sums of up to 48 integers, and those at and beside halves of up to 8,190; also times 2^power."""
    compared = ties = 0
    for taps in (6, 10, 12, 14, 20, 24, 36, 48, 96, 1000, 4094, 8190):
        ratio = Fraction(2) ** power / taps
        m, s = multiplier(ratio, 255 * taps)
        mean = halves(ratio, m, s, 255 * taps)
        assert mean == (ratio.denominator <= MOST_TAPS and ratio.denominator % 2 == 0)
        if not mean:
            continue
        acc = np.arange(-255 * taps, 255 * taps + 1)
        if taps > 48:
            near = np.array([round((k + Fraction(1, 2)) / ratio) for k in range(-255, 255)])
            acc = np.unique(np.concatenate([near + d for d in (-2, -1, 0, 1, 2)]))
        want = np.array([round(int(n) * ratio) for n in acc])
        ms, ss = np.array([m]), np.array([s])
        assert np.array_equal(exact.rounded(acc * m, ss, MEAN), want)
        for found in (pair_float.rounded, rounding.rounded):
            assert np.array_equal(found(acc, ms, ss, MEAN), want)
        op = Requantise(ms, ss, 0, 3, -128, 127, MEAN)
        some = acc[:: max(1, len(acc) // 300)]
        assert np.array_equal(slow.requantise(op, some[None])[0], op.meaning(exact.Exact(), some))
        moved = np.abs(want - acc * (m / 2.0**s)).max()
        assert rounding.moved(Fraction(1), ss, MEAN) >= farthest(MEAN, s) >= moved
        compared += len(acc)
        ties += sum((2 * int(n) * ratio).denominator == 1 and (int(n) * ratio).denominator == 2 for n in acc)
    print(f"{compared} sums compared, {ties} of them ties")
    assert ties > 2000


@pytest.mark.parametrize(
    "ratio", [Fraction(1, 4), Fraction(1, 9), Fraction(1, 16384 * 3), Fraction(7, 2**14 - 2)]
)
def test_other_ratios_need_no_help(ratio):
    """Powers of two are met; odd denominators have no halves; of large ones 15 bits would not tell."""
    assert not halves(ratio, *multiplier(ratio, 1 << 16), 1 << 16)


@pytest.mark.parametrize("zero", [0, 40, -150])
def test_of_16_bits_around_0_too(zero):
    """Of integers that far from their zero point every multiplier of 31 bits is near enough."""
    for taps in range(6, 512, 2):
        ratio, most = Fraction(1, taps), 32768 + abs(zero)
        near = halves(ratio, *multiplier(ratio, 65535 * taps), most * taps)
        assert near == (taps & (taps - 1) != 0)


def test_a_multiplier_too_far_from_its_ratio_is_not_trusted():
    assert halves(Fraction(1, 6), *multiplier(Fraction(1, 6), 1000), 1000)
    assert not halves(Fraction(1, 6), 715827900, 32, 1 << 20)


# -- networks ---------------------------------------------------------------------------------------


def modes(graph):
    return {node.name: node.op.mode for node in graph.nodes if isinstance(node.op, Requantise)}


@pytest.mark.parametrize("zero", [9, pytest.param(-128, marks=pytest.mark.slow)])
@pytest.mark.parametrize("executor", CORES, ids=lambda e: e.name)
def test_every_executor(executor, zero, tmp_path):
    graph = pools("half-even", zero)
    assert sorted(modes(graph).values()) == ["half-even"] * 3 + [MEAN] * 3  # 3 x 2, 5 x 4 and 2 x 3
    x = tied(graph)

    got = executor(graph, x, tmp_path)[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    print(f"{executor.name}: {compared} integers compared")
    assert wrong == 0, first
    ties = 0
    for i, kernel in enumerate(KERNELS):
        (oh, ow), (kh, kw) = graph.values[f"y{i}"].shape[1:], kernel
        op = graph.node(f"y{i}").op
        for c, r, k in np.ndindex(3, oh, ow):
            sums = (x["x"][:, c, r : r + kh, k : k + kw] - zero).sum(axis=(1, 2))
            want = [round(Fraction(int(n), kh * kw)) + zero for n in sums]
            ties += sum(Fraction(int(n), kh * kw).denominator == 2 for n in sums)
            found = np.reshape(got[f"y{i}"], (-1, 3, oh, ow))[:, c, r, k]
            assert np.array_equal(found, np.clip(want, op.lo, op.hi))
    assert ties > 300


def test_where_the_rule_holds():
    """Where a pool keeps its scale or changes it by a power of two; else there are no halves."""
    unit = float32_scale(0.037, power_of_two=False)
    for scale, count in ((unit * 4, 4), (unit / 2, 1), (float32_scale(0.02, power_of_two=False), 0)):
        found = modes(pools("half-even", 3, other=Scaled(scale, -7, -128, 127)))
        assert [*found.values()].count(MEAN) == count
    found = modes(pools("tflite-single", 3, other=Scaled(unit * 4, 3, -128, 127)))
    assert [*found.values()].count(MEAN) == 4


def test_a_file_keeps_the_mode_and_refuses_short_shifts():
    graph = pools("half-even", 9)
    assert modes(from_json(json.loads(json.dumps(to_json(graph))), arrays_of(graph))) == modes(graph)
    with pytest.raises(ValueError, match="a mean shifted by 15 bits"):
        Requantise(np.array([3]), np.array([15]), 0, 0, -128, 127, MEAN)


POOLS = {
    "12": {"kernel_shape": [3, 4], "dilations": [1, 1]},
    "holes": {"kernel_shape": [3, 2], "dilations": [2, 3]},
    "holes, strides": {"kernel_shape": [2, 3], "dilations": [3, 2], "strides": [2, 1]},
    "holes, padding": {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 1, 1]},
}


@pytest.mark.parametrize("form", POOLS)
@pytest.mark.parametrize("unit", [2.0**-12, 0.00037])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_every_mean_of_a_file_is_exact(form, unit, dtype, tmp_path):
    """Of both words, with and without holes; ONNX Runtime has them too where scales are powers of two."""
    net, ends = Net(1, 3, 9, 8, opset=21), np.iinfo(dtype)
    y = net.put("AveragePool", net.quantised("x", unit, 6, dtype), **POOLS[form])
    path = net.save(tmp_path, net.quantised(y, unit, 6, dtype))
    _, whole = integer_graph(path)
    q = np.random.default_rng(1).integers(ends.min, ends.max + 1, (60, 3, 9, 8))
    q[:2] = np.array([ends.min, ends.max]).reshape(2, 1, 1, 1)

    got = golden(whole, {"x": q})[whole.outputs[0]]

    want, ties = means_of(q - 6, POOLS[form])
    assert np.array_equal(got, np.clip(want + 6, ends.min, ends.max))
    assert ties > 300
    if unit == 2.0**-12:
        x = ((q - 6) * unit).astype(np.float32)
        run = session(path)  # its own optimisations end in an operator that knows no dilations
        found = np.array([run.run(None, {"x": one[None]})[0][0] for one in x])
        assert np.array_equal(got, np.rint(found / unit).astype(int) + 6)


def means_of(q, pool):
    """rhe of the mean of every window's elements inside the map, and how many of these are ties."""
    (kh, kw), (dh, dw), (sh, sw) = pool["kernel_shape"], pool["dilations"], pool.get("strides", (1, 1))
    top, left, bottom, right = pool.get("pads", (0, 0, 0, 0))
    height, width = q.shape[2:]
    rows = range(-top, height + bottom - (kh - 1) * dh, sh)
    columns = range(-left, width + right - (kw - 1) * dw, sw)
    found, ties = np.empty((*q.shape[:2], len(rows), len(columns)), int), 0
    for i, j in np.ndindex(*found.shape[2:]):
        down = [r for r in range(rows[i], rows[i] + kh * dh, dh) if 0 <= r < height]
        over = [c for c in range(columns[j], columns[j] + kw * dw, dw) if 0 <= c < width]
        sums = q[:, :, down][..., over].sum(axis=(2, 3))
        for at, n in np.ndenumerate(sums):
            mean = Fraction(int(n), len(down) * len(over))
            found[(*at, i, j)] = round(mean)
            ties += mean.denominator == 2
    return found, ties


@pytest.mark.parametrize("kernel", [[3, 2], [3, 4]])
def test_a_certificate(kernel, tmp_path):
    """A quantised file with a pool of one quantisation: certified, checked, and sound by brute force."""
    build = pool_build(kernel, tmp_path, target="c")
    assert MEAN in modes(build.graph).values()
    holds(build, "onnx")
