# SPDX-License-Identifier: Apache-2.0
"""Controllers over their whole domain: how close the certified bound comes to what is found, and how soon.

.venv/bin/python benchmarks/controllers.py         # the bundled ones, of 2 and 4 inputs, and one of 3
.venv/bin/python benchmarks/controllers.py --names motor3 --timeout 60 --jobs 2

The one of 3 inputs (angle, angular velocity and current of a motor) is trained here, in seconds. Seconds are
of the clock; with --jobs 1 those of the processor stand beside them.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tinybound.certify.certificate import certify
from tinybound.certify.effort import thorough
from tinybound.options import Options
from tinybound.pipeline import build_networks

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# State: angle (rad), angular velocity (rad/s), current (A). Control: voltage (V).
MOTOR = {
    "a": [[0, 1, 0], [0, -0.5, 2], [0, -1, -4]], "b": [[0], [0], [2]],
    "q": [4, 0.2, 0.1], "r": [0.1], "limit": 3.0, "upper": [1, 2, 1],
}  # fmt: skip


def folder_of(name, work):
    """Where the files of a controller are."""
    if name != "motor3":
        return EXAMPLES
    sys.path.insert(0, str(EXAMPLES))
    from recipes.controllers import make

    make(work, name, MOTOR, seed=6, steps=3000, decay=0.3)
    return work


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", default="controller2,motor3,controller4")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    print("| model | found | certified | ratio | leaves | s | processor s |\n" + "|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as work:
        for name in options.names.split(","):
            folder = folder_of(name, Path(work))
            box = str(folder / f"{name}_box.json")
            nets = build_networks(folder / f"{name}.onnx", Options(domain=box))
            ends = nets.domain.lower, nets.domain.upper
            start, spent = time.perf_counter(), time.process_time()
            effort = thorough(options.timeout, jobs=options.jobs)
            made = certify(nets.float_graph, nets.integer_graph, *ends, hashes={}, effort=effort)
            seconds = time.perf_counter() - start, time.process_time() - spent
            found, leaves = made.attack.largest, made.fields["tree"].count(None)
            row = f"{found:.5g} | {made.largest:.5g} | {made.largest / found:.3f} | {leaves}"
            print(f"| {name} | {row} | {seconds[0]:.1f} | {seconds[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
