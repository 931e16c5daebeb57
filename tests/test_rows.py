# SPDX-License-Identifier: Apache-2.0
"""Steps that run row by row give the same integers in less memory, and compute no row twice."""

from collections import Counter
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import samples
from row_nets import mobilenet, random_groups, random_net
from test_c_target import chain

from tinybound.build import compile as compile_model
from tinybound.errors import PromiseError
from tinybound.firmware_image import board_of, make_firmware
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Conv, Reshape, Transpose
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.report.summary import planned
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import flatten
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c
from tinybound.targets.grouping import plan_memory
from tinybound.targets.layout import lay_out
from tinybound.targets.replay import replay
from tinybound.targets.rows import POINTWISE, Group, can_run_by_rows, row_bytes

pytestmark = pytest.mark.usefixtures("quick_attack")

HOST = Host(sanitize=True, level="-O0")
M4 = Emulated(BOARDS["cortex-m4"])
FIELDS = {"offsets", "scratch", "arena", "live", "blocks"}


@cache
def grouped(seed, where="caller", wide=False):
    """A random network, its plan and a layout with random groups."""
    graph = random_net(seed, wide)
    plan, groups = random_groups(graph, np.random.default_rng(seed))
    return graph, plan, lay_out(plan, groups, where, final=False), groups


def check(graph, memory, machine, folder, count):
    """Every layer and every output against golden, on a build with sentinels."""
    x = samples.vectors(graph, count, seed=1)
    texts = generate_c(graph, memory=memory)
    got = samples.OnMachine(machine)(graph, x, folder, (8,), texts)[8]
    wrong, compared, first = samples.mismatches(graph, x, got)
    assert wrong == 0, first
    assert compared >= count * sum(graph.values[n].size for n in graph.outputs)
    return compared


# 24 networks on the host with sanitizers, every fourth one on the board too.
@pytest.mark.parametrize(
    "start", [pytest.param(i, marks=pytest.mark.slow if i % 3 else ()) for i in range(0, 24, 4)]
)
def test_random_networks_by_rows(start, tmp_path):
    kinds, compared = Counter(), 0
    for seed in range(start, start + 4):
        graph, _, memory, groups = grouped(seed)
        kinds.update(step.kind for group in groups for step in group.steps)
        compared += check(graph, memory, HOST, tmp_path / f"h{seed}", 20)
        if seed % 4 == 0:
            compared += check(graph, memory, M4, tmp_path / f"m{seed}", 20)
    print(f"{compared} integers equal; steps by rows: {dict(kinds)}")
    assert sum(kinds.values()) > 4


@pytest.mark.parametrize(
    "start", [pytest.param(i, marks=pytest.mark.slow if i else ()) for i in range(0, 24, 2)]
)
def test_random_networks_of_16_bits_by_rows(start, tmp_path):
    """With maps of 8 bits among them."""
    kinds, compared = Counter(), 0
    for seed in range(start, start + 2):
        for where in ("arena", "caller"):
            graph, _, memory, groups = grouped(seed, where, wide=True)
            for group in groups:
                replay(group, memory.offsets, memory.scratch, memory.arena)
        kinds.update(max(step.view["words"]) for group in groups for step in group.steps)
        compared += check(graph, memory, HOST, tmp_path / f"h{seed}", 20)
        if start:
            compared += check(graph, memory, M4, tmp_path / f"m{seed}", 20)
    print(f"{compared} integers equal; steps by rows: {dict(kinds)}")
    assert kinds[2] > 2


def test_plans_of_random_networks():
    """Every row once; replayed with the caller's buffers and with buffers in the arena."""
    kinds, rows, slid = Counter(), 0, 0
    for seed in range(120):
        where = ("caller", "arena")[seed % 2]
        _, plan, memory, groups = grouped(seed, where)
        for group in groups:
            replay(group, memory.offsets, memory.scratch, memory.arena)
            turns = Counter(step.target for step in group.schedule)
            assert turns == {step.target: plan.heights[step.target] for step in group.steps}
            kinds.update(step.kind for step in group.steps)
            rows += len(group.schedule)
            slid += sum(group.slides(step.target) for step in group.steps)
        assert sorted(set(memory.sequence)) == list(range(len(plan.steps)))
    print(f"{rows} rows, {slid} maps kept as a few rows, {dict(kinds)}")
    assert rows > 3000
    assert slid > 150
    assert min(kinds[k] for k in ("conv", "add", "mul", "reorder", "max_pool", "average_pool")) > 10


def test_one_row_less_is_too_few():
    """Every depth is the least: the replay finds the row that is missing."""
    tried = 0
    for seed in range(60):
        _, _, memory, groups = grouped(seed)
        for group in groups:
            for target in [n for n in group.made if group.slides(n) and group.depth[n] > 1]:
                shorter = Group(group.plan, group.first, group.last)
                shorter.__dict__["depth"] = {**group.depth, target: group.depth[target] - 1}
                with pytest.raises(AssertionError, match=r"is lost before|overwrites"):
                    replay(shorter, memory.offsets, memory.scratch, memory.arena)
                tried += 1
    print(f"{tried} buffers a row shorter, each refused")
    assert tried > 40


def test_views_with_other_rows():
    """A flat input is read as rows; a map that a Reshape shows with other rows is not read row by row."""
    weights = np.ones((1, 1, 3, 3)), np.zeros(1)
    first, second = (Conv(*weights, size, pads=(1, 1, 1, 1)) for size in ((1, 6, 4), (1, 4, 6)))
    ops = Reshape((1, 6, 4)), first, first, Reshape((1, 4, 6)), second, second
    plan = kernel_plan(chain("views", (24,), *ops))

    assert [step.kind for step in plan.steps] == ["conv"] * 4
    assert plan.heights["x"] == 6
    assert [can_run_by_rows(plan, step) for step in plan.steps] == [True, True, False, True]
    for where in ("caller", "arena"):  # replayed
        memory = lay_out(plan, (Group(plan, 0, 1),), where)
        assert memory.arena <= lay_out(plan, (), where).arena


def refuses(group, offsets, scratch, arena):
    try:
        replay(group, offsets, scratch, arena)
    except AssertionError:
        return True
    return False


def test_replay_sees_buffers_that_overlap():
    """Two buffers of a group laid over each other: refused, but for an output element by element in place."""
    refused = allowed = 0
    for seed in range(60):
        _, _, memory, groups = grouped(seed)
        for group in groups:
            inside = [n for n in group.made if n in memory.offsets]
            for a, b in pairwise(inside):
                shared = {**memory.offsets, b: memory.offsets[a]}
                if refuses(group, shared, memory.scratch, memory.arena * 2):
                    refused += 1
                else:
                    assert group.made[b].kind in POINTWISE
                    assert a in group.made[b].sources
                    allowed += 1
    print(f"{refused} refused, {allowed} in place")
    assert refused > 100


@pytest.mark.parametrize("networks", [80, pytest.param(200, marks=pytest.mark.slow)])
def test_a_lag_one_row_shorter_destroys_an_input(networks):
    """Where an output lies over an input that dies, the lag is what the rows need, in whole rows."""
    tight = tried = 0
    for seed in range(networks):
        _, plan, memory, groups = grouped(seed, "arena")
        for group in groups:
            sources = {s for step in group.steps for s in step.sources} - set(group.made)
            dying = [s for s in sources if max(r.index for r in plan.readers(s)) <= group.last]
            for target, source in product(group.made, set(dying) - set(plan.outputs)):
                behind = group.lag(target, source)
                moved = any(step.kind == "reorder" for step in plan.readers(source))  # counted as read whole
                if behind is None or moved:
                    continue
                rest = 4 * memory.arena  # everything else lies apart
                place = {n: rest + at for n, at in memory.offsets.items()}
                scratch = {i: (rest + at, n) for i, (at, n) in memory.scratch.items()}
                place |= {target: memory.arena, source: memory.arena + behind}
                assert not refuses(group, place, scratch, 2 * rest)
                place[source] -= row_bytes(plan, target)
                tried, tight = tried + 1, tight + refuses(group, place, scratch, 2 * rest)
    print(f"{tried} outputs over inputs, {tight} tight to the row")
    assert tried > networks / 10
    assert tight > tried / 3


def test_rows_are_taken_only_where_the_memory_falls():
    fewer = 0
    for seed in range(5):
        plan = kernel_plan(random_net(seed))
        for where in ("caller", "arena"):
            whole, chosen = lay_out(plan, (), where), plan_memory(plan, where)
            assert chosen.arena <= whole.arena
            by_rows = [block for block in chosen.blocks if isinstance(block, Group)]
            assert bool(by_rows) == (chosen.arena < whole.arena)
            fewer += bool(by_rows)
            for field in FIELDS - {"blocks"} if not by_rows else ():
                assert getattr(chosen, field) == getattr(whole, field)
    print(f"{fewer} of 10 plans by rows")
    assert fewer > 0


# Planted bugs: at run time too, what the plan forbids is seen.


def spoil(texts, old, new):
    name = next(n for n in texts if n.startswith("net") and n.endswith(".c"))
    assert old in texts[name]
    return {**texts, name: texts[name].replace(old, new, 1)}


@pytest.fixture(scope="module")
def sliding():
    """A network with a map of a few rows, of which it keeps more than one."""
    for seed in range(40):
        graph, _, memory, groups = grouped(seed)
        for group in groups:
            for k, step in enumerate(group.steps):
                if group.slides(step.target) and group.depth[step.target] > 1:
                    return graph, memory, group, k
    raise AssertionError("no such network")


def test_a_row_in_the_wrong_place_is_seen(sliding, tmp_path):
    graph, memory, group, k = sliding
    size = group.buffer_bytes(group.steps[k].target) // group.depth[group.steps[k].target]
    texts = spoil(generate_c(graph, memory=memory), f"rows[{k}].place -= {size};", "")
    x = samples.vectors(graph, 8, seed=1)
    try:
        got = samples.OnMachine(Host(level="-O0"))(graph, x, tmp_path, (8,), texts)[8]
    except PromiseError:
        return  # a sentinel
    assert samples.mismatches(graph, x, got)[0] > 0


def test_a_write_beyond_the_row_is_caught_by_a_sentinel(sliding, tmp_path):
    """Also inside the layer's own buffer: only the new row may change."""
    graph, memory, group, k = sliding
    index = group.steps[k].index
    line = f"tb_layer_begin({index}, arena, sizeof arena);\n#endif\n"
    at = memory.offsets[group.steps[k].target]
    texts = generate_c(graph, memory=memory)
    texts = spoil(texts, line, f"{line}  if (rows[{k}].place != 0) {{ arena[{at}] ^= 1; }}\n")
    with pytest.raises(PromiseError, match=f"layer {index} changed byte {at} of the arena"):
        samples.OnMachine(Host(level="-O0"))(graph, samples.vectors(graph, 8, seed=1), tmp_path, (8,), texts)


# Whole builds


@pytest.mark.parametrize(
    "cores",
    [["cortex-m4"], pytest.param(["cortex-m0plus", "rv32imc"], marks=pytest.mark.slow)],
    ids=["cortex-m4", "others"],
)
def test_a_build_by_rows_is_verified_and_counted(cores, examples, tmp_path):
    """Layers that run row by row are compared whole, and their instructions are those of all their rows."""
    inputs = examples / "digits_cnn_calibration.npz"  # no domain: nothing is certified here
    options = Options(calibration=inputs, target="c", buffers="arena")
    build = compile_model(examples / "digits_cnn_qdq.onnx", tmp_path / "B", options)
    memory = plan_memory(kernel_plan(build.graph), "arena")
    assert any(isinstance(block, Group) for block in memory.blocks)

    verdict = build.verify(["host", *cores])
    assert verdict.ok
    for stage in verdict.stages.values():
        assert all(x.elements >= verdict.vectors * 10 for x in stage.layers)
    report = make_firmware(build, board_of("cortex-m4"))

    rows = [layer["instructions"]["cortex-m4"] for layer in report["layers"]]
    folder = tmp_path / "whole"
    folder.mkdir()
    for name, text in generate_c(build.graph, memory=lay_out(kernel_plan(build.graph), ())).items():
        (folder / name).write_text(text)
    counts = M4.count(folder, build.artefact.name, folder, flatten(build.graph, build.vectors())[:1])
    print(f"{report['instructions']['cortex-m4']} instructions by rows: {rows}, whole: {counts}")
    assert 0.97 < sum(rows) / report["instructions"]["cortex-m4"] <= 1
    for by_rows, whole, layer in zip(rows, counts.layers, report["layers"], strict=True):
        least = 0.75 if layer["op"] == "MaxPool" else 0.95  # a row of windows that lie inside need not look
        assert least * whole < by_rows < whole + 400 * layer["shape"][-2 % len(layer["shape"])]  # per row
    assert report["ram_bytes"] == memory.arena


TINY = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlperf_tiny"
GOALS = [("kws", "caller", 9846), ("kws", "arena", 9344), ("ic", "caller", 18954), ("ic", "arena", 15872)]


@pytest.mark.skipif(not TINY.exists(), reason="the MLPerf Tiny models are not here")
@pytest.mark.parametrize("model, buffers, total", GOALS)
def test_memory_of_known_networks(model, buffers, total):
    """Arena with input and output; goals were 10,500 and 25,000 bytes."""
    options = Options(buffers=buffers)
    graph = build_networks(TINY / f"kj_{model}_qdq.onnx", options, 2).integer_graph
    text = generate_c(graph, buffers=buffers)

    source = next(t for n, t in text.items() if n.endswith(".c"))
    report = planned(kernel_plan(graph), source, buffers=buffers)

    assert report["ram_total_bytes"] <= total
    assert total < {"kws": 10_500, "ic": 25_000}[model]


def test_mobilenet(tmp_path):
    """V1 0.25 on 96 x 96: 64,538 bytes with whole maps, below 48 KB by rows, and the same integers."""
    path = mobilenet(tmp_path / "mobilenet.onnx")
    graph = build_networks(path, Options(domain="-1,1"), 1).integer_graph
    plan, ports = kernel_plan(graph), 3 * 96 * 96 + 2
    whole, memory, own = lay_out(plan, ()), plan_memory(plan), plan_memory(plan, "arena")

    print(f"with input and output {whole.arena + ports}, by rows {memory.arena + ports}, own {own.arena}")
    assert whole.arena + ports > 64_000
    assert max(memory.arena + ports, own.arena) <= 42_500
    print(check(graph, memory, Host(), tmp_path / "rows", 2), "integers equal")


@pytest.mark.parametrize("executor", [samples.OnMachine(HOST), samples.OnRtl()], ids=["host", "rtl"])
def test_an_image_with_channels_last_is_not_moved(executor, tmp_path):
    """(H, W, C), transposed to (C, H, W): as a map in memory these are the same bytes."""
    rng = np.random.default_rng(0)
    conv = Conv(rng.normal(0, 0.3, (4, 3, 3, 3)), rng.normal(0, 0.2, 4), (3, 6, 5), pads=(1, 1, 1, 1))
    graph = chain("image", (6, 5, 3), Transpose((6, 5, 3), (2, 0, 1)), conv)

    assert [step.kind for step in kernel_plan(graph).steps] == ["conv", "reorder"]  # the output's own order
    x = samples.vectors(graph, 20, seed=1)
    wrong, compared, first = samples.mismatches(graph, x, executor(graph, x, tmp_path)[8])
    assert wrong == 0, first
    assert compared >= 20 * 2 * 120


@pytest.mark.skipif(not TINY.exists(), reason="the MLPerf Tiny models are not here")
@pytest.mark.parametrize("model", ["kws", "ic"])
def test_known_networks_by_rows_are_exact(model, tmp_path):
    graph = build_networks(TINY / f"kj_{model}_qdq.onnx", Options(), 2).integer_graph
    memory = plan_memory(kernel_plan(graph))
    assert any(isinstance(block, Group) for block in memory.blocks)
    print(
        check(graph, memory, Host(sanitize=True), tmp_path / "h", 6),
        check(graph, memory, M4, tmp_path / "m", 2),
    )
