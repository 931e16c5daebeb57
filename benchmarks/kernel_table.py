# SPDX-License-Identifier: Apache-2.0
"""Every kernel on the layers that CMSIS-NN was counted on, for benchmarks/microcontrollers.py --kernels."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cost_maker import Maker, weighted
from kernel_costs import write

from tinybound.kernels import KERNELS
from tinybound.kernels.choose import able, choose
from tinybound.kernels.kernel_plan import with_kernels
from tinybound.ops import Dense
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.cycles import BRANCHES
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import Artefact, flatten, packed
from tinybound.simulate.footprint import Footprint, footprint
from tinybound.targets.plan import make_plan

SAME = (1, 1, 1, 1)
SHAPES = {
    "fc640x128": (640, 128),
    "fc128x128": (128, 128),
    "conv3x3_16_32x32": (16, 16, 32, 32, (3, 3), (1, 1), SAME),
    "conv3x3_32_16x16": (32, 32, 16, 16, (3, 3), (1, 1), SAME),
    "conv3x3_64_8x8": (64, 64, 8, 8, (3, 3), (1, 1), SAME),
    "conv1x1_64_25x5": (64, 64, 25, 5, (1, 1), (1, 1), (0, 0, 0, 0)),
    "dw3x3_64_25x5": (64, 25, 5, (3, 3), (1, 1), SAME),
    "conv1x1_128_6x6": (128, 128, 6, 6, (1, 1), (1, 1), (0, 0, 0, 0)),
}
CODES = ("int8", "int4", "pot4", "pool64")


@dataclass(frozen=True)
class Measured:
    """A layer by a kernel, in a network of its own (its input has channels first and is put in order before).

    name          code and kernel, of pools with the bits
    macs          those of padding among them
    instructions  of the layer
    cycles        of the layer, by what a branch costs; (): the core has no model
    size          of the network
    """

    name: str
    macs: int
    instructions: int
    cycles: tuple[int, ...]
    size: Footprint


def network(code, shape):
    """One layer, requantised per channel without ties; powers of two as in the notes that set the goals."""
    maker, rng = Maker("layer"), np.random.default_rng(3)
    op, size, then = weighted(rng, "normal" if code == "pot4" else code, shape, 1, clip=False)
    maker.add(op, [size], code, then)
    return maker.graph()


def candidates(step, core):
    """The kernels that take a layer but for those that others always beat on the core; `straight` without
    its limit of code, because dense layers above it have a goal.
    """
    straight = next(kernel for kernel in KERNELS if kernel.name == "straight")
    dense = isinstance(step.node.op, Dense) and step.view["code"] == "pot4"
    found = dict.fromkeys([*able(step), *([straight] if dense else [])])
    return [kernel for kernel in found if core not in kernel.slow_on]


def layers(core, shape, flash):
    """Each kernel on one of SHAPES; flash: in which the cycles' code lies."""
    for code in CODES:
        if code == "pool64" and shape.startswith("dw"):
            continue  # it would be int8
        graph = network(code, SHAPES[shape])
        plan = make_plan(graph)
        step = next(s for s in plan.steps if "stored" in s.view)
        for kernel in candidates(step, core):
            chosen = with_kernels(plan, {**choose(plan, core), step.index: kernel})
            yield from measured(chosen, step, core, flash, (8, 4) if code == "pool64" else (8,))


def measured(plan, step, core, flash, settings):
    """A layer at each number of activation bits."""
    graph, board = plan.graph, BOARDS[core]
    macs = step.view["rows"].size * int(np.prod(step.view["output"][1:]))
    machine = Emulated(board)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(plan, folder)
        x = flatten(graph, {name: np.zeros((1, *graph.values[name].shape), int) for name in graph.inputs})
        macros = packed(Artefact(graph, folder, None), core)
        elf = machine.build(folder, graph.name, folder, trace=True, count=True, defines=macros)
        size = footprint(board, folder, graph.name, folder)
        for bits in settings:
            overhead, *counts = machine.run(elf, x, bits, folder).instructions
            times = {}
            if core in BRANCHES:
                times = machine.profiles(elf, x, bits, folder, flash)[step.index]["cycles"]
            label = f"{step.view['code']} {plan.kernel(step).name}"
            if len(settings) > 1:
                label += f" {bits} bits"
            yield Measured(label, macs, counts[step.index] - overhead, tuple(times.values()), size)
