# SPDX-License-Identifier: Apache-2.0
"""One-dimensional layers: a line (C, W) is a map (C, 1, W) of one row."""

from __future__ import annotations

from ...ops.base import Unsupported
from .site import Site

FIRST = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}  # of the axis that is added


def line(site: Site) -> bool:
    """A layer on a line as the same layer on a map of one row."""
    if len(site.first) != 2:
        return False
    channels, width = site.first
    inputs = [site.reshape(site.inputs[0], (channels, 1, width), "row"), *site.inputs[1:]]
    if site.proto.op_type in ("Conv", "ConvTranspose"):
        weights = site.given(1)
        if weights is None or weights.ndim != 3:
            raise Unsupported(f"weights of shape {() if weights is None else weights.shape}", "(O, I, K)")
        outputs, depth, taps = weights.shape
        target = site.constant("weights.shape", (outputs, depth, 1, taps))
        inputs[1] = site.put("Reshape", [inputs[1], target], "weights")
    attributes = dict(site.attributes)
    for key in FIRST.keys() & attributes.keys():
        attributes[key] = (FIRST[key], *attributes[key])
    if "pads" in attributes:
        begin, end = attributes["pads"]
        attributes["pads"] = (0, begin, 0, end)
    found = site.put(site.proto.op_type, inputs, "map", name=site.name, **attributes)
    site.put("Squeeze", [found, site.constant("axes", [2])], name=f"{site.name}.line")
    return True
