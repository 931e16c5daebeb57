# SPDX-License-Identifier: Apache-2.0
"""The search for groups: networks of many layers are planned in seconds, and no group that pays is missed."""

from itertools import combinations

import numpy as np
import pytest
from test_c_target import chain

from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Conv
from tinybound.targets import grouping
from tinybound.targets import memory as placing
from tinybound.targets.rows import Group


def deep(layers, stride_at=()):
    """A chain of 3 x 3 convolutions over a small map."""
    rng = np.random.default_rng(0)
    size, ops = (2, 8, 8), []
    for i in range(layers):
        weights = rng.normal(0, 0.24, (2, 2, 3, 3))
        strides = (2, 2) if i in stride_at else (1, 1)
        ops.append(Conv(weights, np.zeros(2), size, strides=strides, pads=(1, 1, 1, 1)))
        size = ops[-1].shape(size)
    return kernel_plan(chain(f"deep{layers}", (2, 8, 8), *ops))


@pytest.fixture
def layouts(monkeypatch):
    """How often memory is laid out."""
    calls, real = [], grouping.lay_out

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(grouping, "lay_out", counted)
    return calls


@pytest.mark.parametrize("layers", [10, 40])
def test_layouts_grow_with_the_layers_at_most(layers, layouts):
    plan = deep(layers)

    memory = grouping.plan_memory.__wrapped__(plan)

    print(f"{len(plan.steps)} steps, {len(layouts)} layouts, arena {memory.arena} bytes")
    assert len(layouts) <= 3 * layers


def cuts(spans):
    """Every set of spans that do not overlap."""
    for count in range(len(spans) + 1):
        for chosen in combinations(spans, count):
            if all(a[1] < b[0] or b[1] < a[0] for a, b in combinations(chosen, 2)):
                yield chosen


def test_fewest_steps_in_groups_is_what_trying_all_gives():
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 7))
        every = [(a, b) for a in range(count) for b in range(a, count)]
        allowed = [span for span in every if rng.random() < 0.6]
        groups = [span for span in allowed if span[0] < span[1]]
        alone = {a for a, b in allowed if a == b}
        fused = [
            sum(b - a + 1 for a, b in cut)
            for cut in cuts(groups)
            if {*range(count)} - {i for a, b in cut for i in range(a, b + 1)} <= alone
        ]
        found = grouping._fewest(count, allowed)
        assert (found is None) == (not fused)
        if found is not None:
            assert sum(b - a + 1 for a, b in found) == min(fused)
            assert {*range(count)} - {i for a, b in found for i in range(a, b + 1)} <= alone
            assert {*found} <= {*groups}


@pytest.mark.parametrize("stride_at", [(), (1,), (2, 4)])
def test_nothing_worth_its_price_is_missed(stride_at, monkeypatch):
    """Against every cut of six steps: what one of them saves beyond the threshold was found or beaten."""
    monkeypatch.setattr(placing, "SWAPS", 4000)
    plan = deep(4, stride_at)
    for where in ("caller", "arena"):
        search = grouping._Search(plan, where, {})
        best = min(search.cost(cut, final=True)[0] for cut in cuts([*search.groups]))
        found = search.cost(tuple((g.first, g.last) for g in search.best()), final=True)[0]
        print(f"{where}: {found} bytes, the best of all cuts {best}")
        assert found <= best + max(search.cost((), final=True)[0] // 16, 1)
        assert all(isinstance(group, Group) for group in search.best())
