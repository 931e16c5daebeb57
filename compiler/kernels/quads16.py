# SPDX-License-Identifier: Apache-2.0
"""int8 filters four by four for activations of 16 bits, which need no unpacking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.plan import Step
from .base import Packed
from .features import Counts, columns, lines
from .int16 import INT32, Function, Int16Affine, largest, types
from .one_shift import MODES

Integers = NDArray[np.int64]
LEAST = 33  # the shift behind the upper word of a product is at least 1
BOUNDS = ((-32768, 32767), (0, 32767))  # that one instruction saturates to


@dataclass(frozen=True)
class Upper:
    """The upper word of sum * multiplier[c], shifted by shift[c] - 32 more, half up: no sum is a tie."""

    multiplier: Integers
    shift: Integers


@lru_cache(maxsize=256)
def upper(step: Step) -> Upper | None:
    """A step's requantisation by the upper words of products, which 32 bits hold with what rounds them."""
    r = step.requantise
    if r is None or r.mode not in MODES or step.view["words"][-1] < 2:
        return None
    reach = largest(step)
    m, s, _ = np.broadcast_arrays(r.multiplier, r.shift, reach)
    more = np.maximum(LEAST - s, 0)
    m, s = m << np.minimum(more, 31), s + more
    twos = m & -m  # a tie is an odd multiple of 2^(s - 1) / twos
    far = (max(abs(r.lo - r.zero), abs(r.hi - r.zero)) + 0.5) * 2.0**s / m  # from here on all is clipped
    near = np.minimum(reach, np.ceil(far)).astype(np.int64)
    half = abs(2 * r.zero + 1) << (s - LEAST)
    fits = (m <= INT32) & (reach <= INT32) & (s < LEAST + 31) & ((reach * m >> 32) + 1 + half <= INT32)
    return Upper(m, s) if bool((fits & (near * twos < 1 << (s - 1))).all()) else None


def bounds(step: Step) -> int:
    """How the C clips: 0 and 1 are BOUNDS, 2 is in its own way."""
    r = step.requantise
    assert r is not None
    return BOUNDS.index((r.lo, r.hi)) if (r.lo, r.hi) in BOUNDS else 2


def filled(numbers: Integers, with_: int = 0) -> Integers:
    """One number per channel, up to a multiple of four."""
    return np.pad(numbers, (0, -len(numbers) % 4), constant_values=with_)


class Quads16(Int16Affine):
    """Words of one filter's taps 0, 2, 1 and 3, four filters side by side (firmware/tb_quads_16.h)."""

    headers = ("tb_int16.h", "tb_quads_16.h")

    def __init__(self) -> None:
        super().__init__("int8")
        self.name = "quads_16"

    def takes(self, step: Step) -> bool:
        op: Any = step.node.op
        return step.view.get("code") == "int8" and getattr(op, "groups", 1) == 1

    def pack(self, step: Step) -> Packed:
        """QUAD_COLUMNS: activations of a window, or of two where products' upper words requantise."""
        rows = step.view["rows"]
        taps, positions = rows.shape[1] + -rows.shape[1] % 4, int(np.prod(step.view["output"][1:]))
        fours = np.pad(rows, ((0, -len(rows) % 4), (0, -rows.shape[1] % 4)))
        words = fours.reshape(-1, 4, taps // 4, 4)[..., [0, 2, 1, 3]].transpose(0, 2, 1, 3)
        room = {"QUAD_COLUMNS": taps * (min(positions, 2) if upper(step) else 1)}
        stored = words.astype(np.int8).view(np.uint8)
        return Packed(stored, filled(step.view["bias"]), 4 * taps, room)

    def functions(self, step: Step) -> tuple[Function, ...]:
        if upper(step):
            return (Function("TB_DIRECT_QUADS_16", (types(step)[0], str(bounds(step)))),)
        return (Function("TB_QUADS_16", (*types(step), self.sum_type(step))),)

    def scaling(self, step: Step) -> Mapping[str, Any]:
        """Where upper() requantises: its numbers for fours of channels, and shifts less 33."""
        found = upper(step)
        if found is None:
            return {}
        shift = filled(found.shift, LEAST) - LEAST
        return {"multiplier": filled(found.multiplier), "shift": shift, "direct": 1, "step": 1}

    def features(self, step: Step) -> Mapping[str, int]:
        found = columns(step, 4) | lines(step)
        found = {name: count for name, count in found.items() if name not in ("filter_tap", "mac", "padded")}
        found["long"] = int(np.prod(step.view["output"])) * (self.sum_type(step) == "int64_t")
        if upper(step) is None:  # position by position
            ones = {name: 2 * found[f"two{name[3:]}"] + found[name] for name in ("one", "one_fours")}
            found |= {**ones, "two": 0, "two_fours": 0}
        return with_upper(found, step)


class Halfbytes16(Int16Affine):
    """int4 or pot4, filter by filter over the column of a window (firmware/tb_quads_16.h)."""

    headers = Quads16.headers

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.name = f"{code}_columns_16"

    def takes(self, step: Step) -> bool:
        return super().takes(step) and getattr(step.node.op, "groups", 1) == 1

    def pack(self, step: Step) -> Packed:
        """QUAD_COLUMNS: activations of a window."""
        taps = step.view["rows"].shape[1]
        return replace(super().pack(step), room={"QUAD_COLUMNS": taps + -taps % 4})

    def functions(self, step: Step) -> tuple[Function, ...]:
        return (Function("TB_TERMS_16", (self.code, *types(step), self.sum_type(step))),)


def with_upper(found: Counts, step: Step) -> Counts:
    """Outputs that upper() requantises are a kind of their own."""
    if upper(step) is None:
        return found
    rest = {name: count for name, count in found.items() if name not in ("scaled", "shifted", "direct")}
    return {**rest, "upper": int(np.prod(step.view["output"]))}
