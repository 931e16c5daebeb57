# SPDX-License-Identifier: Apache-2.0
"""Range arithmetic equals brute force: first on all small intervals, then on random large ones."""

import doctest
import operator
from itertools import product

import numpy as np
import pytest

from tinybound import ranges
from tinybound.ranges import INT8, UINT8, Range

SMALL = [(lo, hi) for lo in range(-7, 8) for hi in range(lo, 8)]
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def test_the_motivating_example():
    """The example of the class's documentation."""
    assert doctest.testmod(ranges).attempted >= 1
    assert doctest.testmod(ranges).failed == 0
    assert (Range(-128, 127) - Range.of(3)) * Range.of(-2) == Range(-248, 262)


@pytest.mark.parametrize("symbol", OPERATIONS)
def test_arithmetic_equals_brute_force(symbol):
    operation = OPERATIONS[symbol]
    table = {(a, b): operation(a, b) for a in range(-7, 8) for b in range(-7, 8)}
    compared = 0
    for (a, b), (c, d) in product(SMALL, SMALL):
        results = [table[p, q] for p in range(a, b + 1) for q in range(c, d + 1)]
        assert operation(Range(a, b), Range(c, d)) == Range(min(results), max(results))
        compared += 1
    print(f"{compared} pairs of ranges compared")
    assert compared == 120 * 120


def test_sets_equal_brute_force():
    compared = 0
    for (a, b), (c, d) in product(SMALL, SMALL):
        one, two = set(range(a, b + 1)), set(range(c, d + 1))
        hull = Range(a, b).union(Range(c, d))
        assert (hull.lo, hull.hi) == (min(one | two), max(one | two))
        assert Range(a, b).contains(Range(c, d)) == (two <= one)
        compared += 2
    print(f"{compared} compared")


@pytest.mark.parametrize("symbol", OPERATIONS)
def test_arithmetic_on_large_random_ranges(symbol):
    """Beyond 64 bits too: extremes of +, -, * lie at corners; random inside points never leave."""
    operation, rng = OPERATIONS[symbol], np.random.default_rng(3)
    for _ in range(2000):
        ends = [int(rng.integers(-(1 << 62), 1 << 62)) << int(rng.integers(0, 20)) for _ in range(4)]
        (a, b), (c, d) = sorted(ends[:2]), sorted(ends[2:])
        got = operation(Range(a, b), Range(c, d))
        corners = [operation(p, q) for p in (a, b) for q in (c, d)]
        assert got == Range(min(corners), max(corners))
        p, q = a + (b - a) * int(rng.integers(0, 100)) // 100, c + (d - c) * int(rng.integers(0, 100)) // 100
        assert got.lo <= operation(p, q) <= got.hi


def test_an_empty_range_is_refused():
    for lo, hi in product(range(-7, 8), range(-7, 8)):
        if lo > hi:
            with pytest.raises(ValueError, match="empty range"):
                Range(lo, hi)


def test_bits_equal_brute_force():
    edges = sorted(
        {s * (1 << k) + d for k in range(66) for s in (-1, 1) for d in (-1, 0, 1)} | set(range(-9, 10))
    )
    compared = 0
    for lo, hi in product(edges, edges):
        if lo <= hi:
            width = next(n for n in range(1, 80) if -(1 << (n - 1)) <= lo and hi < 1 << (n - 1))
            assert Range(lo, hi).bits == width, (lo, hi)
            compared += 1
    print(f"{compared} widths compared")


def test_c_words_equal_brute_force():
    words = {f"{u}int{n}_t": ((0, 2**n - 1) if u else (-(2 ** (n - 1)), 2 ** (n - 1) - 1))
             for n in (8, 16, 32, 64) for u in ("", "u")}  # fmt: skip
    order = ["int8_t", "uint8_t", "int16_t", "int32_t", "int64_t"]
    edges = sorted(
        {s * (1 << k) + d for k in (0, 7, 8, 15, 16, 31, 32, 63) for s in (-1, 1) for d in (-1, 0, 1)}
    )
    compared = 0
    for lo, hi in product(edges, edges):
        if lo > hi:
            continue
        fit = [word for word in order if words[word][0] <= lo and hi <= words[word][1]]
        if fit:
            assert Range(lo, hi).c_word == fit[0]
        else:
            with pytest.raises(OverflowError, match="more than 64"):
                _ = Range(lo, hi).c_word
        compared += 1
    print(f"{compared} words compared")
    assert Range(*INT8).c_word == "int8_t"
    assert Range(*UINT8).c_word == "uint8_t"


def test_a_range_is_a_value():
    assert Range(1, 2) == Range(1, 2)
    assert len({Range(1, 2), Range(1, 2), Range(1, 3)}) == 2
    with pytest.raises(AttributeError):
        Range(1, 2).lo = 0
