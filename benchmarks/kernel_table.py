# SPDX-License-Identifier: Apache-2.0
"""Instructions per MAC of every kernel on the shapes of the reference, beside the int8 figures of CMSIS-NN.

.venv/bin/python benchmarks/kernel_table.py [--core cortex-m4 ...] [--svg FILE]
"""

import argparse
import json
from pathlib import Path

import numpy as np
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
    """One layer, requantised per channel without ties."""
    maker, rng = Maker("layer"), np.random.default_rng(3)
    op, size, then = weighted(rng, code, shape, 1, clip=False)
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
    scale, high, lines = 40, 14, []
    y = 30
    for name in SHAPES:
        lines.append(f'<text x="4" y="{y}" font-weight="bold">{name}</text>')
        theirs = REFERENCE["layers"][name].get(core)
        top = y + 4
        for kernel in kernels:
            if (name, kernel) in found:
                y += high
                width = min(found[name, kernel], 4) * scale * 2
                lines.append(f'<rect x="150" y="{y - 9}" width="{width:.1f}" height="10" fill="#3b7dd8"/>')
                lines.append(f'<text x="20" y="{y}">{kernel}</text>')
                lines.append(f'<text x="{155 + width:.1f}" y="{y}">{found[name, kernel]:.2f}</text>')
        if theirs:
            x = 150 + min(theirs, 4) * scale * 2
            lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y + 3}" stroke="#b42318"/>')
        y += 2 * high
    title = f"Instructions per MAC on {core}; red: CMSIS-NN, int8"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{y}" font-family="sans-serif" '
        f'font-size="11"><text x="4" y="14">{title}</text>{"".join(lines)}</svg>\n'
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", nargs="*", default=["cortex-m4"], choices=BOARDS)
    parser.add_argument("--svg", type=Path, help="a plot too: FILE-CORE.svg")
    options = parser.parse_args()
    print(f"CMSIS-NN, int8: {REFERENCE['source']}\n")
    for core in options.core:
        found = measured(core)
        kernels = list(dict.fromkeys(kernel for _, kernel in found))
        print(f"| {core} | CMSIS-NN | " + " | ".join(kernels) + " |\n" + "|---" * (len(kernels) + 2) + "|")
        for name in SHAPES:
            ours = [f"{found[name, k]:.2f}" if (name, k) in found else "" for k in kernels]
            print(f"| {name} | {REFERENCE['layers'][name].get(core, '')} | " + " | ".join(ours) + " |")
        if options.svg:
            path = options.svg.with_name(f"{options.svg.stem}-{core}.svg")
            path.write_text(svg(core, found, kernels))


if __name__ == "__main__":
    main()
