# SPDX-License-Identifier: Apache-2.0
"""Instructions per MAC of every kernel on the shapes of the reference, beside the figures of CMSIS-NN.

.venv/bin/python benchmarks/kernel_table.py [--core cortex-m4 ...] [--svg FILE]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from bars import bars
from cost_layers import Maker, weighted
from kernel_costs import counted

from tinybound.kernels.choose import able, kernel_plan
from tinybound.simulate.boards import BOARDS
from tinybound.targets.plan import make_plan

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
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


def network(code, shape):
    """One layer, requantised per channel without ties; powers of two as in the notes that set the goals."""
    maker, rng = Maker("layer"), np.random.default_rng(3)
    op, size, then = weighted(rng, "normal" if code == "pot4" else code, shape, 1, clip=False)
    maker.add(op, [size], code, then)
    return maker.graph()


def measured(core):
    """(shape, "code kernel", of pools with the bits) -> instructions per MAC, those of padding included."""
    found = {}
    for name, shape in SHAPES.items():
        for code in ("int8", "int4", "pot4", "pool64"):
            if code == "pool64" and name.startswith("dw"):
                continue
            graph = network(code, shape)
            step = next(s for s in make_plan(graph).steps if "stored" in s.view)
            macs = step.view["rows"].size * int(np.prod(step.view["output"][1:]))
            for kernel in able(step):
                plan = kernel_plan(graph, (kernel.name,), core)
                for bits in (8, 4) if code == "pool64" else (8,):
                    count = counted(graph, plan.kernels, core, bits)[step.index]
                    label = f"{code} {kernel.name}" + (f" {bits} bits" if code == "pool64" else "")
                    found[name, label] = count / macs
    return found


def svg(core, found, kernels):
    """Bars of instructions per MAC by shape, a line for CMSIS-NN; cut off at 4."""
    groups = [
        (
            name,
            [(k, found[name, k]) for k in kernels if (name, k) in found],
            REFERENCE["layers"][name].get(core),
        )
        for name in SHAPES
    ]
    return bars(f"Instructions per MAC on {core}; red: CMSIS-NN, int8", groups, 4)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", nargs="*", default=["cortex-m4"], choices=BOARDS)
    parser.add_argument("--svg", type=Path, help="a plot too: FILE-CORE.svg")
    options = parser.parse_args()
    print(f"CMSIS-NN: {REFERENCE['sources']['cmsis_nn']}\n")
    for core in options.core:
        found = measured(core)
        kernels = list(dict.fromkeys(kernel for _, kernel in found))
        heads = [core, "CMSIS-NN, int8", "CMSIS-NN, int4", *kernels]
        print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
        for name in SHAPES:
            ours = [f"{found[name, k]:.2f}" if (name, k) in found else "" for k in kernels]
            theirs = [str(REFERENCE[table][name].get(core, "")) for table in ("layers", "layers_int4")]
            print("| " + " | ".join([name, *theirs, *ours]) + " |")
        if options.svg:
            path = options.svg.with_name(f"{options.svg.stem}-{core}.svg")
            path.write_text(svg(core, found, kernels))


if __name__ == "__main__":
    main()
