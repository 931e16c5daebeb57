# SPDX-License-Identifier: Apache-2.0
"""A matrix for every row of a tensor (..., K): a 1 x 1 convolution whose pixels are the rows.

In channels-last memory the rows lie where they did, so that the Takes around it move nothing.
"""

from __future__ import annotations

from math import prod

import numpy as np

from .site import Site


def rows(site: Site) -> bool:
    """MatMul (..., K) x (K, M) -> (..., M) of a tensor with rows."""
    weights = site.constants.get(site.inputs[1])
    if site.inputs[0] not in site.shapes or weights is None or weights.ndim != 2 or len(site.first) < 2:
        return False
    *rest, depth = site.first
    if depth != weights.shape[0]:
        return False
    count, outputs = prod(rest), weights.shape[1]
    places = site.positions().reshape(1, count, depth)
    pixels = site.take(places.transpose(0, 2, 1)[..., None], "pixels")
    turned = site.put("Transpose", [site.inputs[1]], "turned", perm=[1, 0])
    kernel = site.constant("kernel.shape", (outputs, depth, 1, 1))
    turned = site.put("Reshape", [turned, kernel], "kernel")
    found = site.put("Conv", [pixels, turned], "map", name=site.name)
    back = np.arange(outputs * count).reshape(outputs, count).T.reshape(*rest, outputs)
    site.moved(found, back, name=f"{site.name}.rows")
    return True
