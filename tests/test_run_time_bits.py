# SPDX-License-Identifier: Apache-2.0
"""Run-time activation bits: which layers they reach."""

import samples

from tinybound.graph import check
from tinybound.ops import Conv, Dense
from tinybound.passes.run_time_bits import has_bits, with_bits


def test_bits_reach_pool_layers_only():
    graph = samples.build("all", samples.all_samples(), relu=False)[1]
    assert has_bits(graph)
    assert with_bits(graph, 8) is graph
    for bits in range(2, 8):
        cut = check(with_bits(graph, bits), integer=True)
        layers = [node for node in cut.nodes if isinstance(node.op, Conv | Dense)]
        assert [node.op.bits for node in layers] == [bits if n.code == "pool64" else 8 for n in layers]
        others = [node.op for node in cut.nodes if node not in layers]
        assert others == [node.op for node in graph.nodes if not isinstance(node.op, Conv | Dense)]
    plain = samples.build("plain", [s for s in samples.all_samples() if s[1].code != "pool64"], relu=False)[1]
    assert not has_bits(plain)
    assert has_bits(graph) != has_bits(plain)
