# SPDX-License-Identifier: Apache-2.0
"""Certified bounds under many attacked points: random ones, corners, both sides of borders of cells, and ends
of cells towards which the float network's gradient points. Ends with 1 if one lies above its bound.

.venv/bin/python benchmarks/attack_points.py                       # a million points on the bundled networks
.venv/bin/python benchmarks/attack_points.py --points 100000000 --acas FOLDER  # 10 minutes

FOLDER holds ACASXU_run2a_1_1_batch_2000.onnx. Points are evaluated in float64; what then lies above a bound
is evaluated again, its integers by the golden model and its reals between two floats.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from certify_tasks import box_of, full_range

from tinybound.certify.attack import enclosed, largest_of
from tinybound.certify.certificate import certify, twin_of
from tinybound.certify.effort import Effort, thorough
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.search import Search
from tinybound.options import Options
from tinybound.pipeline import build_networks

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BATCH = 4096
MOVED = 16  # of so many batches one follows the gradient
HEAD = (
    "| network | box | points | largest seen | search's | certified | seen / certified | s |\n"
    + "|---" * 8
    + "|"
)
# network, activations, radius about the middle of the domain (None: all of it), share of the points, effort
PLANS = (
    ("controller2", 8, None, 6, Effort(600, ratio=1.01, cells=1 << 16)),
    ("controller2", 8, 0.1, 3, Effort(200, ratio=1.001, cells=1 << 16)),
    ("controller2", 16, None, 2, Effort(60)),
    ("controller4", 8, None, 3, Effort(60)),
    ("controller4", 8, 0.03, 2, Effort(100, ratio=1.01, cells=1 << 16)),
    ("digits_mlp", 8, 1 / 16, 1, Effort()),
    ("digits_mlp", 16, 1 / 16, 1, Effort()),
)


class Case:
    """A pair of networks on a box, certified."""

    def __init__(self, real, whole, lower, upper, effort=None, budget=None):
        effort = effort or Effort()
        self.made = certify(real, whole, lower, upper, hashes={}, effort=effort, budget=budget)
        self.whole, self.both = whole, lockstep(real, whole)
        self.at = entries(self.both, whole, lower, upper)
        self.names = sorted(set(self.made.values.values()))
        twins = {name: twin_of(real, whole, name) for name in self.names}
        self.search = Search(whole, self.both, self.at, twins, real)
        self.bound = np.concatenate([self.made.bound[name].ravel() for name in self.names])
        self.found = np.concatenate([self.made.attack.found[name].ravel() for name in self.names])

    def points(self, rng, count):
        """Each coordinate inside, in a corner, or at a border of its cell; shares by point."""
        search, shape = self.search, (count, self.search.low.size)
        inside = search.low + rng.random(shape) * (search.high - search.low)
        kind = rng.random(shape) * rng.random((count, 1)) * 1.5
        corner = np.where(rng.random(shape) < 0.5, search.low, search.high)
        border = search.borders(inside, rng)
        return search.clip(np.where(kind < 0.25, inside, np.where(kind < 0.75, border, corner)))

    def storm(self, count, seed):
        """Largest |difference| per output element over `count` points; the points above their bound."""
        rng, seen, above, done, batch = np.random.default_rng(seed), np.zeros(len(self.bound)), [], 0, 0
        while done < count:
            x = self.points(rng, min(BATCH, count - done))
            if batch % MOVED == 0:
                x = self.search.within(x, int(rng.integers(len(self.bound))))
            gaps = self.search.gaps(x)
            seen = np.maximum(seen, gaps.max(axis=0))
            above += [x[i] for i in np.flatnonzero((gaps > self.bound).any(axis=1)) if self.proven(x[i])]
            done, batch = done + len(x), batch + 1
        return seen, above

    def proven(self, flat):
        """Whether the exact difference at an input is above a bound."""
        x = {name: part[0] for name, part in self.search.split(flat[None]).items()}
        ends = enclosed(self.whole, self.both, self.at, self.names, x)
        least = np.concatenate([largest_of(*ends[name]).ravel() for name in self.names])
        return bool((least > self.bound).any())


def bundled(name, activations, radius, effort):
    """A bundled network on its domain, or on a ball about the middle of it (of a test image)."""
    nets = build_networks(
        EXAMPLES / f"{name}.onnx",
        Options(calibration=EXAMPLES / f"{name}_calibration.npz", activations=activations),
    )
    lower, upper = (
        {n: np.array(v, float) for n, v in side.items()} for side in (nets.domain.lower, nets.domain.upper)
    )
    if radius is not None:
        (source,) = lower
        middle = 0.5 * lower[source] + 0.5 * upper[source]
        if name.startswith("digits"):
            middle = np.load(EXAMPLES / f"{name}_test.npz")["x"][0].astype(float).reshape(middle.shape)
        ends = (np.clip(middle + way * radius, lower[source], upper[source]) for way in (-1, 1))
        lower, upper = ({source: end} for end in ends)
    return Case(nets.float_graph, nets.integer_graph, lower, upper, effort)


def acas(path, name, folder, effort):
    """A network of ACAS Xu, calibrated on its full input range, about a fix point or in a property's box."""
    nets = build_networks(path, Options(calibration=full_range(folder)))
    (source,), (lower, upper) = nets.float_graph.inputs, box_of(name, 3)
    return Case(nets.float_graph, nets.integer_graph, {source: lower}, {source: upper}, effort)


def cases(options, folder):
    """(name, box, share of the points, Case)."""
    for name, activations, radius, share, effort in PLANS:
        box = "whole domain" if radius is None else f"ball of {radius:g}"
        yield f"{name}, int{activations}", box, share, bundled(name, activations, radius, effort)
    for path in sorted(options.acas.glob("ACASXU_run2a_1_1_*.onnx")) if options.acas else []:
        for box in ("fp2", "p3"):
            yield "ACAS Xu 1_1, int8", box, 2, acas(path, box, folder, thorough(30))


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=1_000_000, help="of all rows together, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--acas", type=Path, help="folder of the ACAS Xu networks")
    options = parser.parse_args(arguments)
    shares = sum(plan[3] for plan in PLANS) + (4 if options.acas else 0)
    total, bad = 0, 0
    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        for name, box, share, case in cases(options, Path(folder)):
            start, count = time.process_time(), -(-options.points * share // shares)
            seen, above = case.storm(count, options.seed)
            ratio, total, bad = float((seen / case.bound).max()), total + count, bad + len(above)
            k = int(case.bound.argmax())
            print(
                f"| {name} | {box} | {count:,} | {seen[k]:.6g} | {case.found[k]:.6g} | {case.bound[k]:.6g}"
                f" | {ratio:.4f} | {time.process_time() - start:.0f} |",
                flush=True,
            )
            for x in above[:3]:
                print(f"above its bound: {name} at {x.tolist()}")
    print(f"{total:,} points, {bad} above a bound")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
