# SPDX-License-Identifier: Apache-2.0
"""The memory planner: live buffers never share a byte, and no plan is larger than all buffers apart."""

from time import process_time

import numpy as np
import pytest

from tinybound.targets.memory import Buffer, place, verify


def overlaps(buffers, offsets):
    """Bytes that two live buffers share, by painting a map of (step, byte)."""
    steps = max(b.last for b in buffers) + 1
    top = max(offsets[b.name] + b.size for b in buffers)
    paint = np.zeros((steps, top), int)
    for b in buffers:
        paint[b.first : b.last + 1, offsets[b.name] : offsets[b.name] + b.size] += 1
    return int((paint > 1).sum())


@pytest.mark.parametrize("align", [1, 4, 8])
def test_buffers_never_overlap(align):
    rng = np.random.default_rng(align)
    compared = 0
    for _ in range(300):
        count = int(rng.integers(1, 14))
        firsts = rng.integers(0, 10, count)
        buffers = [
            Buffer(f"b{i}", int(rng.integers(1, 60)), int(first), int(first + rng.integers(0, 6)))
            for i, first in enumerate(firsts)
        ]
        offsets, arena = place(buffers, align)
        assert overlaps(buffers, offsets) == 0
        assert arena == max(offsets[b.name] + b.size for b in buffers)
        assert arena <= sum(-(-b.size // align) * align for b in buffers)
        live = [sum(b.size for b in buffers if b.first <= t <= b.last) for t in range(17)]
        assert arena >= max(live)  # no plan is smaller
        assert place(buffers, align) == (offsets, arena)
        compared += count
    print(f"{compared} buffers placed")


def test_no_buffers_need_no_arena():
    assert place([]) == ({}, 0)


def test_the_planners_own_check_sees_an_overlap():
    buffers = [Buffer("a", 8, 0, 2), Buffer("b", 8, 2, 3)]
    with pytest.raises(AssertionError, match="a and b overlap"):
        verify(buffers, {"a": 0, "b": 7})
    verify(buffers, {"a": 0, "b": 8})
    verify([Buffer("a", 8, 0, 1), Buffer("b", 8, 2, 3)], {"a": 0, "b": 0})


def test_hundreds_of_buffers_at_once_are_placed_in_time():
    """Cubic work took minutes; the arena is the sum of what lives together."""
    many = [Buffer(f"b{i}", 4 + 4 * (i % 3), 0, 1) for i in range(400)]

    start = process_time()
    _, size = place(many)
    seconds = process_time() - start

    print(f"{len(many)} buffers in {seconds:.2f} s")
    assert size == sum(b.size for b in many)
    assert seconds < 10
