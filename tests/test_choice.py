# SPDX-License-Identifier: Apache-2.0
"""Which kernels a network gets, and what comes along with them."""

import re
from dataclasses import replace

import numpy as np
import pytest
import samples
from cost_maker import Maker, requantise, weighted
from test_kernels import MACHINES, network

from tinybound.kernels import KERNELS
from tinybound.kernels.choose import able, kernel_plan
from tinybound.kernels.kernel_plan import with_kernels
from tinybound.ops import (
    Add,
    ArgMax,
    AveragePool,
    Concat,
    MatMul,
    MaxPool,
    Mul,
    Requantise,
    Softmax,
    Table,
    Take,
)
from tinybound.ops.softmax import exponentials
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c
from tinybound.targets.plan import make_plan


@pytest.mark.parametrize("favourite, headers", [("pairs", True), ("int8", False)])
def test_only_headers_of_used_kernels_come_along(favourite, headers):
    graph = network(0, "random")
    plan = kernel_plan(graph, (favourite,))
    texts = generate_c(graph, plan=plan)

    included = set(re.findall(r'^ *# *include "(.*)"', "\n".join(texts.values()), re.MULTILINE))
    assert included - {"tb_trace.h"} == set(texts) - {"kernels.c", "kernels_float.h"}
    assert ("tb_dsp_pairs.h" in texts) == headers


def test_any_kernel_that_takes_a_layer_gives_its_integers(tmp_path):
    """Every layer by its last kernel instead of its first."""
    graph = network(0, "random")
    last = tuple(kernels[-1].name for kernels in map(able, kernel_plan(graph).steps))
    plan = kernel_plan(graph, last)
    assert {plan.kernel(s).name for s in plan.steps if "stored" in s.view} == {"int8"}
    x = samples.vectors(graph, 8, seed=2)

    got = samples.OnMachine(Host())(graph, x, tmp_path, texts=generate_c(graph, plan=plan))[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    assert compared > 1000
    assert wrong == 0, first


def of_every_kind():
    """A small layer for every kernel of KERNELS, each a network of its own, in one graph."""
    rng, maker, size = np.random.default_rng(5), Maker("every"), (8, 4, 4)
    window = (4, 4, (3, 3), (1, 1), (1, 1, 1, 1))
    for code, times in (("int8", 3), ("int4", 2), ("pot4", 5), ("pool64", 3)):
        for _ in range(times):
            op, shape, then = weighted(rng, code, (8, 8, *window), 1, clip=False)
            maker.add(op, [shape], code, then)
    op, shape, _ = weighted(rng, "int8", (8, 8, *window), 1, clip=False)
    long = replace(op, weights=rng.integers(-(1 << 15), 1 << 15, op.weights.shape))
    maker.add(long, [shape], "int16", requantise(rng, 0, 1, 1 << 26))
    for _ in range(4):
        op, shape, then = weighted(rng, "int8", (8, *window), 1, clip=False)
        maker.add(op, [shape], "int8", then)
    for _ in range(2):
        maker.add(MaxPool(size, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0)), [size])
        average = AveragePool(size, (2, 2), (2, 2), zero=4, total=True)
        maker.add(average, [size], then=requantise(rng, 3, 1, 255 * 4))
        maker.add(Add(646_825_729, 119_309_381, 3, 4), [size, size], then=requantise(rng, 0, 1, 1 << 34))
    maker.add(MatMul((2, 3, 4, 5), 3, 4), [(6, 5), (8, 5)], then=requantise(rng, 3, 1, 5 * 255**2))
    maker.add(Mul(3, 4), [size, size], then=requantise(rng, 2, 1, 1 << 16))
    maker.add(Requantise(np.array([5 << 28]), np.array([33]), 3, 4, -128, 127), [size])
    maker.add(Table(rng.integers(-128, 128, 256)), [size])
    maker.add(Softmax(exponentials(1 / 16)), [(8,)])
    maker.add(ArgMax(), [(8,)])
    maker.add(Concat(0), [size, size])
    maker.add(Take(rng.permutation(128).reshape(size), size), [size])
    return maker.graph()


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(m.values[0], id=m.id, marks=m.marks or (pytest.mark.slow if i else ()))
        for i, m in enumerate(MACHINES)
    ],
)
def test_all_kernels_go_together(machine, tmp_path):
    """In one file, in which their headers must not give one name to two things, and still exact."""
    graph = of_every_kind()
    plan, left, chosen = make_plan(graph), list(KERNELS), {}
    for step in plan.steps:
        fresh = [kernel for kernel in able(step) if kernel in left] or able(step)
        chosen[step.index] = fresh[0]
        left = [kernel for kernel in left if kernel is not fresh[0]]
    assert [kernel.name for kernel in left if kernel.words == 1] == []
    rng = np.random.default_rng(6)
    x = {n: rng.choice([-128, 127, 0, 50], (4, *graph.values[n].shape)) for n in graph.inputs}

    texts = generate_c(graph, plan=with_kernels(plan, chosen))
    got = samples.OnMachine(machine)(graph, x, tmp_path, texts=texts)[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    assert compared > 5000
    assert wrong == 0, first
