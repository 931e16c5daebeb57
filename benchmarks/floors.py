# SPDX-License-Identifier: Apache-2.0
"""What rounding alone amounts to where every step rounds as it likes, in the middle of a box.

.venv/bin/python benchmarks/floors.py                       # MNIST, digits CNN, DS-CNN of MLPerf Tiny
.venv/bin/python benchmarks/floors.py --tasks 'mnist/*'

Per output the float network's gradients at every Requantise times half its step, absolute values added up,
and the same of the input: a method that takes roundings for free noise cannot certify less, whatever it does
about everything else. Shown for the output with the largest sum, beside the difference at that one input.
"""

import argparse
import fnmatch
import tempfile
from pathlib import Path

import numpy as np
from certify_tasks import DATA, tasks

from tinybound.certify.backward import gradients
from tinybound.certify.certificate import bounded, twin_of
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.search import Search
from tinybound.ops import Requantise
from tinybound.pipeline import build_networks

MANY = "mnist/*", "digits/digits_cnn/*", "kws/*"


def floors(nets, ends):
    """(outputs, sources): half a step times the gradient's absolute values; |difference| in the middle. Float
    weights are not off here."""
    real, whole = nets.float_graph, nets.integer_graph
    both = lockstep(real, whole)
    (source,) = whole.inputs
    at = entries(both, whole, *({source: end} for end in ends))
    outputs = {name: twin_of(real, whole, name) for name in set(bounded(whole)[0].values())}
    search = Search(whole, both, at, outputs, real)
    x = search.clip(0.5 * search.low + 0.5 * search.high)[None]
    places = {source: source}
    for node in whole.nodes:
        if isinstance(node.op, Requantise):
            places[node.output] = real.node(node.origin).inputs[0]
    rows = []
    for k in range(search.gaps(x).shape[1]):
        slopes = gradients(real, search.split(x), search.seeds(1, k), list(places.values()))
        steps = {name: float(whole.values[name].quant.scale[0]) for name in places}
        rows.append([0.5 * steps[name] * np.abs(slopes[twin]).sum() for name, twin in places.items()])
    return np.array(rows), search.gaps(x)[0]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    print("| task | output | input | each Requantise | sum | there at the middle |\n" + "|---" * 6 + "|")
    with tempfile.TemporaryDirectory() as work:
        made = {}
        for task in tasks(options.data, Path(work)).values():
            wanted = [options.tasks] if options.tasks else MANY
            if not any(fnmatch.fnmatch(task.name, pattern) for pattern in wanted):
                continue
            network = task.name.rpartition("/")[0]
            if network not in made:
                made[network] = build_networks(*task.files())
            rows, there = floors(made[network], task.ends(made[network].integer_graph))
            k = int(rows.sum(axis=1).argmax())
            each = " ".join(f"{v:.3g}" for v in rows[k, 1:])
            print(f"| {task.name} | {k} | {rows[k, 0]:.3g} | {each} | {rows[k].sum():.3g} | {there[k]:.3g} |")


if __name__ == "__main__":
    main()
