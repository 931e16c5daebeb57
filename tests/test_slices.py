# SPDX-License-Identifier: Apache-2.0
"""Inputs of a Concat that are made in its output: the same integers, fewer bytes, and no byte lost."""

from dataclasses import replace
from itertools import pairwise

import pytest
import samples
from onnx_nets import Net
from test_rows import check

from tinybound.errors import PromiseError
from tinybound.kernels.choose import kernel_plan
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c
from tinybound.targets.grouping import plan_memory
from tinybound.targets.layout import buffers_of, lay_out
from tinybound.targets.rows import Group
from tinybound.targets.slices import joins, whole_of

HOST = Host(sanitize=True, level="-O0")


def conv(n, x, channels=4, size=3, **more):
    return n.put("Relu", n.put("Conv", x, n.normal(channels, 4, size, size), n.normal(channels), **more))


def rows(n):
    """Three maps below each other; of the input a copy at the scale of the Concat."""
    parts = [
        conv(n, "x", pads=[1, 1, 1, 1]),
        "x",
        conv(n, conv(n, "x", pads=[1, 1, 1, 1]), pads=[1, 1, 0, 1]),
    ]
    return conv(n, n.put("Concat", *parts, axis=2))


def rows_of_rows(n):
    """A Concat of Concats, and what it joins is made from each other."""
    a = conv(n, "x", pads=[1, 1, 1, 1])
    inner = n.put("Concat", conv(n, a, pads=[0, 1, 1, 1]), conv(n, "x", pads=[1, 1, 1, 1]), axis=2)
    return conv(n, n.put("Concat", conv(n, a, 4, 1), inner, conv(n, "x", 4, 1), axis=2), 2)


def read_elsewhere(n):
    """A branch that another layer reads too, and one twice in the Concat: copies of these are slices."""
    a, b, c = conv(n, "x", 4, 1), conv(n, "x", 4, 1), conv(n, "x", 4, 1)
    joined = n.put("Concat", a, b, b, c, axis=2)
    return n.put("Add", n.put("GlobalAveragePool", joined), n.put("GlobalAveragePool", a))


def squeezed(n):
    """Channels at one place, as of several global pools."""
    parts = [n.put("GlobalAveragePool", conv(n, "x", 3 + i, 3)) for i in range(3)]
    return n.put("Conv", n.put("Concat", *parts, axis=1), n.normal(5, 12, 1, 1))


def vectors(n):
    """Dense layers side by side as the network's output, which is the caller's."""
    v = n.put("Flatten", conv(n, "x", 2))
    parts = [n.put("Gemm", v, n.normal(12 * 2, k), n.normal(k)) for k in (3, 5, 4)]
    return n.put("Concat", *parts, axis=1)


def pool(n):
    """What an average pool of several sizes of windows is written as."""
    return n.put("AveragePool", conv(n, "x", 4, 1), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


NETS = {f.__name__: f for f in (rows, rows_of_rows, read_elsewhere, squeezed, vectors, pool)}
SLICES = {"rows": 3, "rows_of_rows": 5, "read_elsewhere": 4, "squeezed": 3, "vectors": 3, "pool": 9}


def network(name, tmp_path):
    net = Net(1, 4, 6, 5, seed=len(name))
    path = net.save(tmp_path, NETS[name](net), file=f"net_{name}.onnx")
    return build_networks(path, Options(domain="-1,1"), 32).integer_graph


def all_slices(plan):
    found = {}
    for join in joins(plan):
        found |= join
    return found


@pytest.mark.parametrize("where", ["caller", "arena"])
@pytest.mark.parametrize("name", NETS)
def test_same_integers_in_no_more_memory(name, where, tmp_path):
    graph = network(name, tmp_path)
    plan = kernel_plan(graph)
    slices = all_slices(plan)
    assert len(slices) == SLICES[name]

    copied, made, chosen = (
        lay_out(plan, (), where),
        lay_out(plan, (), where, slices),
        plan_memory(plan, where),
    )
    assert chosen.arena <= copied.arena
    print(f"{name}: {copied.arena} B, all slices {made.arena} B, chosen {chosen.arena} B")
    if where == "caller" and name not in ("squeezed", "read_elsewhere"):
        check(graph, made, HOST, tmp_path, 12)
        text = generate_c(graph, memory=made)[f"net_{name}.c"]
        inputs = sum(len(step.sources) for step in plan.steps if step.kind == "concat")
        assert text.count("tb_concat(") == inputs - len(slices)


@pytest.mark.parametrize("name", NETS)
def test_slices_tile_their_whole_and_live_in_it(name, tmp_path):
    plan = kernel_plan(network(name, tmp_path))
    slices = all_slices(plan)
    buffers, _, time = buffers_of(plan, (), "arena", slices)
    held = {b.name: b for b in buffers}
    for step in plan.steps:
        whole, at = whole_of(slices, step.target)
        assert 0 <= at <= plan.size[whole] - plan.size[step.target]
        last = max((time[r.index] for r in plan.readers(step.target)), default=0)
        assert held[whole].first <= time[step.index]
        assert last <= held[whole].last
    for step in plan.steps:
        if step.kind == "concat":
            ends = [(slices[s][1], plan.size[s]) for s in step.sources if s in slices]
            assert all(a + n <= b for (a, n), (b, _) in pairwise(ends))


def outputs_differ(graph, texts, folder):
    x = samples.vectors(graph, 12, seed=1)
    try:
        got = samples.OnMachine(Host(level="-O0"))(graph, x, folder, (8,), texts)[8]
    except PromiseError:
        return True  # a sentinel
    return samples.mismatches(graph, x, got)[0] > 0


@pytest.mark.parametrize("name", ["rows", "squeezed", "vectors"])
def test_a_slice_one_byte_beside_its_place_is_seen(name, tmp_path):
    graph = network(name, tmp_path)
    plan = kernel_plan(graph)
    memory = lay_out(plan, (), "caller", all_slices(plan))
    name, (whole, at) = next((n, s) for n, s in memory.slices.items() if s[1] > 0)
    wrong = replace(memory, slices={**memory.slices, name: (whole, at - 1)})
    if name in memory.offsets:
        wrong = replace(wrong, offsets={**memory.offsets, name: memory.offsets[name] - 1})
    assert not outputs_differ(graph, generate_c(graph, memory=memory), tmp_path / "right")
    assert outputs_differ(graph, generate_c(graph, memory=wrong), tmp_path / "wrong")


def test_what_has_slices_lives_from_the_first_of_them(tmp_path, monkeypatch):
    """Without that another buffer would lie where a slice waits."""
    graph = network("rows_of_rows", tmp_path)
    plan = kernel_plan(graph)
    slices = all_slices(plan)
    right = lay_out(plan, (), "caller", slices)

    def late(*given):
        buffers, names, time = buffers_of(*given)
        born = {step.target: time[step.index] for step in plan.steps if step.kind == "concat"}
        return [replace(b, first=born.get(b.name, b.first), over=()) for b in buffers], names, time

    monkeypatch.setattr("tinybound.targets.layout.buffers_of", late)
    wrong = lay_out(plan, (), "caller", slices)
    assert wrong.arena < right.arena
    assert outputs_differ(graph, generate_c(graph, memory=wrong), tmp_path)


def test_slices_made_row_by_row(tmp_path):
    """A group that ends in a slice, and one between two slices, is replayed byte by byte."""
    graph = network("rows_of_rows", tmp_path)
    plan = kernel_plan(graph)
    tried = 0
    for first in range(len(plan.steps)):
        for last in range(first + 1, len(plan.steps)):
            group = Group(plan, first, last)
            if any(s.kind == "concat" for s in group.steps) or not group.linked or tried == 2:
                continue
            memory = lay_out(plan, (group,), "caller", all_slices(plan))
            if {s.target for s in group.steps} & memory.slices.keys():
                check(graph, memory, HOST, tmp_path / f"{first}.{last}", 6)
                tried += 1
    assert tried == 2
