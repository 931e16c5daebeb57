# SPDX-License-Identifier: Apache-2.0
"""The table of docs/certificate.md: attack, each domain alone, and the claim, for the bundled models.

.venv/bin/python benchmarks/certify.py            # controllers, digits MLP and CNN: about two minutes
.venv/bin/python benchmarks/certify.py --images 3
"""

import argparse
import time
from pathlib import Path

import numpy as np

from tinybound.certify.certificate import certify
from tinybound.options import Options
from tinybound.pipeline import build_networks

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
KINDS = ("interval", "zonotope", "product", "crown")
HEAD = (
    "| model | box | attack | interval | zonotope | product | crown | claim / attack mean | max | s |\n"
    + "|---" * 10
    + "|"
)


def measure(networks, lower, upper):
    """(attack, interval, zonotope, product, crown, claim) of the worst output element, and seconds."""
    name, start = networks.float_graph.inputs[0], time.perf_counter()
    made = certify(networks.float_graph, networks.integer_graph, {name: lower}, {name: upper}, hashes={})
    (value,) = made.bound
    alone = [float(made.alone[kind][value].max()) for kind in KINDS]
    found = float(made.attack.found[value].max())
    return [found, *alone, float(made.bound[value].max())], time.perf_counter() - start


def row(model, box, rows, seconds):
    """One line: means over the boxes, and the ratio claim / attack."""
    mean, ratios = np.mean(rows, axis=0), [r[-1] / r[0] for r in rows]
    numbers = " | ".join(f"{v:.4g}" for v in mean[:-1])
    ratio = f"{np.mean(ratios):.2f} | {max(ratios):.2f} | {seconds / len(rows):.2f}"
    print(f"| {model} | {box} | {numbers} | {ratio} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--radius", type=float, default=1 / 16)
    options = parser.parse_args()
    print(HEAD)
    for name in ("controller2", "controller4"):
        box = str(EXAMPLES / f"{name}_box.json")
        networks = build_networks(EXAMPLES / f"{name}.onnx", Options(domain=box))
        ends = [next(iter(side.values())) for side in (networks.domain.lower, networks.domain.upper)]
        found, seconds = measure(networks, *ends)
        row(name, "whole domain", [found], seconds)
    for name in ("digits_mlp", "digits_cnn"):
        calibration = EXAMPLES / f"{name}_calibration.npz"
        networks = build_networks(EXAMPLES / f"{name}.onnx", Options(calibration=calibration))
        rows, total = [], 0.0
        for x in np.load(EXAMPLES / f"{name}_test.npz")["x"][: options.images].astype(float):
            found, seconds = measure(
                networks, *(np.clip(x + r, 0, 1) for r in (-options.radius, options.radius))
            )
            rows.append(found)
            total += seconds
        row(name, f"{len(rows)} balls of {options.radius:g}", rows, total)


if __name__ == "__main__":
    main()
