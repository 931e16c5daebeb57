# SPDX-License-Identifier: Apache-2.0
"""int8 depthwise layers of 3 x 3 taps, two positions side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from . import features
from .base import Packed
from .one_shift import ratios
from .wide import Wide


class Neighbours(Wide):
    """Weights and columns that two positions share are unpacked once (firmware/tb_neighbours.h)."""

    name = "neighbours"
    headers = ("tb_neighbours.h",)
    slow_on = ("cortex-m0plus", "cortex-m3", "rv32imc")  # whose C gains nothing from two positions

    def takes(self, step: Step) -> bool:
        if not super().takes(step):
            return False
        op: Any = step.node.op
        beside = (op.strides[1], op.dilations[1]) == (1, 1) and step.view["output"][2] > 1
        return beside and op.kernel == (3, 3)

    def pack(self, step: Step) -> Packed:
        """SIDES: words of a pixel of padding, and of a position that waits."""
        records = _records(step)
        return Packed(records, row_bytes=records[0].nbytes, room={"SIDES": len(records)})

    def inner(self, step: Step) -> tuple[int, ...]:
        """Arguments of TB_NEIGHBOURS: bits to shift, whether to clamp."""
        return super().inner(step)[1:]

    def features(self, step: Step) -> Mapping[str, int]:
        """run: pairs of one line whose windows lie inside the map follow each other; others are alone."""
        channels, rows, columns = step.view["output"]
        _, height, width = step.view["input"]
        op: Any = step.node.op
        tops = (np.arange(rows) * op.strides[0] - op.pads[0])[:, None] + np.arange(3) * op.dilations[0]
        whole = int(((tops >= 0) & (tops < height)).all(axis=1).sum())
        at = np.arange(0, columns, 2)
        left = at - op.pads[1]
        inside = int(((left >= 0) & (left + 3 < width) & (at + 1 < columns)).sum())
        pairs = rows * len(at)
        return {
            "layer": 1,
            "row": rows,
            "run": pairs - whole * max(inside - 1, 0),
            "pair": pairs,
            "four": pairs * channels // 4,
            "clipped": features.outputs(step)["clipped"],
        }


def _records(step: Step) -> NDArray[np.int32]:
    """(fours, words) of four channels each, two and two: see the header."""
    rows, found = step.view["rows"], ratios(step)
    assert found is not None
    count = len(rows) // 4
    taps = rows.reshape(count, 2, 2, 3, 3)  # four, two, channel, row, column
    columns = taps[:, :, :, :2].transpose(0, 1, 4, 3, 2).reshape(count, 2, -1)  # column, row, channel
    last = taps[:, :, :, 2, :2].transpose(0, 1, 3, 2).reshape(count, 2, -1)
    words = np.concatenate([columns, last], axis=2).astype("<i1").view("<i4")
    lone = np.ascontiguousarray(taps[:, :, :, 2, 2]).reshape(count, 4).astype("<i1").view("<i4")
    bias = step.view["bias"].reshape(count, 2, 2)
    multiplier = np.broadcast_to(found.multiplier, (len(rows),)).reshape(count, 2, 2)
    parts = [bias[:, 0], words[:, 0], lone, multiplier[:, 0], bias[:, 1], words[:, 1], multiplier[:, 1]]
    return np.concatenate(parts, axis=1).astype(np.int32)
