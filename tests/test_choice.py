# SPDX-License-Identifier: Apache-2.0
"""Which kernels a network gets, and what comes along with them."""

import re

import pytest
import samples
from test_kernels import network

from tinybound.kernels.choose import able, kernel_plan
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c


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
