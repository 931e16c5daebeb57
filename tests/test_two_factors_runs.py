# SPDX-License-Identifier: Apache-2.0
"""Products of two computed tensors on executors, at 8 and 16 bits; planted bugs; how long sums may be."""

from fractions import Fraction
from itertools import product

import pytest
import samples
import slow

from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.ops import MatMul
from tinybound.ops.base import Sample, Scaled
from tinybound.targets.c import generate_c


def several(*kinds):
    """Products of several shapes; `kinds`: bits of both inputs and of the output. Zero points lie at ends."""
    parts = []
    for i, (bits, extents) in enumerate(product(kinds, ((1, 2, 3, 7), (2, 3, 1, 4), (3, 1, 2, 1)))):
        groups, rows, columns, depth = extents
        ends = [(-(1 << (n - 1)), (1 << (n - 1)) - 1) for n in bits]
        zeros = [(5, low, high, -7)[(i + k) % 4] for k, (low, high) in enumerate(ends)]
        unit = Fraction(1 + i % 2, 1 << 9) * Fraction(3, 1 << 8)
        scale = unit * Fraction(5, (8, 5, 3)[i % 3]) * Fraction(2) ** (sum(bits[:2]) - bits[2] - 2)
        scales = Fraction(1 + i % 2, 1 << 9), Fraction(3, 1 << 8), scale
        a, b, out = (Scaled(s, z, *e) for s, z, e in zip(scales, zeros, ends, strict=True))
        shapes = (groups * rows, depth), (groups * columns, depth)
        parts.append((f"MatMul{i}", Sample(MatMul(extents, factor=0.5 + i % 2), shapes, (a, b), out)))
    return samples.build("products", parts, relu=None)[1]


WIDE = (16, 16, 16), (16, 8, 8), (8, 16, 16), (8, 8, 16), (16, 16, 8)


@pytest.fixture(scope="module")
def wide():
    return several(*WIDE)


def test_golden_of_16_bits_is_the_law(wide):
    x = samples.vectors(wide, 20, seed=5)
    for i in range(20):
        one = {name: array[i] for name, array in x.items()}
        want, got = slow.run(wide, one), run(wide, one)
        assert all((want[name] == got[name]).all() for name in want)


@pytest.mark.parametrize("executor", [
    e if e.name == "host-sanitized" else pytest.param(e, marks=pytest.mark.slow)
    for e in samples.executors() if e.name != "rtl"
], ids=lambda e: e.name)  # fmt: skip
def test_16_bits_on_executors(executor, wide, tmp_path):
    x = samples.vectors(wide, 60, seed=17)

    wrong, compared, first = samples.mismatches(wide, x, executor(wide, x, tmp_path)[8])

    print(f"{executor.name}: {compared} integers compared")
    assert wrong == 0, first


@pytest.mark.slow
@pytest.mark.parametrize("executor", samples.executors(), ids=lambda e: e.name)
def test_8_bits_on_executors(executor, tmp_path):
    graph = several((8, 8, 8))
    x = samples.vectors(graph, 200, seed=17)

    wrong, compared, first = samples.mismatches(graph, x, executor(graph, x, tmp_path)[8])

    print(f"{executor.name}: {compared} integers compared")
    assert wrong == 0, first


PLANTED = {
    "the zero point of a": ("acc += TB_TIMES(a[k] - za, factor[k]);", "acc += TB_TIMES(a[k], factor[k]);"),
    "the zero point of b": ("less *= zb;", "less *= zb + 1;"),
    "the next group": ("group++, b += columns * depth", "group++"),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_mistake_in_the_kernel_is_seen(plant, tmp_path):
    graph = several((8, 8, 8))
    texts, (right, wrong) = generate_c(graph), PLANTED[plant]
    assert right in texts["tb_elements.h"]
    texts["tb_elements.h"] = texts["tb_elements.h"].replace(right, wrong)
    x, host = samples.vectors(graph, 20, seed=17), samples.executors()[0]

    assert samples.mismatches(graph, x, host(graph, x, tmp_path, texts=texts)[8])[0] > 0


@pytest.mark.parametrize(
    ("bits", "most"), [((8, 8), 1 << 15), ((16, 16), 1 << 13), ((16, 8), 1 << 15), ((8, 16), 1 << 15)]
)
def test_sums_fit_their_words(bits, most, tmp_path):
    """The most products that kernels add up, and one more: refused. Of 16 bits by 8, the sum of a row of the
    first factor, its zero point taken off, is the longest."""
    units = [Scaled(Fraction(1, 1 << n), -(1 << (n - 1)), -(1 << (n - 1)), (1 << (n - 1)) - 1) for n in bits]
    for depth in (most, most + 1):
        sample = Sample(MatMul((1, 1, 1, depth)), ((1, depth), (1, depth)), tuple(units), units[1])
        if depth <= most:
            graph = samples.build("long", [("p", sample)], relu=False)[1]
            assert graph.values["p.t"].range.bits <= (32 if bits == (8, 8) else 46)
            x, host = samples.vectors(graph, 5, seed=1), samples.executors()[1]
            assert samples.mismatches(graph, x, host(graph, x, tmp_path)[8])[0] == 0
            continue
        with pytest.raises(CompileError, match=f"p: sums of {depth} products"):
            samples.build("long", [("p", sample)], relu=False)
