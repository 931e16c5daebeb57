# SPDX-License-Identifier: Apache-2.0
"""Static memory: which buffers live when, and where each one lies in the arena."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

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
    orders = (
        sorted(buffers, key=lambda b: (-b.size, b.first, b.name)),
        sorted(buffers, key=lambda b: (b.first, b.last, -b.size, b.name)),
        sorted(buffers, key=lambda b: (-b.last, -b.first, -b.size, b.name)),
        sorted(buffers, key=lambda b: (-b.last, b.first, -b.size, b.name)),
    )
    best, order = min(((_lowest(order, align), order) for order in orders), key=lambda t: _end(buffers, t[0]))
    least = max((_live(buffers, b.first, align) for b in buffers), default=0)
    rng = Random(0)  # noqa: S311 -- no secret
    for _ in range(min(SWAPS // (len(buffers) + 1) ** 2, 100 * len(buffers) ** 2) if search else 0):
        if _end(buffers, best) <= least:
            break
        i, j = rng.randrange(len(order)), rng.randrange(len(order))
        other = list(order)
        other[i], other[j] = other[j], other[i]
        found = _lowest(other, align)
        if _end(buffers, found) <= _end(buffers, best):
            best, order = found, other
    verify(buffers, best)
    return best, _end(buffers, best)


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


def _end(buffers: Sequence[Buffer], offsets: dict[str, int]) -> int:
    return max((offsets[b.name] + b.size for b in buffers), default=0)


def _lowest(order: Sequence[Buffer], align: int) -> dict[str, int]:
    offsets: dict[str, int] = {}
    for i, buffer in enumerate(order):
        at = 0
        for low, high in sorted(_barred(buffer, b, offsets[b.name]) for b in order[:i] if buffer.meets(b)):
            if low >= at:  # and so does every later one
                break
            if at < high:
                at = -(-high // align) * align
        offsets[buffer.name] = at
    return offsets


def _barred(buffer: Buffer, other: Buffer, at: int) -> tuple[int, int]:
    """Open interval of offsets that `buffer` cannot take while `other` lies at `at`."""
    low, high = at - buffer.size, at + other.size
    lag = _lag(buffer, other)
    if lag is not None:
        low = max(low, at - lag)
    lag = _lag(other, buffer)
    if lag is not None:
        high = min(high, at + lag)
    return low, high


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
