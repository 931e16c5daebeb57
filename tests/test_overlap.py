# SPDX-License-Identifier: Apache-2.0
"""An output may overlap its input by as much as overlap.lag says, and not by one byte more."""

from types import SimpleNamespace

import numpy as np
import pytest

from tinybound.ops import Conv
from tinybound.ops.window import im2col, output_size
from tinybound.targets.memory import Buffer, place, verify
from tinybound.targets.overlap import lag


class Stand(SimpleNamespace):
    """Stands for a Step; what is asked of one is remembered by it."""

    __hash__ = object.__hash__


def geometry(rng, words=(1, 1)):
    """A random window op with one group: its Step as lag() sees it, and the taps of each position (HWC)."""
    channels, outputs = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
    strides, dilations = (tuple(int(k) for k in rng.integers(1, 3, 2)) for _ in range(2))
    pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
    size = (channels, int(rng.integers(5, 9)), int(rng.integers(5, 9)))
    weights = np.zeros((outputs, channels, *kernel))
    op = Conv(weights, np.zeros(outputs), size, strides, dilations, pads)
    out = output_size(size[1:], kernel, strides, dilations, pads)
    index = im2col(size, kernel, strides, dilations, pads)  # (C, K, P) in CHW
    spots = index % (size[1] * size[2]) * channels + np.arange(channels)[:, None, None]
    taps = np.where(index >= 0, spots, -1).reshape(-1, index.shape[2]).T
    view = {"input": size, "output": (outputs, *out), "words": words}
    return Stand(kind="conv", node=SimpleNamespace(op=op), view=view), taps


def result(taps, outputs, data, gap, words=(1, 1)):
    """Sums over taps, computed in one memory in which the output begins `gap` bytes before the input: each
    byte of an element holds it, the second one twice it."""
    start, (source, target) = max(0, -gap), words
    memory = np.full(start + gap + source * len(data) + target * len(taps) * outputs, -999, np.int64)
    for i in range(source):
        memory[start + gap + i : start + gap + source * len(data) : source] = (i + 1) * data
    for p, row in enumerate(taps):
        for o in range(outputs):
            places = start + gap + source * row[row >= 0]
            read = sum(memory[places + i].sum() for i in range(source))
            at = start + target * (p * outputs + o)
            memory[at : at + target] = (o + 1) * read
    return memory[start : start + target * len(taps) * outputs]


@pytest.mark.parametrize("words", [(1, 1), (2, 2), (2, 1)])
def test_nothing_needed_is_overwritten(words):
    rng = np.random.default_rng(7)
    tight = 0
    for _ in range(150):
        step, taps = geometry(rng, words)
        outputs = step.view["output"][0]
        data = rng.integers(1, 1000, int(np.prod(step.view["input"])))
        apart = result(taps, outputs, data, 2 * (len(taps) * outputs + len(data)), words)
        gap = lag(step)
        np.testing.assert_array_equal(result(taps, outputs, data, gap, words), apart)
        tight += int(gap > 0 and not np.array_equal(result(taps, outputs, data, gap - 1, words), apart))
    print(f"150 geometries; in {tight} of them one byte less destroys an input")
    assert tight > (75 if words[0] == words[1] else 30)


@pytest.mark.parametrize(("kind", "expected"), [("add", 0), ("table", 0), ("dense", None), ("reorder", None)])
def test_other_kinds(kind, expected):
    for words in ((1, 1), (2, 1), (2, 2, 2), (2, 2, 1)):
        assert lag(Stand(kind=kind, view={"words": words})) == expected


@pytest.mark.parametrize("kind", ["add", "conv", "table"])
def test_what_is_longer_than_its_input_does_not_overlap_it(kind):
    for words in ((1, 2), (2, 1, 2)):
        assert lag(Stand(kind=kind, view={"words": words})) is None


def test_a_chain_of_overlaps_needs_one_map_and_the_lags():
    """Four ops on maps of 1000 bytes, 10 bytes behind each other: 1040 instead of 2000."""
    chain = [Buffer(f"m{i}", 1000, i, i + 1, ((f"m{i - 1}", 10),) if i else ()) for i in range(5)]

    offsets, arena = place(chain, align=1)

    assert arena == 1040
    assert [offsets[f"m{i}"] - offsets[f"m{i + 1}"] for i in range(4)] == [10] * 4


def test_an_input_that_lives_on_is_not_overlapped():
    buffers = [Buffer("a", 100, 0, 2), Buffer("b", 100, 1, 2, (("a", 0),))]

    assert place(buffers)[1] == 200


def test_verify_refuses_an_overlap_below_the_lag():
    buffers = [Buffer("a", 100, 0, 1), Buffer("b", 100, 1, 2, (("a", 8),))]

    verify(buffers, {"a": 8, "b": 0})
    with pytest.raises(AssertionError, match="overlap"):
        verify(buffers, {"a": 7, "b": 0})
