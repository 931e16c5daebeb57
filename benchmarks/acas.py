# SPDX-License-Identifier: Apache-2.0
"""Certificates of ACAS Xu networks: what `tinybound certify` finds about fix points and in property boxes.

.venv/bin/python benchmarks/acas.py FOLDER                       # 5 fix points, int8 and int4; radius 3/255
.venv/bin/python benchmarks/acas.py FOLDER --radius 6 --timeout 20
.venv/bin/python benchmarks/acas.py FOLDER --boxes p3,p1 --nets 1_1 --timeout 300 --check

FOLDER holds ACASXU_run2a_*_batch_2000.onnx. Seconds are of this process's processor time, `--timeout` of the
clock. All networks are calibrated on the full input range.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

import numpy as np

from tinybound.boxes import Box
from tinybound.build import compile as compile_model
from tinybound.certify.certificate import certify
from tinybound.certify.effort import thorough
from tinybound.checker import check_certificate
from tinybound.options import Options

RANGE = np.array([[-0.5, -0.5, -0.5, -0.5, -0.5], [0.68, 0.5, 0.5, 0.5, 0.5]])
POINTS = {
    "fp1": [0, 0, 0, 0, 0],
    "fp2": [0.2, -0.1, 0, -0.3, 0.4],
    "fp3": [0.45, -0.23, -0.4, 0.12, 0.33],
    "fp4": [-0.2, -0.25, -0.5, -0.3, -0.44],
    "fp5": [0.61, 0.36, 0, 0, -0.24],
}
PROPERTIES = {
    "p1": [[0.6, -0.5, -0.5, 0.45, -0.5], [0.679857769, 0.5, 0.5, 0.5, -0.45]],
    "p3": [[-0.303531156, -0.009549297, 0.493380324, 0.3, 0.3], [-0.298552812, 0.009549297, 0.5, 0.5, 0.5]],
}
HEAD = "| net | weights | box | found | certified | ratio | leaves | s | checker s |\n" + "|---" * 9 + "|"


def box_of(name, radius):
    """lower, upper."""
    if name in PROPERTIES:
        return np.array(PROPERTIES[name])
    return np.array(POINTS[name]) + np.array([[-1], [1]]) * radius / 255


def spent(function):
    """(result, seconds of processor time)."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def row(build, net, code, name, options):
    """One line of the table; the ratio."""
    (source,), ends = build.graph.inputs, box_of(name, options.radius)
    box = Box({source: ends[0]}, {source: ends[1]})
    if options.check:
        made, seconds = spent(lambda: build.certify(box, effort=thorough(options.timeout)))
        answer, check = spent(lambda: check_certificate(build.folder / "certificate.json", build.folder))
        assert answer["accepted"], answer["reason"]
    else:
        nets = build.float_graph, build.graph, box.lower, box.upper
        made, seconds = spent(lambda: certify(*nets, hashes={}, effort=thorough(options.timeout)))
        check = float("nan")
    found, ratio = made.attack.largest, made.largest / made.attack.largest
    leaves = made.fields["tree"].count(None)
    print(
        f"| {net} | {code} | {name} | {found:.5g} | {made.largest:.5g} | {ratio:.3f} | {leaves}"
        f" | {seconds:.2f} | {check:.2f} |",
        flush=True,
    )
    return ratio, seconds


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nets", default="", help="1_1,2_3 ...: all by default")
    parser.add_argument("--boxes", default=",".join(POINTS), help="fp1 ... fp5, p1, p3")
    parser.add_argument("--weights", default="int8,int4")
    parser.add_argument("--radius", type=float, default=3.0, help="of the boxes about fix points, in 255ths")
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--check", action="store_true", help="and the checker's verdict")
    options = parser.parse_args()
    wanted = [net for net in options.nets.split(",") if net]
    rng, results = np.random.default_rng(0), []
    x = RANGE[0] + rng.random((2000, 5)) * (RANGE[1] - RANGE[0])
    print(HEAD)
    with tempfile.TemporaryDirectory() as work:
        calibration = Path(work) / "calibration.npz"
        np.savez(calibration, X=x)
        for path in sorted(options.folder.glob("ACASXU_run2a_*_batch_2000.onnx")):
            net = re.search(r"run2a_(\d_\d)", path.name)[1]
            for code in options.weights.split(",") if net in (wanted or [net]) else []:
                how = Options(target="c", calibration=calibration, weights=(code,))
                build = compile_model(path, Path(work) / f"{net}_{code}", how)
                results += [row(build, net, code, name, options) for name in options.boxes.split(",")]
    ratios, seconds = np.array(results).T
    print(f"{len(results)} tasks: ratio at most {ratios.max():.3f}, median {np.median(ratios):.4f};", end=" ")
    print(f"seconds at most {seconds.max():.2f}, median {np.median(seconds):.2f}")


if __name__ == "__main__":
    main()
