# SPDX-License-Identifier: Apache-2.0
"""Layers of the reference that are part of others: a move of a move, a factor behind a product."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from .layers import Layer
from .rounding import Ints


def turned(layer: Layer) -> Ints:
    """Flat positions that a Transpose reads."""
    size = layer.fields["size"]
    return np.arange(prod(size)).reshape(size).transpose(layer.fields["perm"])


def permutation(
    layers: Sequence[Layer], known: Mapping[str, Any], value: str, others: Sequence[str]
) -> Layer | None:
    """The Take (or an op of `others`, as one) of every element once that makes a value, unless the file
    stores that anew."""
    maker = next((x for x in layers if x.output == value and x.op in ("Take", *others)), None)
    if maker is None or (value in known and known[value] != known.get(maker.inputs[0])):
        return None
    if maker.op == "Transpose":
        fields = {"positions": turned(maker), "size": maker.fields["size"], "pad": 0.0}
        return Layer(maker.name, "Take", maker.inputs, maker.output, fields)
    every = list(range(prod(maker.fields["size"])))
    return maker if sorted(maker.fields["positions"].ravel().tolist()) == every else None


def scaled_product(
    layers: Sequence[Layer], value: str, line: Mapping[str, Any], stored: Container[str]
) -> bool:
    """Whether a line is a positive factor, the same for all, of a MatMul; that has it then. Or the number of
    taps of a mean of `stored` integers, which is their sum then."""
    maker = next((x for x in layers if x.output == value), None)
    factor = line["factor"][0]
    if maker is None or maker.op not in ("MatMul", "AveragePool"):
        return False
    if any(f != factor for f in line["factor"]) or any(line["offset"]):
        return False
    if not (float(factor) > 0 and isfinite(factor)):
        return False
    if maker.op == "AveragePool":
        summed = bool(maker.fields.get("total", False))
        if summed or maker.inputs[0] not in stored or factor != prod(maker.fields["kernel"]):
            return False
        maker.fields["total"] = True
        return True
    if maker.fields["factor"] != 1:
        return False
    maker.fields["factor"] = float(factor)
    return True
