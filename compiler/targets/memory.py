# SPDX-License-Identifier: Apache-2.0
"""Static memory: which buffers live when, and where each one lies in the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any

Span = tuple[int, int]
SWAPS = 400_000  # budget of the search, in pairs of buffers compared


@dataclass(frozen=True)
class Buffer:
    """`size` bytes that are live from step `first` to step `last`, both included.

    `over`: (name, lag): this one may overlap that buffer if it begins at least `lag` bytes before it.
    """

    name: str
    size: int
    first: int
    last: int
    over: tuple[tuple[str, int], ...] = ()

    def meets(self, other: Buffer) -> bool:
        """Whether both are live at some step."""
        return self.first <= other.last and other.first <= self.last


def place(buffers: Sequence[Buffer], align: int = 4, *, search: bool = True) -> tuple[dict[str, int], int]:
    """Offsets and the arena's size in bytes: each buffer as low as it can lie, in the best order found.

    Four natural orders, then, with `search`, swaps in the best of them that make the arena no larger;
    deterministic.
    """
    count, barred = len(buffers), _barred(buffers)
    keys: list[list[tuple[Any, ...]]] = [
        [(-b.size, b.first, b.name) for b in buffers],
        [(b.first, b.last, -b.size, b.name) for b in buffers],
        [(-b.last, -b.first, -b.size, b.name) for b in buffers],
        [(-b.last, b.first, -b.size, b.name) for b in buffers],
    ]
    orders = [sorted(range(count), key=key.__getitem__) for key in keys]

    sizes = [b.size for b in buffers]
    found = ((*_lowest(order, sizes, barred, align), order) for order in orders)
    end, best, order = min(found, key=lambda each: each[0])
    least = max((_live(buffers, b.first, align) for b in buffers), default=0)
    rng = Random(0)  # noqa: S311 -- no secret
    for _ in range(min(SWAPS // (count + 1) ** 2, 100 * count**2) if search else 0):
        if end <= least:
            break
        i, j = rng.randrange(count), rng.randrange(count)
        other = list(order)
        other[i], other[j] = other[j], other[i]
        reached, offsets = _lowest(other, sizes, barred, align, end)
        if reached <= end:
            end, best, order = reached, offsets, other
    named = {buffers[i].name: at for i, at in best.items()}
    verify(buffers, named)
    return named, end


def occupied(buffers: Sequence[Buffer], offsets: dict[str, int], step: int) -> int:
    """Bytes of the arena that hold something while a step runs; what overlaps counts once."""
    spans = sorted((offsets[b.name], offsets[b.name] + b.size) for b in buffers if b.first <= step <= b.last)
    total = end = 0
    for low, high in spans:
        total += max(high - max(low, end), 0)
        end = max(end, high)
    return total


def _live(buffers: Sequence[Buffer], step: int, align: int) -> int:
    """Bytes that must be apart at a step, all but the last one up to an aligned end: no arena is smaller."""
    sizes = [b.size for b in buffers if b.first < step <= b.last or (b.first == step and not b.over)]
    gaps = [-size % align for size in sizes]
    return sum(sizes) + sum(gaps) - max(gaps, default=0)


def _lowest(
    order: Sequence[int],
    sizes: Sequence[int],
    barred: Sequence[Mapping[int, Span]],
    align: int,
    most: float = inf,
) -> tuple[int, dict[int, int]]:
    """The arena and each buffer's offset, one after the other as low as it can lie beside those before it.

    Ends at the first buffer that needs more than `most` bytes.
    """
    end = 0
    offsets: dict[int, int] = {}
    for i in order:
        at, apart = 0, barred[i]
        for low, high in sorted(
            [(offsets[j] + apart[j][0], offsets[j] + apart[j][1]) for j in apart if j in offsets]
        ):
            if at <= low:
                break
            if at < high:
                at = -(-high // align) * align
        offsets[i] = at
        end = max(end, at + sizes[i])
        if end > most:
            break
    return end, offsets


def _barred(buffers: Sequence[Buffer]) -> list[dict[int, Span]]:
    """[i][j]: the open interval of offsets that i cannot take, from where j lies; none if they never meet."""
    found: list[dict[int, Span]] = []
    for buffer in buffers:
        row = {}
        for j, other in enumerate(buffers):
            if other is not buffer and buffer.meets(other):
                behind, before = _lag(buffer, other), _lag(other, buffer)
                low = -buffer.size if behind is None else max(-buffer.size, -behind)
                row[j] = low, other.size if before is None else min(other.size, before)
        found.append(row)
    return found


def _lag(output: Buffer, source: Buffer) -> int | None:
    """The lag with which `output` may overlap `source`, which dies in the step that writes `output`."""
    if source.last != output.first:
        return None
    return next((lag for name, lag in output.over if name == source.name), None)


def verify(buffers: Sequence[Buffer], offsets: dict[str, int]) -> None:
    """Independent check: buffers that are live together share no byte that one of them still needs."""
    for i, a in enumerate(buffers):
        for b in buffers[i + 1 :]:
            start, other = offsets[a.name], offsets[b.name]
            apart = start + a.size <= other or other + b.size <= start
            behind = any(
                source.last == output.first and offsets[source.name] - offsets[output.name] >= lag
                for output, source in ((a, b), (b, a))
                for name, lag in output.over
                if name == source.name
            )
            if a.meets(b) and not (apart or behind):
                raise AssertionError(f"buffers {a.name} and {b.name} overlap in memory and time")
