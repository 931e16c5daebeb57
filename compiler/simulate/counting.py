# SPDX-License-Identifier: Apache-2.0
"""The ways to count executed instructions exactly, best first, and which of them there are here."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile

from ..errors import PromiseError, TinyboundError, ToolMissing
from ..tools import find, run
from . import unicorn_core
from .boards import Board
from .cycles import Flash
from .machine import FIRMWARE

PLUGIN, TIMER, UNICORN = "QEMU plugin", "QEMU icount timer", "unicorn"
SIMAVR = "simavr's timers"

# QEMU 7 and 8 take version 1 of the plugin interface, newer ones ask for 2. What we use is the same in both.
PLUGIN_VERSIONS = (1, 2)
TOO_LONG = 0xFFFFFFFF  # firmware/tb_timer.h
NEAR = 0.4  # of an instruction; starting and reading the timer may each be off by a tick


def methods(board: Board) -> list[str]:
    """How instructions can be counted on a board with what is installed; the first one is used."""
    found = []
    with suppress(ToolMissing):
        find(board.emulator)
        if board.counts == "cycles":
            return [SIMAVR]
        found = [*([] if plugin_version(board.emulator) is None else [PLUGIN]), TIMER]
    if board.unicorn and unicorn_core.installed():
        found.append(UNICORN)
    return found


def method(board: Board) -> str:
    """The one that is used; ToolMissing when nothing here runs the board."""
    found = methods(board)
    if not found:
        find(board.emulator)
    return found[0]


@cache
def plugin_version(emulator: str) -> int | None:
    """The version of the plugin interface that this QEMU takes; None: it takes none, or gcc is missing."""
    argv = [emulator, "-M", "none", "-display", "none", "-serial", "none", "-monitor", "stdio"]
    for version in PLUGIN_VERSIONS:
        with TemporaryDirectory() as place, suppress(TinyboundError):
            folder = Path(place)
            options = plugin(folder, version, (0, 0))
            done = run([*argv, *options], cwd=folder, timeout=60, input="quit\n", ok=None)
            if done.code == 0:
                return version
    return None


def plugin(folder: Path, version: int, markers: tuple[int, int], flash: Flash | None = None) -> list[str]:
    """QEMU options; the plugin is built into the folder of the run."""
    source = FIRMWARE / "count_plugin.c"
    target = folder / "count_plugin.so"
    run(["gcc", "-shared", "-fPIC", "-O2", f"-DTB_PLUGIN_VERSION={version}", source, "-o", target])
    begin, end = markers
    options = f"begin={begin:#x},end={end:#x},out=counts.txt"
    if flash is not None:
        options += f",profile=profile.txt,line={flash.line_bytes},lines={flash.lines}"
    return ["-plugin", f"./{target.name},{options}"]


def markers_of(program: Path) -> tuple[int, int] | None:
    """Addresses of tb_mark_begin and tb_mark_end, None in a program without them."""
    with program.open("rb") as stream:
        symbols: Any = ELFFile(stream).get_section_by_name(".symtab")
        found = [symbols.get_symbol_by_name(name) for name in ("tb_mark_begin", "tb_mark_end")]
        if None in found:
            return None
        begin, end = (symbol[0]["st_value"] & ~1 for symbol in found)  # bit 0 of an ARM address means Thumb
        return begin, end


def from_timer(board: Board, folder: Path) -> tuple[int, ...]:
    """The regions of counts.bin in instructions, the markers' own included."""
    ticks = np.fromfile(folder / "counts.bin", "<u4")
    if (ticks == TOO_LONG).any():
        raise PromiseError(board.name, "a region longer than the board's timer", "a QEMU that takes plugins")
    exact = ticks / board.ticks
    whole = np.rint(exact)
    if (np.abs(exact - whole) > NEAR).any():
        raise PromiseError(board.name, "a timer that does not follow -icount", f"{board.ticks} ticks each")
    return tuple(int(count) for count in whole)
