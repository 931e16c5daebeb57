# SPDX-License-Identifier: Apache-2.0
"""The generated C on emulated microcontrollers, with exact instruction counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile

from ..errors import ToolMissing
from ..tools import Completed, run
from .boards import Board
from .cycles import Flash, cycles, read_profiles
from .machine import (
    FIRMWARE,
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

# QEMU 7 and 8 take version 1 of the plugin interface, newer ones ask for 2. What we use is the same in both.
PLUGIN_VERSIONS = (1, 2)


@dataclass(frozen=True)
class Counts:
    """Instructions executed for one inference, the markers' own (`overhead`, measured) subtracted.

    total   of the network as shipped, from the call of NAME_run with its arguments to its return
    layers  of each layer, from a build with hook calls, around which the compiler may arrange code otherwise:
            their sum comes near total, but need not be below it
    note    not empty: there are no numbers (total None, layers ()) and this is why
    """

    total: int | None
    layers: tuple[int, ...]
    overhead: int
    note: str = ""


@dataclass(frozen=True)
class Emulated:
    """A Machine: a board in QEMU. `arguments` are further QEMU options."""

    board: Board
    timeout: float = 300.0  # seconds per run
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.board.name

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
        """count: mark the call of the network, or with trace every layer, for run() to count."""
        work.mkdir(parents=True, exist_ok=True)
        kind = ("-trace" if trace else "") + ("-count" if count else "")
        elf = work.absolute() / f"{name}-{self.name}{kind}.elf"
        macros = [*(["TB_TRACE"] if trace else []), *(["TB_COUNT"] if count else []), *defines]
        board = self.board
        run([
            board.compiler, *board.flags, *STRICT, "-O2", "-ffunction-sections", "-fdata-sections",
            *network_arguments(c_dir, name, macros),
            "-nostartfiles", "-T", FIRMWARE / board.linker_script, "-Wl,--gc-sections",
            *sources(c_dir, name, board.platform, trace=trace, count=count), "-o", elf,
        ])  # fmt: skip
        return elf

    def run(self, program: Path, inputs: Bytes, bits: int, work: Path) -> Result:
        markers = _markers(program)
        n = len(inputs)
        with TemporaryDirectory(dir=work) as name:
            folder = Path(name)
            write_vectors(folder, inputs, bits)
            if markers:
                for version in PLUGIN_VERSIONS:
                    done = self._start(program, folder, *_plugin(folder, version, markers))
                    if not _refused(done):
                        judge(self.name, done)
                        counts = tuple(map(int, (folder / "counts.txt").read_text().split()))
                        return Result(read_outputs(folder, n), instructions=counts)
            judge(self.name, self._start(program, folder))
            note = "this QEMU does not take the counting plugin" if markers else ""
            return Result(read_outputs(folder, n), read_traces(folder, n), note=note)

    def count(
        self, c_dir: Path, name: str, work: Path, inputs: Bytes, bits: int = 8, defines: Sequence[str] = ()
    ) -> Counts:
        """Count the inference of inputs[0], inputs (n >= 1, INPUT_SIZE); see Counts."""
        return self.count_each(c_dir, name, work, inputs[:1], bits, defines)[0]

    def count_each(
        self, c_dir: Path, name: str, work: Path, inputs: Bytes, bits: int = 8, defines: Sequence[str] = ()
    ) -> list[Counts]:
        """Count the inference of every input."""
        n, regions = len(inputs), []
        for trace in (False, True):
            elf = self.build(c_dir, name, work, trace=trace, count=True, defines=defines)
            result = self.run(elf, inputs, bits, work)
            if result.instructions is None:
                return n * [Counts(None, (), 0, result.note)]
            overhead, *counts = result.instructions
            regions.append(np.reshape(counts, (n, -1)) - overhead)
        whole, layers = regions
        return [Counts(int(whole[i, 0]), tuple(layers[i].tolist()), overhead) for i in range(n)]

    def profile(
        self,
        c_dir: Path,
        name: str,
        work: Path,
        inputs: Bytes,
        flash: Flash,
        bits: int = 8,
        defines: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Modelled cycles of the inference of inputs[0]; results and errors are those of cycles.cycles."""
        elf = self.build(c_dir, name, work, count=True, defines=defines)
        markers = _markers(elf)
        assert markers is not None
        with TemporaryDirectory(dir=work) as place:
            folder = Path(place)
            write_vectors(folder, inputs[:1], bits)
            for version in PLUGIN_VERSIONS:
                done = self._start(elf, folder, *_plugin(folder, version, markers, flash))
                if not _refused(done):
                    judge(self.name, done)
                    _, whole = read_profiles(folder / "profile.txt")
                    return cycles(self.name, elf, whole, flash)
        raise ToolMissing(self.board.emulator, "does not take the counting plugin", "one that does")

    def totals(
        self,
        c_dir: Path,
        name: str,
        work: Path,
        inputs: Bytes,
        settings: Sequence[int],
        defines: Sequence[str] = (),
    ) -> dict[int, int | None]:
        """Instructions of the inference of inputs[0] at each number of activation bits; see Counts.total."""
        elf = self.build(c_dir, name, work, count=True, defines=defines)
        found: dict[int, int | None] = {}
        for bits in settings:
            regions = self.run(elf, inputs[:1], bits, work).instructions
            found[bits] = None if regions is None else regions[1] - regions[0]
        return found

    def _start(self, elf: Path, folder: Path, *more: str) -> Completed:
        board = self.board
        argv: list[str | Path] = [
            board.emulator, *board.machine, "-display", "none", "-monitor", "none", "-serial", "none",
            "-semihosting-config", "enable=on,target=native", *self.arguments, *more,
            "-kernel", elf.absolute(),
        ]  # fmt: skip
        return start(self.name, argv, folder, self.timeout)


def _plugin(folder: Path, version: int, markers: tuple[int, int], flash: Flash | None = None) -> list[str]:
    """QEMU options; the plugin is built into the folder of the run."""
    source = FIRMWARE / "count_plugin.c"
    target = folder / "count_plugin.so"
    run(["gcc", "-shared", "-fPIC", "-O2", f"-DTB_PLUGIN_VERSION={version}", source, "-o", target])
    begin, end = markers
    options = f"begin={begin:#x},end={end:#x},out=counts.txt"
    if flash is not None:
        options += f",profile=profile.txt,line={flash.line_bytes},lines={flash.lines}"
    return ["-plugin", f"./{target.name},{options}"]


def _refused(done: Completed) -> bool:
    return done.code == 1 and "plugin" in done.stderr


def _markers(program: Path) -> tuple[int, int] | None:
    """Addresses of tb_mark_begin and tb_mark_end, None in a program without them."""
    with program.open("rb") as stream:
        symbols: Any = ELFFile(stream).get_section_by_name(".symtab")
        found = [symbols.get_symbol_by_name(name) for name in ("tb_mark_begin", "tb_mark_end")]
        if None in found:
            return None
        begin, end = (symbol[0]["st_value"] & ~1 for symbol in found)  # bit 0 of an ARM address means Thumb
        return begin, end
