# SPDX-License-Identifier: Apache-2.0
"""Fours of int4 filters against the golden model, over the shapes and inputs of tests/test_kernels.py: as
assembly for DSP cores, as assembly for cores with one multiplication at a time, as C."""

import pytest
import samples
from test_kernels import DENSE, FAST, M4, MACHINES, WEIGHTS, network, vectors

from tinybound.kernels.choose import kernel_plan
from tinybound.kernels.fours import PART
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c

MORE = (*DENSE, (33, 8), (480, 3), (484, 4), (640, 6), (1000, 34))


def both(weights):
    graph = network(WEIGHTS.index(weights), weights, "int4", MORE)
    return graph, vectors(graph, 1, worst=(2, 3))


def generated(graph):
    """The C where fours take every layer that they can."""
    return generate_c(graph, plan=kernel_plan(graph, FAST))


QUICK = ("low", "wide")
ALL = [pytest.param(weights, marks=() if weights in QUICK else pytest.mark.slow) for weights in WEIGHTS]


@pytest.mark.parametrize("weights", ALL)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_shape(machine, weights, tmp_path):
    graph, x = both(weights)

    got = samples.OnMachine(machine)(graph, x, tmp_path, texts=generated(graph))[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    print(f"{compared} integers equal")
    assert compared > 10_000
    assert wrong == 0, first


def test_the_kernels_that_are_tested():
    """One group: fours; windows shorter and longer than what a DSP core sums up at a time."""
    taps = set()
    plan = kernel_plan(both("random")[0], FAST)
    for step in plan.steps:
        if "stored" in step.view:
            grouped = getattr(step.node.op, "groups", 1) > 1
            assert plan.kernel(step).name == ("int4" if grouped else "fours")
            taps.add(step.view["rows"].shape[1])
    assert {len(range(0, n, PART)) for n in taps} >= {1, 2, 3}
    assert f"#define TB_FOURS_TAPS {PART}\n" in generated(plan.graph)["tb_dsp_fours.h"]


M0 = Emulated(BOARDS["cortex-m0plus"])
M3 = Emulated(BOARDS["cortex-m3"])
HOST = Host()
DSP, OTHERS = "tb_dsp_fours.h", "tb_int4.h"
PLANTS = {
    "the eights of two filters stay": (M4, DSP, "((uint32_t)less << 4)", "((uint32_t)less << 3)"),
    "the last filter loses its sign": (M4, DSP, "asr r8, r8, #12", "lsr r8, r8, #12"),
    "too long a part of a window": (M4, DSP, "TB_FOURS_TAPS 480", "TB_FOURS_TAPS 640"),
    "a run that may leave a half word": (HOST, OTHERS, "TB_RUN_WORDS 16", "TB_RUN_WORDS 18"),
    "a nibble without sign": (HOST, "tb_kernels.h", "(nibble ^ 8) - 8", "nibble"),
    "the carry stays": (HOST, OTHERS, "(int32_t)(sum - low)", "(int32_t)(sum - (low & 0u))"),
}
SLOW = {
    "the second position reads the first": (M4, DSP, '("r11", "r12", "lr")', '("r11", "r12", "r12")'),
    "the second part is forgotten": (M4, DSP, "sums[i] += more[i]", "sums[i] += 0 * more[i]"),
    "a filter's next bit": (M4, DSP, "#0x000f000f", "#0x001f001f"),
    "four taps behind the blocks are lost": (M4, DSP, "positions * here;", "positions * (here & -16);"),
    "an odd window loses its last": (HOST, OTHERS, "(count > 0) {\n    const", "(count > 9) {\n    const"),
    "padding is the last element": (HOST, OTHERS, "from ? from[1] : pad", "from ? from[1] : 0"),
    "Thumb-1 reads a neighbour": (M0, OTHERS, '"lsrs r5, r3, #8', '"lsrs r5, r3, #4'),
    "Thumb-2 forgets a sign": (M3, OTHERS, '"eor r3, r3, #0x80008000', '"eor r3, r3, #0x80000000'),
}  # fmt: skip


@pytest.mark.parametrize("plant", [*PLANTS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_planted_bug_is_seen(plant, tmp_path):
    machine, file, old, new = {**PLANTS, **SLOW}[plant]
    graph, x = both("low" if " may " in plant or "too long" in plant else "random")
    texts = generated(graph)
    assert old in texts[file]

    texts[file] = texts[file].replace(old, new)
    got = samples.OnMachine(machine)(graph, x, tmp_path, texts=texts)

    wrong, compared, first = samples.mismatches(graph, x, got[8])
    print(f"{wrong} of {compared}: {first}")
    assert wrong > 0
