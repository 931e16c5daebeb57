# SPDX-License-Identifier: Apache-2.0
"""The generated Verilog under Verilator, driven by a generated C++ program (no Python per cycle)."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..errors import PromiseError
from ..tools import find, run
from .machine import Bytes, Result, start

VERILATE = (
    "--cc",
    "--exe",
    "--build",
    "-j",
    "2",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-fatal",
)


@dataclass(frozen=True)
class Rtl:
    """A Machine. `stalls`: percent of clocks in which the source holds back, and the sink."""

    timeout: float = 1200.0  # seconds per run
    stalls: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        return "rtl"

    def build(
        self, c_dir: Path, name: str, work: Path, *, trace: bool = False, defines: Sequence[str] = ()
    ) -> Path:
        """Verilate the folder's files with their driver; sources stay where they are, ROM files too."""
        for tool in ("make", "g++"):
            find(tool)
        folder = c_dir.absolute()
        objects = work.absolute() / f"{name}-rtl{'-trace' if trace else ''}"
        objects.mkdir(parents=True, exist_ok=True)
        sources = (folder / f"{name}.f").read_text(encoding="utf-8").split()
        run([
            "verilator", *VERILATE, "--top-module", name, "--Mdir", objects,
            *(["-DTB_TRACE"] if trace else []), *(f"-D{define}" for define in defines),
            folder / "waivers.vlt", *(folder / source for source in sources),
            folder / ("driver_trace.cpp" if trace else "driver.cpp"), "-o", "driver",
        ], env=verilator_environment(objects))  # fmt: skip
        (objects / "folder").write_text(str(folder), encoding="utf-8")
        return objects / "driver"

    def run(self, program: Path, inputs: Bytes, bits: int, work: Path) -> Result:
        folder = Path((program.parent / "folder").read_text(encoding="utf-8"))
        with TemporaryDirectory(dir=work) as place:
            given, found = Path(place).absolute() / "in.bin", Path(place).absolute() / "out.bin"
            given.write_bytes(np.ascontiguousarray(inputs).tobytes())
            argv: list[str | Path] = [program.absolute(), given, found, *map(str, self.stalls), str(bits)]
            done = start(self.name, argv, folder, self.timeout)  # ROM files are read from the working folder
            if done.code != 0:
                raise PromiseError(
                    self.name, done.stderr.strip() or f"exit code {done.code}", "every frame answered"
                )
            count = len(inputs)
            traces = {
                int(path.suffix[1:]): np.fromfile(path, np.uint8).reshape(count, -1)
                for path in sorted(Path(place).glob("out.bin.*"))
            }
            outputs = np.fromfile(found, np.int8).reshape(count, -1)
            return Result(outputs, traces, note=done.stdout.strip())


def verilator_environment(base: Path) -> dict[str, str]:
    """Verilator's makefile calls python3, which must be this one; ccache spares Verilator's own C++ files."""
    environment = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    if shutil.which("ccache"):
        environment.update({"OBJCACHE": "ccache", "CCACHE_NOHASHDIR": "1", "CCACHE_BASEDIR": str(base)})
    return environment
