# SPDX-License-Identifier: Apache-2.0
"""Weight pools by products that are computed once per input position and kept in a ring of rows."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any

import numpy as np

from ..targets.plan import Step
from . import features
from .base import Kernel, Packed

LANE = (1 << 16) - 1  # the largest product that 16 bits hold
BLOCK = 32  # TB_BLOCK
LARGEST = 1 << 30  # partial sums stay below it in size, so none leaves 32 bits


class Ring(Kernel):
    """Indices of four filters side by side, vector by vector (firmware/tb_pool.h)."""

    name = "ring"
    headers = ("tb_pool.h",)
    template = "_ring.c.j2"
    by_rows = False

    def takes(self, step: Step) -> bool:
        view = step.view
        one_group = view.get("code") == "pool64" and getattr(step.node.op, "groups", 1) == 1
        return one_group and int(np.abs(view["bias"]).max() + 256 * reach(step)) < LARGEST

    def pack(self, step: Step) -> Packed:
        """PIECES: runs of a window's vectors side by side in the ring. SUMS: that wait for requantisation."""
        stored, shape = step.view["stored"], geometry(step)
        filled = np.pad(stored, ((0, -len(stored) % 4), (0, 0)))
        odd = np.arange(stored.shape[1]) % shape["length"] % 2
        indices = (2 * filled + 128 * odd).reshape(-1, 4, stored.shape[1]).transpose(0, 2, 1)
        pieces = stored.shape[1] // shape["length"]
        return Packed(
            indices.astype(np.uint8), step.view["bias"], 0, {"PIECES": pieces, "SUMS": self.sums(step)}
        )

    def sums(self, step: Step) -> int:  # noqa: ARG002 -- any layer
        """Sums at a time: of a block of filters at two outputs."""
        return 2 * BLOCK

    def features(self, step: Step) -> Mapping[str, int]:
        """product, border: vectors that are multiplied by the pool, and padding, which is copied.

        two, one: outputs of a row side by side, and the last of an odd number, each for four filters.
        """
        shape, op, (filters, lines, columns) = geometry(step), step.node.op, step.view["output"]
        pads = getattr(op, "pads", (0, 0, 0, 0))
        rows = (step.view["output"][1] - 1) * shape["next_row"] + shape["rows"]
        inside = 1
        for count, each, pad, size in (
            (rows, shape["down"], pads[0], step.view["input"][1]),
            (shape["columns"], shape["right"], pads[1], step.view["input"][2]),
        ):
            at = np.arange(count) * each - pad
            inside *= int(((at >= 0) & (at < size)).sum())
        found = {
            "layer": 1,
            "filter": filters,
            "row": lines,
            **features.outputs(step),
            "ring_row": rows,
            "product": inside * shape["groups"],
            "border": (rows * shape["columns"] - inside) * shape["groups"],
            "block": lines * -(-columns // 2) * -(-filters // BLOCK),
        }
        pieces = shape["pieces"] * int(getattr(op, "kernel", (1, 1))[0])
        for name, count in (("two", columns // 2), ("one", columns % 2)):
            found[name] = lines * count * -(-filters // 4)
            found[name + "_piece"] = found[name] * pieces
            found[name + "_vector"] = found[name] * pieces * shape["length"]
        return found

    def shape(self, step: Step) -> dict[str, int]:
        """Fields of the step's tb_ring, for the template."""
        return geometry(step)

    def scratch(self, step: Step) -> int:
        """The bias at the call's bits, the products of padding, and the ring: 64 products per vector."""
        shape = geometry(step)
        products = 64 * (2 if narrow_bits(step) == 8 else 4)
        positions = shape["rows"] * shape["columns"] * shape["groups"]
        return 4 * len(step.view["bias"]) + products * (1 + positions)


def reach(step: Step) -> int:
    """No sum of raised products of a filter is more than 255 times this."""
    return int(np.abs(step.view["rows"]).sum(axis=1).max()) + int(step.view["less"].max())


def narrow_bits(step: Step) -> int:
    """The most activation bits at which every raised product of the pool fits 16 bits."""
    most = int(np.abs(step.view["pool"]).sum(axis=1).max())
    return max(bits for bits in range(2, 9) if ((1 << bits) - 1) * most <= LANE)


def geometry(step: Step) -> dict[str, int]:
    """Fields of the step's tb_ring, in order."""
    op: Any = step.node.op
    channels, width = step.view["input"][0], step.view["output"][2]
    kernel, strides = getattr(op, "kernel", (1, 1)), getattr(op, "strides", (1, 1))
    dilations = getattr(op, "dilations", (1, 1))
    # A window of one row, or column, has no step between taps.
    steps = [d if k > 1 else s for d, k, s in zip(dilations, kernel, strides, strict=True)]
    down, right = (gcd(*pair) for pair in zip(strides, steps, strict=True))
    tap_row, tap = steps[0] // down, steps[1] // right
    following = strides[1] // right
    pieces = 1 if tap == 1 else kernel[1]
    return {
        "rows": (kernel[0] - 1) * tap_row + 1,
        "columns": (width - 1) * following + (kernel[1] - 1) * tap + 1,
        "groups": channels // 8,
        "down": down,
        "right": right,
        "next_row": strides[0] // down,
        "next": following,
        "tap_row": tap_row,
        "pieces": pieces,
        "piece": tap,
        "length": channels // 8 * kernel[1] // pieces,
        "narrow": narrow_bits(step),
    }
