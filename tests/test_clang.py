# SPDX-License-Identifier: Apache-2.0
"""The generated C by another compiler than GCC: without a warning, and the same integers."""

import shutil

import pytest
import samples
import test_kernels
import test_kernels16
import test_neighbours
import test_pool_kernels
import test_straight

from tinybound.kernels.choose import kernel_plan
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c

NAMES = ("clang", *(f"clang-{n}" for n in range(20, 10, -1)))
CLANG = next(filter(shutil.which, NAMES), "")

pytestmark = pytest.mark.skipif(not CLANG, reason="clang is not installed")

HOST = Host(compiler=CLANG)


def differing(graph, x, favourites, folder):
    texts = generate_c(graph, plan=kernel_plan(graph, favourites))
    return samples.mismatches(graph, x, samples.OnMachine(HOST)(graph, x, folder, texts=texts)[8])


@pytest.mark.parametrize("code", ["int8", "int4"])
def test_layers(code, tmp_path):
    graph = test_kernels.network(1, "random", code)
    wrong, compared, first = differing(graph, test_kernels.vectors(graph, 1), test_kernels.FAST, tmp_path)
    assert compared > 10_000
    assert wrong == 0, first


def test_layers_of_16_bits(tmp_path):
    graph = test_kernels16.network(1, "random")
    wrong, compared, first = differing(graph, test_kernels16.vectors(graph, 1), test_kernels16.FAST, tmp_path)
    assert compared > 10_000
    assert wrong == 0, first


def test_neighbours_of_a_line(tmp_path):
    graph, _ = test_neighbours.made(3, "random")
    wrong, _, first = differing(graph, test_kernels.vectors(graph, 1), ("neighbours",), tmp_path)
    assert wrong == 0, first


@pytest.mark.slow
@pytest.mark.parametrize("kernel", test_straight.FIRST)
def test_powers_of_two(kernel, tmp_path):
    graph = test_straight.network(0, "random")
    wrong, _, first = differing(graph, test_straight.vectors(graph, 1), (kernel,), tmp_path)
    assert wrong == 0, first


@pytest.mark.slow
@pytest.mark.parametrize("kernel", test_pool_kernels.KERNELS)
def test_pools(kernel, tmp_path):
    graph = test_pool_kernels.network(0, "random")
    wrong, _, first = differing(graph, test_pool_kernels.vectors(graph, 1), (kernel,), tmp_path)
    assert wrong == 0, first
