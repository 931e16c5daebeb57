# SPDX-License-Identifier: Apache-2.0
"""Many attacked points against certified bounds, and every op's ranges under many more inputs."""

from __future__ import annotations

import attack_points
import numpy as np
import pytest
from attack_points import Case
from cell_nets import MODES
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_nets import zoo
from test_pair_products import network


@pytest.mark.parametrize("points", [300_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_points_stay_below_their_bounds(points, capsys):
    """The bundled networks, with 8 and 16 bits, by intervals, CROWN and enumeration."""
    assert attack_points.main(["--points", str(points)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("points, 0 above a bound")
    assert int(lines[-1].split()[0].replace(",", "")) >= points
    ratios = [float(line.split("|")[7]) for line in lines[2:-1]]
    assert max(ratios) <= 1 + 1e-12
    assert max(ratios) > 0.9  # the bounds are tight enough for points to tell
    print("\n".join(lines))


@pytest.mark.parametrize("seed", range(8))
def test_every_op_under_many_points(seed):
    for pair in (zoo(seed), network(seed)) if seed < 2 else (zoo(seed),):
        case = Case(pair.real, pair.whole, pair.lower, pair.upper, budget=300)
        seen, above = case.storm(2000, seed)
        assert above == []
        assert (seen > 0).any()


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 20), st.sampled_from(MODES))
def test_any_network_under_points(seed, mode):
    pair = zoo(seed, mode)
    case = Case(pair.real, pair.whole, pair.lower, pair.upper, budget=300)
    assert case.storm(2000, seed)[1] == []


def test_a_bound_that_is_a_little_low_is_seen():
    pair = zoo(0)
    case = Case(pair.real, pair.whole, pair.lower, pair.upper, budget=300)
    seen, _ = case.storm(800, 0)
    case.bound = 0.999 * seen
    _, above = case.storm(800, 0)
    assert above
    assert all(case.proven(np.asarray(x)) for x in above)
