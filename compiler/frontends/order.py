# SPDX-License-Identifier: Apache-2.0
"""Files whose nodes stand in another order than ONNX asks for: runtimes sort them, and so does this."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import onnx


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Each node behind those that it reads; of those that could come next, the first one of the file. A graph
    with a circle stays as it is, for ONNX's own check to name."""
    maker = {out: i for i, node in enumerate(graph.node) for out in node.output if out}
    awaited = [{maker[name] for name in node.input if name in maker} for node in graph.node]
    if all(max(before, default=-1) < i for i, before in enumerate(awaited)):
        return
    readers: list[list[int]] = [[] for _ in awaited]
    for i, before in enumerate(awaited):
        for j in before:
            readers[j].append(i)
    missing = [len(before) for before in awaited]
    ready = [i for i, n in enumerate(missing) if n == 0]
    heapify(ready)
    order = []
    while ready:
        i = heappop(ready)
        order.append(i)
        for reader in readers[i]:
            missing[reader] -= 1
            if missing[reader] == 0:
                heappush(ready, reader)
    if len(order) == len(awaited):
        nodes = [onnx.NodeProto.FromString(graph.node[i].SerializeToString()) for i in order]
        del graph.node[:]
        graph.node.extend(nodes)
