# SPDX-License-Identifier: Apache-2.0
"""Measure what kernels cost on every core, and write compiler/kernels/costs.json, from which they are chosen.

.venv/bin/python benchmarks/kernel_costs.py                      every kernel and core
.venv/bin/python benchmarks/kernel_costs.py --kernel pairs int8  only these; the others stay as they are

Layers of many shapes are counted exactly in emulation. The instructions of a kernel are then a sum of its
features (compiler/kernels/features.py), each times a number of 0 or more; relative errors are least.
"""

import argparse
import json
import tempfile
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from cost_layers import layers, networks, single
from scipy.optimize import nnls

from tinybound.kernels import KERNELS
from tinybound.kernels.base import ALIKE
from tinybound.kernels.choose import kernel_plan
from tinybound.kernels.kernel_plan import with_kernels
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import Artefact, flatten, packed
from tinybound.simulate.footprint import footprint
from tinybound.targets.c import generate_c
from tinybound.targets.layout import lay_out
from tinybound.targets.plan import make_plan

TABLE = Path(__file__).parents[1] / "compiler" / "kernels" / "costs.json"
ENOUGH = 40  # layers to fit; moves are in every network
CORES = [core for core in BOARDS if core not in ALIKE]


def write(plan, folder):
    """The C of a plan with whole maps."""
    for file, text in generate_c(plan.graph, memory=lay_out(plan, ()), plan=plan).items():
        (folder / file).write_text(text)


@cache
def counted(graph, kernels, core, bits=8):
    """Instructions per step of one inference at so many run-time bits: the same for every input."""
    plan = with_kernels(make_plan(graph), dict(enumerate(kernels)))
    with tempfile.TemporaryDirectory() as place:
        folder, machine = Path(place), Emulated(BOARDS[core])
        write(plan, folder)
        x = flatten(graph, {name: np.zeros((1, *graph.values[name].shape), int) for name in graph.inputs})
        macros = packed(Artefact(graph, folder, None), core)
        elf = machine.build(folder, graph.name, folder, trace=True, count=True, defines=macros)
        overhead, *counts = machine.run(elf, x, bits, folder).instructions
    return [count - overhead for count in counts]


def fitted(rows, results):
    """Name -> number with sum(number * row[name]) near each result, relative to it."""
    names = sorted({name for row in rows for name, count in row.items() if count})
    matrix = np.array([[row.get(name, 0) for name in names] for row in rows], float)
    results = np.maximum(np.asarray(results, float), 1)
    numbers, _ = nnls(matrix / results[:, None], np.ones(len(rows)))
    errors = matrix @ numbers / results - 1
    return {name: float(f"{n:.5g}") for name, n in zip(names, numbers, strict=True) if n}, errors


def instructions(kernel, core):
    """Per unit of each feature, and the relative errors over the layers that were counted."""
    rows, results = [], []
    for graph in networks():
        plan = kernel_plan(graph, (kernel.name,))
        steps = [step for step in plan.steps if plan.kernel(step) is kernel and _lasts(step)]
        if steps and len(rows) < ENOUGH:
            counts = counted(graph, plan.kernels, core)
            rows += [kernel.features(step) for step in steps]
            results += [counts[step.index] for step in steps]
    return fitted(rows, results)


def alone(kernel, core):
    """The same for a network's only layer of a kernel, to which compilers fit its code."""
    rows, results = [], []
    for graph in islice(layers(kernel), ENOUGH):
        plan = kernel_plan(graph, (kernel.name,))
        step = next(step for step in plan.steps if plan.kernel(step) is kernel)
        rows.append(kernel.features_alone(step))
        results.append(counted(graph, plan.kernels, core)[step.index])
    return fitted(rows, results)


def _lasts(step):
    """Moves of a few elements become straight code, unlike any other."""
    return step.kind != "reorder" or len(step.view["movement"]) > 64


def sizes(kernel, core, folder):
    """Bytes of code that layers share, of constants and code that each has, and of stack."""
    flash, stacks = [], []
    for graph, copies in single(kernel):
        plan = kernel_plan(graph, (kernel.name,))
        write(plan, folder)
        steps = [step for step in plan.steps if plan.kernel(step) is kernel]
        cost, held = footprint(BOARDS[core], folder, graph.name, folder), plan.packed(steps[0])
        stored = copies * (held.weights.nbytes + 4 * len(held.bias))
        each = {name: copies * count for name, count in kernel.code_features(steps[0]).items()}
        flash.append(({"shared": 1, **each}, cost.flash_bytes - stored))
        stacks.append(({"base": 1, **held.room}, cost.stack_bytes))
    each, stack = (fitted(*zip(*pairs, strict=True))[0] for pairs in (flash, stacks))
    return {"code": round(each.pop("shared", 0)), "flash": each, "stack": stack}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", nargs="*", default=[kernel.name for kernel in KERNELS])
    parser.add_argument("--core", nargs="*", choices=BOARDS)
    options = parser.parse_args()
    for kernel in (kernel for kernel in KERNELS if kernel.name in options.kernel):
        for core in options.core or [core for core in CORES if core not in kernel.slow_on]:
            with tempfile.TemporaryDirectory() as place:
                each, errors = instructions(kernel, core)
                costs = {"instructions": each, **sizes(kernel, core, Path(place))}
            if kernel.fits_one:
                costs["alone"], more = alone(kernel, core)
                errors = np.concatenate([errors, more])
            table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
            table.setdefault(kernel.name, {})[core] = costs
            worst = np.abs(errors).max()
            print(f"{kernel.name} on {core}: {len(errors)} layers, at most {worst:.1%} off", flush=True)
            TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
