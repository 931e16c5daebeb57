# SPDX-License-Identifier: Apache-2.0
"""Run-time activation bits: which layers they reach."""

import samples

from tinybound.graph import check
from tinybound.passes.run_time_bits import has_bits, with_bits


def test_bits_reach_pool_layers_only():
    graph = samples.build("all", samples.all_samples(), relu=False)[1]
    assert has_bits(graph)
    assert with_bits(graph, 8) is graph
    for bits in range(2, 8):
        cut = check(with_bits(graph, bits), integer=True)
        for node in cut.nodes:
            assert getattr(node.op, "bits", 8) == (bits if node.code == "pool64" else 8)
    plain = samples.build("plain", [s for s in samples.all_samples() if s[1].code != "pool64"], relu=False)[1]
    assert not has_bits(plain)
    assert has_bits(graph) != has_bits(plain)
