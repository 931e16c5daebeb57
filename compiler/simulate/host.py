# SPDX-License-Identifier: Apache-2.0
"""The generated C on this computer, on request with GCC's sanitizers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..tools import run
from .machine import (
    STRICT,
    Bytes,
    Result,
    judge,
    network_arguments,
    read_outputs,
    read_traces,
    sources,
    start,
    write_vectors,
)

# Line numbers alone: GCC takes a third of the time that it takes for -O2 -g, and makes the same checks.
_SANITIZE = ("-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Host:
    """A Machine. sanitize: stop at the first undefined behaviour or access outside an object.

    level: GCC's optimisation; "" is -O2, and -O1 with `sanitize`. -O0 builds large sources far sooner.
    """

    sanitize: bool = False
    level: str = ""
    timeout: float = 300.0  # seconds per run
    compiler: str = "gcc"  # or another one that takes GCC's options

    @property
    def name(self) -> str:
        return "host-sanitized" if self.sanitize else "host"

    def build(
        self, c_dir: Path, name: str, work: Path, *, trace: bool = False, defines: Sequence[str] = ()
    ) -> Path:
        work.mkdir(parents=True, exist_ok=True)
        program = work.absolute() / (f"{name}-{self.name}" + ("-trace" if trace else ""))
        macros = ["TB_TRACE", *defines] if trace else defines
        options = [*STRICT, self.level or ("-O1" if self.sanitize else "-O2")]
        options += _SANITIZE if self.sanitize else ()
        run([
            self.compiler, *options, *network_arguments(c_dir, name, macros),
            *sources(c_dir, name, ["host.c"], trace=trace), "-o", program,
        ])  # fmt: skip
        return program

    def run(self, program: Path, inputs: Bytes, bits: int, work: Path) -> Result:
        with TemporaryDirectory(dir=work) as name:
            folder = Path(name)
            write_vectors(folder, inputs, bits)
            judge(self.name, start(self.name, [program.absolute()], folder, self.timeout))
            return Result(read_outputs(folder, len(inputs)), read_traces(folder, len(inputs)))
