# SPDX-License-Identifier: Apache-2.0
"""The generated C on emulated microcontrollers, with exact counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import PromiseError, ToolMissing
from ..tools import Completed, find
from . import unicorn_core
from .boards import Board
from .counting import PLUGIN, SIMAVR, TIMER, UNICORN, from_timer, markers_of, method, plugin, plugin_version
from .cycles import Flash, cycles, read_profiles
from .machine import (
    FIRMWARE,
    Bytes,
    Result,
    build_for,
    judge,
    network_arguments,
    read_outputs,
    read_traces,
    sources,
    start,
    write_vectors,
)


@dataclass(frozen=True)
class Counts:
    """Instructions executed for one inference, the markers' own (`overhead`, measured) subtracted.

    total       of the network as shipped, from the call of NAME_run with its arguments to its return
    layers      of each layer, from a build with hook calls, around which the compiler may arrange code
                otherwise: their sum comes near total, but need not be below it
    counted_by  one of counting.methods
    unit        "instructions", or "cycles" of an AVR
    """

    total: int
    layers: tuple[int, ...]
    overhead: int
    counted_by: str
    unit: str = "instructions"


@dataclass(frozen=True)
class Emulated:
    """A Machine: a board in QEMU, or in unicorn without it. counted_by: "", the best that there is."""

    board: Board
    timeout: float = 300.0  # seconds per run
    counted_by: str = ""

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
        board = self.board
        by = self._method() if count else ""
        timed = by in (TIMER, SIMAVR)
        kind = ("-trace" if trace else "") + ("-count" if count else "") + ("-timer" if timed else "")
        program = work.absolute() / f"{name}-{self.name}{kind}"
        macros = [*(["TB_TRACE"] if trace else []), *(["TB_COUNT"] if count else []), *defines]
        markers = ["tb_count.c"] if count else []
        if timed:
            timer, *places = board.timer
            markers, macros = ["count_timer.c", timer], [*macros, *places]
        build_for(board, name, [
            *network_arguments(c_dir, name, macros), *self.linking,
            *sources(c_dir, name, board.platform, trace=trace, count=markers), "-o", program,
        ])  # fmt: skip
        return program

    @property
    def linking(self) -> tuple[str | Path, ...]:
        """The compiler's options for linking."""
        return "-nostartfiles", "-T", FIRMWARE / self.board.linker_script, "-Wl,--gc-sections"

    def image(self, program: Path, inputs: Bytes, bits: int, work: Path) -> bytes:  # noqa: ARG002 -- on an AVR
        """The program that runs."""
        return program.read_bytes()

    def run(self, program: Path, inputs: Bytes, bits: int, work: Path) -> Result:
        markers = markers_of(program)
        n = len(inputs)
        with TemporaryDirectory(dir=work) as name:
            folder = Path(name)
            write_vectors(folder, inputs, bits)
            if markers is None:
                judge(self.name, self._start(program, folder))
                return Result(read_outputs(folder, n), read_traces(folder, n))
            by = self._method()
            judge(self.name, self._counted(program, folder, markers, by))
            if by == TIMER:
                counts = from_timer(self.board, folder)
            else:
                counts = tuple(map(int, (folder / "counts.txt").read_text().split()))
            return Result(read_outputs(folder, n), instructions=counts, counted_by=by)

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
            assert result.instructions is not None
            overhead, *counts = result.instructions
            regions.append(np.reshape(counts, (n, -1)) - overhead)
        whole, layers = regions
        by = result.counted_by, self.board.counts
        return [Counts(int(whole[i, 0]), tuple(layers[i].tolist()), overhead, *by) for i in range(n)]

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
        if self._method() != PLUGIN:
            raise ToolMissing(self.board.emulator, "cycles need the counting plugin", "a QEMU that takes it")
        elf = self.build(c_dir, name, work, count=True, defines=defines)
        return self.profiles(elf, inputs[:1], bits, work, flash)[0]

    def profiles(
        self, program: Path, inputs: Bytes, bits: int, work: Path, flash: Flash
    ) -> list[dict[str, Any]]:
        """Of a program that build() made to count: the modelled cycles of each region, markers included."""
        markers = markers_of(program)
        assert markers is not None
        with TemporaryDirectory(dir=work) as place:
            folder = Path(place)
            write_vectors(folder, inputs, bits)
            judge(self.name, self._counted(program, folder, markers, PLUGIN, flash))
            _, *regions = read_profiles(folder / "profile.txt")
            return [cycles(self.name, program, region, flash) for region in regions]

    def totals(
        self,
        c_dir: Path,
        name: str,
        work: Path,
        inputs: Bytes,
        settings: Sequence[int],
        defines: Sequence[str] = (),
    ) -> dict[int, int]:
        """Instructions of the inference of inputs[0] at each number of activation bits; see Counts.total."""
        elf = self.build(c_dir, name, work, count=True, defines=defines)
        found = {}
        for bits in settings:
            regions = self.run(elf, inputs[:1], bits, work).instructions
            assert regions is not None
            found[bits] = regions[1] - regions[0]
        return found

    def _method(self) -> str:
        return self.counted_by or method(self.board)

    def _counted(
        self, program: Path, folder: Path, markers: tuple[int, int], by: str, flash: Flash | None = None
    ) -> Completed:
        board = self.board
        if by == UNICORN:
            return self._unicorn(program, folder, markers)
        if by == TIMER:
            return self._start(program, folder, "-icount", f"shift={board.shift}")
        version = plugin_version(board.emulator)
        assert version is not None
        return self._start(program, folder, *plugin(folder, version, markers, flash))

    def _start(self, elf: Path, folder: Path, *more: str) -> Completed:
        board = self.board
        try:
            find(board.emulator)
        except ToolMissing:
            if board.unicorn and unicorn_core.installed():
                return self._unicorn(elf, folder, None)
            raise
        argv: list[str | Path] = [
            board.emulator, *board.machine, "-display", "none", "-monitor", "none", "-serial", "none",
            "-semihosting-config", "enable=on,target=native", *more, "-kernel", elf.absolute(),
        ]  # fmt: skip
        return start(self.name, argv, folder, self.timeout)

    def _unicorn(self, elf: Path, folder: Path, markers: tuple[int, int] | None) -> Completed:
        done = unicorn_core.execute(self.board, elf, folder, self.timeout, markers)
        if done.code < 0:
            raise PromiseError(self.name, f"no end within {self.timeout:g} s", "a result")
        return done
