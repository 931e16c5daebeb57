# SPDX-License-Identifier: Apache-2.0
"""Every kernel for weights in one network: their headers, macros and rooms go together in one file of C."""

import numpy as np
import pytest
import samples
from test_kernels import MACHINES, integers, requantise

from tinybound.graph import Graph, Node, Quant, Value
from tinybound.kernels import KERNELS
from tinybound.kernels.choose import able
from tinybound.kernels.kernel_plan import with_kernels
from tinybound.ops import Conv
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.machine import STRICT
from tinybound.targets.c import generate_c
from tinybound.targets.plan import make_plan
from tinybound.tools import run

KINDS = ("int8", "int8", "int4", "pot4", "pool64")  # the second one is depthwise


def network():
    """A layer of 8 channels for each kernel: (graph, kernel per layer)."""
    rng, values, nodes, wanted = np.random.default_rng(3), {}, [], []
    pool = rng.integers(-128, 128, (64, 8))
    for number, code in enumerate(KINDS):
        groups = 8 if number == 1 else 1
        made = {
            "pot4": (1 << rng.integers(0, 7, (8, 8, 3, 3))) * rng.choice([-1, 1], (8, 8, 3, 3)),
            "pool64": pool[rng.integers(0, 64, (8, 3, 3))].transpose(0, 3, 1, 2),
        }
        shape = (8, 8 // groups, 3, 3)
        weights = made[code] if code in made else integers(rng, "random", shape, code)
        op = Conv(weights, rng.integers(-3000, 3000, 8), (8, 5, 5), pads=(1, 1, 1, 1), groups=groups, zero=-9)
        reach = np.abs(op.bias) + 128 * np.abs(op.weights).reshape(8, -1).sum(axis=1)
        scale = requantise(rng, reach, 2)
        for kernel in KERNELS:
            i = len(wanted)
            names = f"x{i}", f"s{i}", f"y{i}"
            parts = (
                Node(f"n{i}", op, names[:1], names[1], code=code),
                Node(f"r{i}", scale, names[1:2], names[2]),
            )
            held = {name: Value(name, (8, 5, 5), Quant.of(1)) for name in names}
            step = next(
                step
                for step in make_plan(Graph("one", names[:1], names[2:], parts, held)).steps
                if "stored" in step.view
            )
            if kernel in able(step):
                values |= held
                nodes += parts
                wanted.append(kernel)
    count = range(len(wanted))
    ports = tuple(f"x{i}" for i in count), tuple(f"y{i}" for i in count)
    return Graph("mixed", *ports, tuple(nodes), values), wanted


def mixed():
    """The network and its C."""
    graph, wanted = network()
    left, plan = list(wanted), make_plan(graph)
    chosen = {step.index: left.pop(0) if "stored" in step.view else able(step)[0] for step in plan.steps}
    plan = with_kernels(plan, chosen)
    weighted = {"halves", "pairs", "wide", "depthwise", "fours", "int8", "int4", "pot4", "book", "pool64",
                "ring", "baked", "straight", "buckets", "triples", "neighbours"}  # fmt: skip
    assert {kernel.name for kernel in wanted} == weighted
    return graph, generate_c(graph, plan=with_kernels(plan, chosen))


@pytest.mark.parametrize("machine", MACHINES)
def test_kernels_side_by_side(machine, tmp_path):
    graph, texts = mixed()
    x = samples.vectors(graph, 12, seed=1)

    got = samples.OnMachine(machine)(graph, x, tmp_path, texts=texts)

    wrong, compared, first = samples.mismatches(graph, x, got[8])
    assert compared > 10_000
    assert wrong == 0, first


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_without_optimisation_it_compiles_too(core, tmp_path):
    """Compilers then keep a frame, and assembly has fewer registers."""
    board = BOARDS[core]
    for file, text in mixed()[1].items():
        (tmp_path / file).write_text(text)

    run([board.compiler, *board.flags, *STRICT, "-O0", "-c", tmp_path / "mixed.c", "-o", tmp_path / "m.o"])
