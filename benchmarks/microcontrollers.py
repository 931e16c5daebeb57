# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/kernels.md and docs/kernels-layers.md: whole networks and every kernel on every core,
beside CMSIS-NN, TFLite Micro and boards.

.venv/bin/python benchmarks/microcontrollers.py --kernels [--svg FOLDER] mobilenet NETWORK.onnx ...
.venv/bin/python benchmarks/microcontrollers.py --core cortex-m4 --layers NETWORK.onnx
.venv/bin/python benchmarks/microcontrollers.py --kernels --core cortex-m4 --shape fc128x128 dw3x3_64_25x5

`mobilenet` is MobileNetV1 0.25 for 96 x 96 images with random weights. What stands beside a network is of
those in reference.json with as many MACs.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import kernel_table
import numpy as np
from bars import bars

from tinybound.kernels.choose import kernel_plan
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.report.summary import planned
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.cycles import BRANCHES, Flash
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import Artefact, flatten, packed
from tinybound.simulate.footprint import footprint
from tinybound.targets.c import generate_c
from tinybound.targets.grouping import plan_memory
from tinybound.targets.layout import lay_out
from tinybound.targets.names import identifier

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
CORES = ("cortex-m4", "cortex-m0plus", "rv32imc")
CLOCK = 120e6  # Hz, of the boards
HEADS = (
    *("network", "core", "MACs", "instructions", "per MAC", "cycles per MAC"),
    *("code", "constants", "arena", "in, out", "stack"),
)


def multiplies(step):
    """Multiplications of a weighted layer, those of padding among them; 0 for other layers."""
    if "stored" not in step.view:
        return 0
    outputs, height, width = step.view["output"]
    return height * width * step.view["rows"].shape[1] * outputs


def integer_graph(model, domain, activations):
    """The network of a file, or of the name `mobilenet`, as it is compiled."""
    options = Options(target="c", domain="-1,1" if model == "mobilenet" else domain, activations=activations)
    if model != "mobilenet":
        return build_networks(Path(model), options, 1).integer_graph
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from row_nets import mobilenet

    with tempfile.TemporaryDirectory() as place:
        path = mobilenet(Path(place) / "mobilenet.onnx")
        return build_networks(path, options, 1).integer_graph


def measured(graph, plan, core, flash, layers):
    """Instructions, those of each layer (with whole maps), modelled cycles by branch, bytes by their use."""
    name = identifier(graph.name)
    rng, board = np.random.default_rng(0), BOARDS[core]
    inputs = flatten(graph, {n: rng.integers(-128, 128, (1, *graph.values[n].shape)) for n in graph.inputs})
    machine = Emulated(board)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = generate_c(graph, memory=lay_out(plan, ()) if layers else plan_memory(plan), plan=plan)
        for file, text in files.items():
            (folder / file).write_text(text)
        macros = packed(Artefact(graph, folder, None), core)
        if layers:
            counts = machine.count(folder, name, folder, inputs, defines=macros)
            total, each = counts.total, counts.layers
        else:
            total, each = machine.totals(folder, name, folder, inputs, (8,), macros)[8], ()
        cycles = {}
        if core in BRANCHES:
            cycles = machine.profile(folder, name, folder, inputs, flash, defines=macros)["cycles"]
        cost, memory = footprint(board, folder, name, folder), planned(plan, files[f"{name}.c"], core)
    room = {
        "code": f"{cost.code_bytes:,}",
        "constants": f"{cost.weight_bytes:,}",
        "arena": f"{cost.ram_bytes:,}",
        "in, out": f"{memory['input_bytes']:,}, {memory['output_bytes']:,}",
        "stack": f"{cost.stack_bytes:,}",
    }
    return total, each, list(cycles.values()), room


def span(numbers):
    """The smallest and the largest of some numbers."""
    return "-".join(dict.fromkeys(f"{x:.2f}" for x in (min(numbers), max(numbers)))) if numbers else ""


def row(network, core="", macs=0, count=0, cycles="", **room):
    """Print a row of the table; room: further cells by their heads."""
    each = f"{count / macs:.3f}" if count else ""
    cells = (network, core, f"{macs:,}" if macs else "", f"{count:,}" if count else "", each, cycles)
    rest = [room.get(head, "") for head in HEADS[len(cells) :]]
    print("| " + " | ".join([*cells, *rest]) + " |", flush=True)


def reference(macs):
    """The network of the reference with as many MACs; {}: there is none."""
    return next((each for each in REFERENCE["networks"].values() if each["macs"] == macs), {})


def nearest(step):
    """The layer that CMSIS-NN was counted on whose instructions per MAC stand for those of a step."""
    op, channels = step.node.op, step.view["input"][0]
    kernel = getattr(op, "kernel", None)
    if kernel is None:
        return "fc640x128" if channels > 384 else "fc128x128"
    if getattr(op, "groups", 1) > 1:
        return "dw3x3_64_25x5"
    if kernel == (1, 1):
        return "conv1x1_64_25x5" if channels < 96 else "conv1x1_128_6x6"
    return f"conv3x3_{'16_32x32' if channels < 24 else '32_16x16' if channels < 48 else '64_8x8'}"


def computed(plan, core):
    """Instructions of CMSIS-NN's kernels for a network, from those per MAC of the nearest counted layers."""
    each = REFERENCE["layers"]
    weighted = [step for step in plan.steps if multiplies(step)]
    return round(sum(multiplies(step) * each[nearest(step)][core] for step in weighted))


def beside(plan, macs, cores):
    """Print what others need for a network of the same shape, on the cores that were measured."""
    theirs = reference(macs)
    for core in cores if theirs else ():
        if core in REFERENCE["layers"]["fc128x128"] and core not in theirs.get("cmsis_nn", {}):
            row("CMSIS-NN, computed from single layers", core, macs, computed(plan, core))
        if core in theirs.get("cmsis_nn", {}):
            found = theirs["cmsis_nn"][core]
            row(
                "CMSIS-NN, its kernels alone",
                core,
                macs,
                found["instructions"],
                span(found["cycles_per_mac"]),
            )
    if theirs:
        file, arena = (f"{theirs['tflm'][key]:,}" for key in ("file", "arena"))
        row("TFLite Micro", macs=macs, constants=file, arena=arena, **{"in, out": "in the arena"})
    for board, ms in theirs.get("boards", {}).items() if "cortex-m4" in cores else ():
        row(f"{board}, on a board", "cortex-m4", macs, cycles=f"{ms / 1000 * CLOCK / macs:.2f}")


def kernel_rows(core, shapes, flash):
    """Print every kernel on layers of some shapes; the groups of a plot."""
    groups = []
    for shape in shapes:
        found = []
        for each in kernel_table.layers(core, shape, flash):
            found.append((each.name, each.instructions / each.macs))
            room = {
                "code": f"{each.size.code_bytes:,}",
                "constants": f"{each.size.weight_bytes:,}",
                "arena": f"{each.size.ram_bytes:,}",
                "stack": f"{each.size.stack_bytes:,}",
            }
            cycles = span([count / each.macs for count in each.cycles])
            row(f"{shape}, {each.name}", core, each.macs, each.instructions, cycles, **room)
        for code in ("int8", "int4"):
            theirs = REFERENCE["layers" if code == "int8" else "layers_int4"][shape]
            if core in theirs:
                cycles = span(REFERENCE["cycles" if code == "int8" else "cycles_int4"][shape].get(core, []))
                row(f"{shape}, {code} CMSIS-NN", core, each.macs, round(theirs[core] * each.macs), cycles)
        groups.append((shape, found, REFERENCE["layers"][shape].get(core)))
    return groups


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*")
    parser.add_argument("--core", nargs="*", default=CORES, choices=BOARDS)
    parser.add_argument("--layers", action="store_true", help="each layer too, with whole maps in memory")
    parser.add_argument("--kernels", action="store_true", help="every kernel on single layers too")
    parser.add_argument("--shape", nargs="*", default=kernel_table.SHAPES, choices=kernel_table.SHAPES)
    parser.add_argument("--domain", help="as of `tinybound compile`, for models that are not quantised")
    parser.add_argument("--activations", type=int, default=8, choices=(8, 16), help="bits of a float model's")
    parser.add_argument("--wait-states", type=int, default=0, help="of flash, in the modelled cycles")
    parser.add_argument("--line-bytes", type=int, default=16, help="of flash")
    parser.add_argument("--cache-lines", type=int, default=1, help="that are kept")
    parser.add_argument("--svg", type=Path, help="plots too: FOLDER/networks.svg and FOLDER/kernels-CORE.svg")
    options = parser.parse_args()
    flash = Flash(options.wait_states, options.line_bytes, options.cache_lines)
    for source in REFERENCE["sources"].values():
        print(source)
    print("\n| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    groups = network_rows(options, flash)
    if options.svg and groups:
        title = "Instructions and modelled cycles (the most) per MAC; red: CMSIS-NN's instructions, cortex-m4"
        (options.svg / "networks.svg").write_text(bars(title, groups, 10))
    for core in options.core if options.kernels else ():
        groups = kernel_rows(core, options.shape, flash)
        if options.svg:
            title = f"Instructions per MAC on {core}; red: CMSIS-NN, int8"
            (options.svg / f"kernels-{core}.svg").write_text(bars(title, groups, 4))


def network_rows(options, flash):
    """Print whole networks, and what others need for them; the groups of a plot."""
    groups = []
    for model in options.models:
        graph, bars_of = integer_graph(model, options.domain, options.activations), []
        name = Path(model).stem
        for core in options.core:
            plan = kernel_plan(graph, (), core)
            macs = sum(map(multiplies, plan.steps))
            total, each, cycles, room = measured(graph, plan, core, flash, options.layers)
            bars_of.append((core, total / macs))
            bars_of += [(f"{core}, cycles", max(cycles) / macs)] if cycles else []
            row(name, core, macs, total, span([count / macs for count in cycles]), **room)
            for step, number in zip(plan.steps, each, strict=False):
                work = multiplies(step) or int(np.prod(step.view["output"]))
                row(f"{step.index}: {step.kind} {step.view['output']}", core, work, number)
        beside(plan, macs, options.core)
        counted = reference(macs).get("cmsis_nn", {}).get("cortex-m4")
        groups.append((name, bars_of, counted["instructions"] / macs if counted else None))
    return groups


if __name__ == "__main__":
    main()
