# SPDX-License-Identifier: Apache-2.0
"""How the tensors of a file are read: as they are, or through a quantiser."""

from __future__ import annotations

from collections import Counter

import onnx

VIEWS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}  # the same elements under another name
QUANTISERS = {"IntQuant", "Quant", "QuantizeLinear"}
STORED = {"BipolarQuant", "DequantizeLinear", "IntQuant", "Quant", "Trunc"}  # give scaled integers


class Reads:
    """Of a graph. `count`: how often each tensor is read; outputs of the graph read theirs once."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.count = Counter([i for node in graph.node for i in node.input])
        self.count.update(entry.name for entry in graph.output)
        self._first: dict[str, str] = {}  # a view -> the tensor that it shows
        self._stored: set[str] = set()
        for node in graph.node:
            if node.op_type in VIEWS and node.input:
                self._first.update(dict.fromkeys(node.output, self._of(node.input[0])))
            elif node.op_type in STORED:
                self._stored.update(node.output)
        others = (node for node in graph.node if node.op_type not in VIEWS | QUANTISERS)
        self._plain = {self._of(i) for node in others for i in node.input}
        self._plain |= {self._of(entry.name) for entry in graph.output}

    def _of(self, tensor: str) -> str:
        return self._first.get(tensor, tensor)

    def stored(self, tensor: str) -> bool:
        """Whether a quantiser of the file has rounded it already."""
        return self._of(tensor) in self._stored

    def still_stored(self, out: str, *, stored: bool) -> None:
        """`out` is a stored tensor, or not, after an op that might have moved its elements and did not."""
        if stored:
            self._stored.add(out)

    def both(self, tensor: str) -> bool:
        """Whether nodes that are no quantisers, or the graph's outputs, read it before any has rounded it."""
        return self._of(tensor) in self._plain and not self.stored(tensor)
