# SPDX-License-Identifier: Apache-2.0
"""The generated C on an AVR of 8 bits in simavr, which counts cycles; for networks of a few kilobytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from ..errors import PromiseError
from ..tools import Completed, run
from .counting import SIMAVR, from_timer
from .emulated import Emulated
from .machine import (
    FIRMWARE,
    Bytes,
    Result,
    hold_ram,
    judge,
    read_outputs,
    read_traces,
    start,
    write_vectors,
)

VECTORS = 12288  # bytes of vectors per run: they lie in flash below the addresses that 16 bits reach
LINE = re.compile(r"\x1b\[32m(.)(.*)\.$", re.MULTILINE)
FILES = {"o": "out.bin", "t": "trace.bin", "c": "counts.bin"}


@dataclass(frozen=True)
class Avr(Emulated):
    """A Machine. Its counts are cycles: an AVR's instructions take one to five, always the same."""

    def build(
        self,
        c_dir: Path,
        name: str,
        work: Path,
        *,
        trace: bool = False,
        count: bool = False,
        defines: Sequence[str] = (),
    ) -> Path:
        """All but the vectors, which run() links in; CompileError when it does not fit the RAM."""
        program = super().build(c_dir, name, work, trace=trace, count=count, defines=defines)
        hold_ram(self.board, name, _ram(program))
        return program

    @property
    def linking(self) -> tuple[str | Path, ...]:
        return "-nostdlib", "-Wl,-r"

    def image(self, program: Path, inputs: Bytes, bits: int, work: Path) -> bytes:
        """With the vectors in it."""
        with TemporaryDirectory(dir=work) as place:
            write_vectors(Path(place), inputs, bits)
            return self._link(program, Path(place)).read_bytes()

    def run(self, program: Path, inputs: Bytes, bits: int, work: Path) -> Result:
        each = max(1, VECTORS // max(1, inputs.shape[1]))
        parts = [self._some(program, inputs[i : i + each], bits, work) for i in range(0, len(inputs), each)]
        if not parts:
            return Result(np.zeros((0, 0), np.int8))
        counts = [part.instructions for part in parts if part.instructions]
        return Result(
            np.concatenate([part.outputs for part in parts]),
            {i: np.concatenate([part.traces[i] for part in parts]) for i in parts[0].traces},
            (*counts[0], *(n for more in counts[1:] for n in more[1:])) if counts else None,
            SIMAVR,
        )

    def _some(self, program: Path, inputs: Bytes, bits: int, work: Path) -> Result:
        with TemporaryDirectory(dir=work) as place:
            folder = Path(place)
            write_vectors(folder, inputs, bits)
            elf = self._link(program, folder)
            done = start(self.name, [self.board.emulator, *self.board.machine, elf], folder, self.timeout)
            judge(self.name, _said(done, folder))
            counts = from_timer(self.board, folder) if (folder / "counts.bin").exists() else None
            return Result(read_outputs(folder, len(inputs)), read_traces(folder, len(inputs)), counts)

    def _link(self, program: Path, folder: Path) -> Path:
        elf = folder / "program.elf"
        vectors = FIRMWARE / "avr_vectors.S"
        board = self.board
        run([board.compiler, *board.flags, "-Wl,--gc-sections", program, vectors, "-o", elf], cwd=folder)
        return elf


def _ram(program: Path) -> int:
    """Bytes of constants and variables: an AVR has all but code in RAM."""
    with program.open("rb") as stream:
        return sum(
            section["sh_size"]
            for section in ELFFile(stream).iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and not section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR
        )


def _said(done: Completed, folder: Path) -> Completed:
    """What the program sent over its serial port (firmware/avr_io.c): files, messages, its exit code."""
    lines = LINE.findall(done.stderr)
    for letter, name in FILES.items():
        data = bytes.fromhex("".join(text for first, text in lines if first == letter))
        if data:
            (folder / name).write_bytes(data)
    codes = [int(text) for first, text in lines if first == "X"]
    if not codes:
        raise PromiseError("avr", f"no end of the program, exit code {done.code} of simavr", "a result")
    return Completed("", "".join(text for first, text in lines if first == "#"), codes[0])
