# SPDX-License-Identifier: Apache-2.0
"""Every domain's ranges hold the exact values of every tensor: random networks, corners, cell borders."""

from __future__ import annotations

import numpy as np
import pair_nets
import pytest
from pair_nets import NONE, RELU, Sketch, broken, zoo

from tinybound.domains import pair_forms, pair_zonotope
from tinybound.ops.clip import Clip
from tinybound.rounding import MODES


@pytest.mark.parametrize("seed", range(32))
def test_ranges_hold_the_truth(seed):
    assert broken(zoo(seed), seed) == set()


@pytest.mark.parametrize("mode", ["tflite-single", "tflite-double"])
@pytest.mark.parametrize("seed", range(48, 56))
def test_ranges_hold_the_truth_as_tflite_rounds(seed, mode):
    assert broken(zoo(seed, mode), seed) == set()


@pytest.mark.parametrize("seed", range(40, 48))
def test_a_box_of_one_point(seed):
    pair = zoo(seed)
    pair.upper["x"][...] = pair.lower["x"]
    assert broken(pair, seed, 2) == set()


@pytest.mark.parametrize("mode", MODES.values())
@pytest.mark.parametrize("seed", range(12))
def test_ties(seed, mode):
    """Power-of-two scales, and boxes that end exactly on rounding borders: the rule for ties decides."""
    assert broken(on_borders(seed, mode), seed) == set()


def on_borders(seed, mode="half-even"):
    """A box of a few half steps whose images fall on ties in every layer."""
    rng = np.random.default_rng(seed)
    s = Sketch(seed, (2,), two=True, mode=mode)
    h = s.dense("x", 3, RELU if seed % 2 else NONE)
    pair = s.build(s.dense(h, 2, NONE), top=2, squeeze=4.0)
    for node in pair.real.nodes:
        if node.op.weighted:
            node.op.weights[...] = np.rint(node.op.weights * 2) / 2
            node.op.bias[...] = np.rint(node.op.bias * 4) / 4
    pair = s.build(s.nodes[-1].output, top=1, squeeze=4.0)
    step = float(pair.whole.values["x"].quant.scale[0])
    start = rng.integers(-20, 20, 2) * step / 2
    pair.lower["x"][...] = start
    pair.upper["x"][...] = start + rng.integers(0, 3, 2) * step / 2
    return pair


@pytest.mark.parametrize("seed", [5, 6, 13, 14, 21])
def test_few_symbols(seed, monkeypatch):
    """Symbols that are given up go into the remainders."""
    for module in (pair_forms, pair_zonotope):
        monkeypatch.setattr(module, "LIMIT", 600)
    assert broken(zoo(seed), seed, 6) == set()


def test_saturation_on_both_sides():
    s = Sketch(1, (2,), lower=-3.0, upper=3.0)
    pair = s.build(s.dense(s.dense("x", 6, Clip(-0.5, 0.25)), 3, NONE), squeeze=0.3, reach=0.4)
    box = pair_nets.ranges(pair, pair_nets.PairProduct())["x"]
    assert box.ud.max() > 1.0  # the input's integers end at 1.2
    assert broken(pair, 1, 40) == set()
