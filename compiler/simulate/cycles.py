# SPDX-License-Identifier: Apache-2.0
"""Cycles of an inference, modelled from how often every instruction was executed; emulators have none.

In order, one instruction at a time: a number per instruction, P more for each one that does not go on to the
next, and `wait_states` for every line that is fetched from flash and not among the last `lines` ones.
Reads of data from flash wait for nothing: boards cache or prefetch these in ways of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from ..errors import CompileError, ToolMissing

BRANCHES = {"cortex-m4": (1, 2, 3), "cortex-m0plus": (1,)}  # what the pipeline's refill may cost
WAIT_STATES = range(6)


@dataclass(frozen=True)
class Flash:
    """What stands between the core and its code: wait states per line, bytes of a line, lines kept."""

    wait_states: int = 0
    line_bytes: int = 16
    lines: int = 1

    def __post_init__(self) -> None:
        if self.wait_states not in WAIT_STATES:
            raise CompileError("--wait-states", f"{self.wait_states}", "0 ... 5")
        if self.line_bytes not in (4, 8, 16, 32):
            raise CompileError("--line-bytes", f"{self.line_bytes}", "4, 8, 16 or 32")
        if not 1 <= self.lines <= 1024:
            raise CompileError("--cache-lines", f"{self.lines}", "1 ... 1024")


@dataclass(frozen=True)
class Profile:
    """Address -> (executed, of which not followed by the next instruction); lines fetched from flash."""

    executed: Mapping[int, tuple[int, int]]
    fetched: int


def read_profiles(path: Path) -> list[Profile]:
    """What firmware/count_plugin.c wrote, a profile per region."""
    found: list[Profile] = []
    places: dict[int, tuple[int, int]] = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if words[0] == "fetched":
            found.append(Profile(places, int(words[1])))
            places = {}
        else:
            places[int(words[0])] = int(words[1]), int(words[2])
    return found


def cycles(core: str, program: Path, profile: Profile, flash: Flash) -> dict[str, Any]:
    """Modelled cycles by what a branch costs, and the model in words; CompileError: no model of the core."""
    if core not in BRANCHES:
        raise CompileError(core, "no cycle model", f"one of {', '.join(BRANCHES)}")
    code = _decoder(program)
    base = 0
    for at, (n, _) in profile.executed.items():
        instruction = code(at)
        if instruction is None:
            raise CompileError(f"{program.name}, address {at:#x}", "no instruction for capstone", "one")
        base += n * _cost(core, instruction, code(at + instruction.size))
    taken = sum(n for _, n in profile.executed.values())
    waits = flash.wait_states * profile.fetched
    return {
        "model": f"{core}, in order, branch +P, {flash.wait_states} wait states per line of "
        f"{flash.line_bytes} bytes, the last {flash.lines} kept, data without waits",
        "cycles": {f"P={p}": base + p * taken + waits for p in BRANCHES[core]},
        "lines_fetched": profile.fetched,
    }


def _decoder(program: Path) -> Callable[[int], Any]:
    """What capstone makes of an address in the code of an ELF file; None where that is no instruction."""
    try:
        import capstone
    except ImportError as error:
        raise ToolMissing("capstone", "not installed", "it, for cycles", "pip install capstone") from error
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    decoder.detail = True
    with program.open("rb") as stream:
        sections = [
            (section["sh_addr"], section.data())
            for section in ELFFile(stream).iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_type"] == "SHT_PROGBITS"
        ]

    @cache
    def at(address: int) -> Any:
        for start, data in sections:
            if start <= address < start + len(data):
                return next(decoder.disasm(data[address - start :][:4], address, 1), None)
        return None

    return at


def _cost(core: str, instruction: Any, following: Any) -> int:
    """Cycles of one instruction without branching, by the tables of ARM's technical reference manuals."""
    name = instruction.mnemonic.split(".")[0]
    registers = len(instruction.operands)
    if name.startswith(("push", "pop", "vpush", "vpop")):
        return 1 + registers
    if name.startswith(("ldm", "stm", "vldm", "vstm")):
        return registers  # 1, and one per register, which the base is not
    small = core == "cortex-m0plus"
    if name.startswith(("ldrd", "strd")):
        return 3
    if name.startswith(("ldr", "vldr")):
        return 2 if small or not _pipelined(instruction, following) else 1
    if name.startswith(("str", "vstr")):
        return 2 if small else 1
    if name.startswith(("sdiv", "udiv")):
        return 7
    if name.startswith(("vdiv", "vsqrt")):
        return 14
    return 3 if name.startswith(("vfma", "vmla")) else 1 + (small and name == "bl")


def _pipelined(load: Any, following: Any) -> bool:
    """Whether a load or store follows whose address does not need what is loaded."""
    if following is None or not following.mnemonic.startswith(("ldr", "str", "vldr", "vstr")):
        return False
    result = load.operands[0].reg
    return all(result not in (x.mem.base, x.mem.index) for x in following.operands if x.type == 3)
