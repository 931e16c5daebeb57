# SPDX-License-Identifier: Apache-2.0
"""Layers on (C, W), written as layers on (C, 1, W)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .files import need
from .place import Place


def line(p: Place) -> bool:
    """The layer with an axis of one row put in; False where there are rows already."""
    shape = p.first()
    if len(shape) != 2:
        return False
    inputs = [p.reshape(p.inputs[0], (shape[0], 1, shape[1]), "row"), *p.inputs[1:]]
    if p.op in ("Conv", "ConvTranspose"):
        need(len(inputs) > 1 and inputs[1] in p.constants, f"{p.name}: weights that are not constant")
        size = p.constants[inputs[1]].shape
        need(len(size) == 3, f"{p.name}: weights {size}")
        wanted = p.free("weights.shape")
        p.constants[wanted] = np.array((*size[:2], 1, size[2]))
        inputs[1] = p.put("Reshape", [inputs[1], wanted], "weights")
    more = dict(p.attributes)
    for key, one in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("output_padding", 0)):
        if key in more:
            need(len(more[key]) == 1, f"{p.name}: {key}")
            more[key] = (one, *more[key])
    if "pads" in more:
        need(len(more["pads"]) == 2, f"{p.name}: pads")
        more["pads"] = (0, more["pads"][0], 0, more["pads"][1])
    found, axes = p.put(p.op, inputs, "map", name=p.name, **more), p.free("axes")
    p.constants[axes] = np.array([2])
    p.put("Squeeze", [found, axes], name=f"{p.name}.line")
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "BatchNormalization"): line,
    ("", "Conv"): line,
    ("", "GlobalAveragePool"): line,
}
