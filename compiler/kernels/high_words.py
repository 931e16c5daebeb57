# SPDX-License-Identifier: Apache-2.0
"""Requantisation by the upper half of a product, where no sum is a tie."""

from __future__ import annotations

import numpy as np

from ..targets.plan import Step


def high_words(step: Step) -> tuple[list[int], list[int]] | None:
    """The layer's ratios with shifts above 32, when none of its sums is a tie.

    v = sum * m is a tie only if 2^(shift - 1) divides it, so 2^(shift - 1) without the twos in m divides the
    sum: no sum but 0 is that large. Then the upper 32 bits of v and one bit of rounding decide.
    """
    r, view = step.requantise, step.view
    if r is None or "rows" not in view or r.mode == "tflite-double":
        return None
    reach = np.abs(view["bias"]) + 128 * np.abs(view["rows"]).sum(axis=1)
    found = []
    for m, s, most in np.broadcast(r.multiplier, r.shift, reach):
        m, s = int(m), int(s)
        more = max(33 - s, 0)
        if (1 << max(s - 1, 0)) // (m & -m) <= most or m << more >= 1 << 31:
            return None
        found.append((m << more, s + more))
    if len(r.shift) == 1:
        found = found[:1]
    return [m for m, _ in found], [s for _, s in found]
