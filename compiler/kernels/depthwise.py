# SPDX-License-Identifier: Apache-2.0
"""int8 depthwise layers, four channels to a word."""

from __future__ import annotations

from ..targets.plan import Step
from .base import Kernel, Packed, is_depthwise


class Depthwise(Kernel):
    """Weights of four channels side by side, tap by tap (firmware/tb_int8.h, tb_dsp.h)."""

    name = "depthwise"
    headers = ("tb_int8.h",)

    def takes(self, step: Step) -> bool:
        fours = is_depthwise(step.node.op) and len(step.view["rows"]) % 4 == 0
        return fours and step.view["code"] == "int8"

    def pack(self, step: Step) -> Packed:
        """TAPS, CHANNELS: of a window, of which a DSP core keeps the addresses, and a pixel of padding."""
        view = step.view
        channels, taps = view["rows"].shape
        fours = view["stored"].reshape(-1, 4, taps).transpose(0, 2, 1)
        return Packed(fours, view["bias"], 4 * taps, {"TAPS": taps, "CHANNELS": channels})
