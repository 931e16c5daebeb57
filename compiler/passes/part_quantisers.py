# SPDX-License-Identifier: Apache-2.0
"""Give each quantiser of one value the layer that makes it, so that none reads what another has rounded.

before: Conv -> y -> Clip(-inf, inf) -> y.a        after: Conv -> y -> Relu
                y -> Relu                                 Conv -> y.a

A layer has one requantisation: with one layer for both, what reads y would get the integers of y.a.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..graph import Node
from .rewrite import fresh


def part_quantisers(
    nodes: Sequence[Node], parted: Collection[str], stored: Collection[str]
) -> tuple[list[Node], Mapping[str, str]]:
    """The nodes without the Clips that make the values `parted`, and copy -> node that it is a copy of.

    A copy goes back as far as to what is `stored`: inputs, and values that the model file quantises.
    """
    names, values = {node.name for node in nodes}, {*stored, *(node.output for node in nodes)}
    made: list[Node] = []
    copies: dict[str, str] = {}
    for node in nodes:
        if node.output not in parted:
            made.append(node)
            continue
        renamed = {node.inputs[0]: node.output}
        layers = _back_to(made, node.inputs[0], stored)
        for layer in layers[:-1]:
            renamed[layer.output] = fresh(layer.output, values)
            values.add(renamed[layer.output])
        for layer in layers:
            name = fresh(layer.name, names)
            names.add(name)
            copies[name] = copies.get(layer.name, layer.name)
            inputs = tuple(renamed.get(i, i) for i in layer.inputs)
            made.append(replace(layer, name=name, inputs=inputs, output=renamed[layer.output]))
    return made, copies


def _back_to(nodes: Sequence[Node], value: str, stored: Collection[str]) -> list[Node]:
    """What makes a value of stored ones, in order, the node that gives it last."""
    needed, found = {value}, list[Node]()
    for node in reversed(nodes):
        if node.output in needed:
            found.append(node)
            needed.update(i for i in node.inputs if i not in stored)
    return found[::-1]
