# SPDX-License-Identifier: Apache-2.0
"""Activations that are sums of simpler ones."""

from __future__ import annotations

import numpy as np

from ...ops.base import Unsupported
from .site import Site


def prelu(site: Site) -> bool:
    """max(x, 0) + slope * min(x, 0): a slope per channel, or of any shape that broadcasts."""
    slope = site.given(1)
    if slope is None:
        raise Unsupported("a PRelu without slopes", "constant slopes")
    positive = site.put("Relu", site.inputs[:1], "positive")
    limit = site.constant("limit", 0.0, np.float32)
    if site.opset < 11:
        negative = site.put("Clip", site.inputs[:1], "negative", max=0.0)
    else:
        negative = site.put("Clip", [site.inputs[0], "", limit], "negative")
    site.put("Add", [positive, site.put("Mul", [negative, site.inputs[1]], "scaled")])
    return True


def absolute(site: Site) -> bool:
    """Abs is x where x >= 0, and -1 times x elsewhere."""
    site.put("LeakyRelu", site.inputs, alpha=-1.0)
    return True
