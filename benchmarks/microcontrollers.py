# SPDX-License-Identifier: Apache-2.0
"""The table of docs/kernels.md: exact instructions of one inference, whole networks, per core.

.venv/bin/python benchmarks/microcontrollers.py NETWORK.onnx ...
.venv/bin/python benchmarks/microcontrollers.py --core cortex-m4 --layers NETWORK.onnx
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from tinybound.kernels.choose import kernel_plan
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.targets.c import generate_c
from tinybound.targets.grouping import plan_memory
from tinybound.targets.layout import lay_out
from tinybound.targets.names import identifier


def multiplies(step):
    """Multiplications of a weighted layer, those of padding among them; 0 for other layers."""
    if "stored" not in step.view:
        return 0
    outputs, height, width = step.view["output"]
    return height * width * step.view["rows"].shape[1] * outputs


def count(graph, core, memory):
    """Counts of one inference: instructions do not depend on the input, but for clamps."""
    name = identifier(graph.name)
    x = np.random.default_rng(0).integers(-128, 128, (1, sum(graph.values[n].size for n in graph.inputs)))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for file, text in generate_c(graph, memory=memory).items():
            (folder / file).write_text(text)
        return Emulated(BOARDS[core]).count(folder, name, folder, x.astype(np.int8))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--core", nargs="*", default=["cortex-m4"], choices=list(BOARDS))
    parser.add_argument("--layers", action="store_true", help="each layer too, with whole maps in memory")
    parser.add_argument("--domain", help="as of `tinybound build`, for models that are not quantised")
    options = parser.parse_args()
    print("| network | core | MACs | instructions | per MAC |\n" + "|---" * 5 + "|")
    for path in options.models:
        graph = build_networks(path, Options(domain=options.domain), 1).integer_graph
        plan = kernel_plan(graph)
        memory = lay_out(plan, ()) if options.layers else plan_memory(plan)
        macs = sum(map(multiplies, plan.steps))
        for core in options.core:
            counts = count(graph, core, memory)
            each = counts.total / macs
            print(f"| {path.stem} | {core} | {macs:,} | {counts.total:,} | {each:.3f} |", flush=True)
            for step, number in zip(plan.steps, counts.layers if options.layers else (), strict=False):
                work = multiplies(step) or int(np.prod(step.view["output"]))
                name = f"{step.index}: {step.kind}"
                print(
                    f"| {name} {step.view['output']} | {core} | {work:,} | {number:,} | {number / work:.2f} |"
                )


if __name__ == "__main__":
    main()
