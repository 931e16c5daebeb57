# SPDX-License-Identifier: Apache-2.0
"""Static memory: which buffers live when, and where each one lies in the arena."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """`size` bytes that are live from step `first` to step `last`, both included."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        """Whether both are live at some step."""
        return self.first <= other.last and other.first <= self.last


def place(buffers: Sequence[Buffer], align: int = 4) -> tuple[dict[str, int], int]:
    """Offsets (best fit, largest buffer first) and the arena's size in bytes."""
    placed: list[tuple[int, Buffer]] = []
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first, b.name)):
        taken = sorted((at, at + other.size) for at, other in placed if other.meets(buffer))
        best, gap, cursor = None, None, 0
        for start, end in taken:
            room = start - cursor
            if room >= buffer.size and (gap is None or room < gap):
                best, gap = cursor, room
            cursor = max(cursor, -(-end // align) * align)
        placed.append((cursor if best is None else best, buffer))
    offsets = {buffer.name: at for at, buffer in placed}
    verify(buffers, offsets)
    return offsets, max((at + buffer.size for at, buffer in placed), default=0)


def verify(buffers: Sequence[Buffer], offsets: dict[str, int]) -> None:
    """Independent check: no two buffers that are live together share a byte."""
    for i, a in enumerate(buffers):
        for b in buffers[i + 1 :]:
            apart = offsets[a.name] + a.size <= offsets[b.name] or offsets[b.name] + b.size <= offsets[a.name]
            if a.meets(b) and not apart:
                raise AssertionError(f"buffers {a.name} and {b.name} overlap in memory and time")
