# SPDX-License-Identifier: Apache-2.0
"""Tensors of the reference that several quantisers round, or one rounds and others read as they are.

Each such quantiser has layers of its own, from what the file stores on: what one rounds no other reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .layers import Layer, Network, fresh

_SAME = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}  # another name for the same elements
_ROUND = {"Quant", "IntQuant"}
_GRID = _ROUND | {"BipolarQuant", "DequantizeLinear", "Trunc"}


class Reads:
    """Who reads the tensors of a graph; `count`: how often, an output once more. `parted`: values that one
    quantisation has for itself; `shared`: (value, quantisation) -> the last of them."""

    def __init__(self, graph: Any, nodes: Sequence[Any]) -> None:
        self.count = Counter([i for n in nodes for i in n.input] + [e.name for e in graph.output])
        self.parted, self.shared = set[str](), dict[tuple[str, Any], str]()
        self._root: dict[str, str] = {}
        self._rounded: set[str] = set()
        self._bare: set[str] = set()
        for node in nodes:
            if node.op_type in _SAME and node.input:
                self._root |= {out: self.root(node.input[0]) for out in node.output}
            if node.op_type in _GRID:
                self._rounded |= {*node.output}
        for node in nodes:
            if node.op_type not in _SAME | _ROUND | {"QuantizeLinear"}:
                self._bare |= {self.root(i) for i in node.input}
        self._bare |= {self.root(entry.name) for entry in graph.output}

    def root(self, tensor: str) -> str:
        """The tensor whose elements these are."""
        return self._root.get(tensor, tensor)

    def rounded(self, tensor: str) -> bool:
        """Whether it came from a quantiser."""
        return self.root(tensor) in self._rounded

    def unmoved(self, out: str, rounded: bool) -> None:
        """`out` has every element of a tensor where it was, after an op that does not look like that."""
        self._rounded |= {out} if rounded else set()

    def also_bare(self, tensor: str) -> bool:
        """Whether something computes with it, or it is an output, before a quantiser rounds it."""
        return not self.rounded(tensor) and self.root(tensor) in self._bare

    def own(self, value: str, scale: Any, known: Mapping[str, Any]) -> str:
        """The value that equal quantisers have already; empty: none."""
        copy = self.shared.get((value, scale), "")
        return copy if known.get(copy) == scale else ""


def part(net: Network, parted: Collection[str], stored: Collection[str]) -> None:
    """In the place of each layer that makes a value of `parted`: once more what makes the value that it
    reads, back to values of `stored`."""
    layers, found = net.layers, list[Layer]()
    names, values = {x.name for x in layers}, {*stored, *(x.output for x in layers)}
    for layer in layers:
        if layer.output not in parted:
            found.append(layer)
            continue
        wanted, makers = {layer.inputs[0]}, list[Layer]()
        for one in reversed(found):
            if one.output in wanted:
                makers.insert(0, one)
                wanted.update(i for i in one.inputs if i not in stored)
        new = {layer.inputs[0]: layer.output}
        for one in makers[:-1]:
            new[one.output] = fresh(one.output, values)
            values.add(new[one.output])
        for one in makers:
            name, out = fresh(one.name, names), new[one.output]
            names.add(name)
            net.shapes[out] = net.shapes[one.output]
            inputs = tuple(new.get(i, i) for i in one.inputs)
            found.append(replace(one, name=name, inputs=inputs, output=out, fields=dict(one.fields)))
    net.layers[:] = found
