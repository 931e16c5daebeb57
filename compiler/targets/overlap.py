# SPDX-License-Identifier: Apache-2.0
"""How far a kernel's output may overlap its input: kernels read ahead of what they write.

Outputs are written in order, and from position p on a window op needs nothing that lies before the first taps
of the positions from p on. So an output that begins `lag` bytes before its input destroys nothing that will
be read (diagonal memory optimisation, Blacker et al., arXiv 2010.01668).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .plan import Step

# Element i is read before element i is written.
IN_PLACE = ("add", "curve", "mul", "requantise", "softmax", "table")
WINDOWS = ("average_pool", "conv", "max_pool")


@lru_cache(maxsize=1024)  # the planner asks again and again
def lag(step: Step) -> int | None:
    """Bytes by which the output must begin before an input that it may overlap; None: no overlap."""
    *sources, target = step.view["words"]
    if step.kind not in (*IN_PLACE, *WINDOWS) or min(sources) < target:
        return None
    if step.kind in IN_PLACE:
        return 0
    op: Any = step.node.op
    channels, height, width = step.view["input"]
    outputs, out_height, out_width = step.view["output"]
    channels, outputs = channels * sources[0], outputs * target  # bytes
    first = []
    for size, count, stride, pad in (
        (height, out_height, op.strides[0], op.pads[0]),
        (width, out_width, op.strides[1], op.pads[1]),
    ):
        first.append(np.clip(np.arange(count) * stride - pad, 0, size))
    needed = ((first[0][:, None] * width + first[1][None, :]) * channels).ravel()
    still = np.minimum.accumulate(needed[::-1])[::-1]  # first byte that a position or a later one reads
    after = np.append(still[1:], still.max() + outputs * len(still))
    written = (np.arange(len(still)) + 1) * outputs
    # All outputs of a position but the last are written while it still reads.
    return int(max((written - target - still).max(), (written - after).max(), 0))
