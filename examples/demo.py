# SPDX-License-Identifier: Apache-2.0
"""Compile a trained CNN and a controller, run both on four executors, and show what holds.

make demo
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import tinybound
from tinybound.errors import TinyboundError
from tinybound.firmware_image import board_of, make_firmware

HERE = Path(__file__).parent
OUT = Path("out") / "demo"
STAGES = ("host", "cortex-m4", "rtl")
console = Console(width=max(118, Console().width))


def ball(model: str, radius: float) -> str:
    """A box file: an L-infinity ball around the first test image, inside the pixel range."""
    image = np.load(HERE / f"{model}_test.npz")["x"][0].astype(float)
    ends = {"lower": np.clip(image - radius, 0, 1).tolist(), "upper": np.clip(image + radius, 0, 1).tolist()}
    path = OUT / f"{model}_ball.json"
    path.write_text(json.dumps(ends), encoding="utf-8")
    return str(path)


def inside(build: tinybound.Build, count: int) -> dict:
    """Random real inputs in the build's domain, its corners among them."""
    rng = np.random.default_rng(1)
    (name,) = build.graph.inputs
    low, high = build.domain.lower[name], build.domain.upper[name]
    mix = rng.choice([0.0, 1.0, 0.5], (count, *low.shape), p=[0.3, 0.3, 0.4]) * rng.uniform(
        0.9, 1, (count, 1)
    ).reshape(-1, *(1,) * low.ndim)
    return {name: low + mix * (high - low)}


def main() -> int:
    """Build, run, show; 1 when a promise does not hold."""
    start = time.perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    jobs = {
        "digits_cnn": tinybound.Options(
            calibration=HERE / "digits_cnn_calibration.npz", domain=ball("digits_cnn", 1 / 64)
        ),
        "controller2": tinybound.Options(domain=str(HERE / "controller2_box.json")),
    }
    table = Table(
        "network",
        "layer",
        *(f"{stage}\nmismatches" for stage in STAGES),
        "largest difference\nfound",
        "certified\nat most",
        title="golden model = C on this computer = C on a Cortex-M4 = Verilog",
    )
    good = True
    for name, options in jobs.items():
        with console.status(f"compiling {name}"):
            build = tinybound.compile(HERE / f"{name}.onnx", OUT / name, options)
        with console.status(f"running {name}") as status:
            verdict = build.verify(STAGES, inside(build, 100), status.update)
            report = make_firmware(build, board_of("cortex-m4"))
            build.write_report(report, verdict)
        good = good and verdict.ok
        (ends,) = build.certificate["outputs"].values()
        layers = verdict.stages["host"].layers
        for i, layer in enumerate(layers):
            cells = [verdict.stages[stage].layers[i] for stage in STAGES]
            last = i == len(layers) - 1
            table.add_row(
                name if i == 0 else "",
                layer.layer,
                *(f"{c.mismatches} of {c.elements}" for c in cells),
                f"{max(verdict.bound.max_seen, *ends['attack']):.4g}" if last else "",
                f"{max(ends['bound']):.4g}" if last else "",
                end_section=last,
            )
    console.print(table)
    console.print(f"reports: {', '.join(str(OUT / name / 'report.html') for name in jobs)}")
    console.print(
        f"{'both promises hold' if good else 'A PROMISE DOES NOT HOLD'} ({time.perf_counter() - start:.0f} s)"
    )
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyboundError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
