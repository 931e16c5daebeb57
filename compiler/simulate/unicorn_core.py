# SPDX-License-Identifier: Apache-2.0
"""Cortex-M programs without QEMU: the Python package unicorn runs them, we serve their files and count.

Counted are the blocks that begin between the two markers of firmware/tb_count.c, each with as many
instructions as its bytes hold; a block ends at the first branch, so all of them are executed.
"""

from __future__ import annotations

from importlib import import_module, util
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from ..tools import Completed
from .boards import Board

INSTALL = 'pip install "tinybound[unicorn]"'
FAULT = 99
MEMORIES = ((0x00000000, 4 << 20), (0x10000000, 4 << 20), (0x20000000, 4 << 20), (0x38000000, 4 << 20))
SYSTEM = (0xE0000000, 1 << 20)  # control registers: the start-up code writes some
BREAKPOINT = 0xBEAB  # the instruction that asks for a file


def installed() -> bool:
    """Whether the package is there. Not imported: it loads a library."""
    return util.find_spec("unicorn") is not None


class Semihosting:
    """The few operations of firmware/semihost.c, on files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Any] = []
        self.said: list[str] = []
        self.code: int | None = None

    def serve(self, memory: Any, operation: int, block: int) -> int:
        """memory: mem_read and mem_write. The result of the operation."""

        def word(i: int) -> int:
            return int.from_bytes(memory.mem_read(block + 4 * i, 4), "little")

        if operation == 0x01:  # SYS_OPEN: name, mode, length of the name
            name = bytes(memory.mem_read(word(0), word(2))).decode()
            mode = {1: "rb", 5: "wb"}[word(1)]
            try:
                self.files.append((self.folder / name).open(mode))
            except OSError:
                return -1
            return len(self.files) - 1
        if operation == 0x02:  # SYS_CLOSE
            self.files[word(0)].close()
            return 0
        if operation == 0x04:  # SYS_WRITE0
            while letter := memory.mem_read(block, 1)[0]:
                self.said.append(chr(letter))
                block += 1
            return 0
        if operation == 0x05:  # SYS_WRITE: file, data, bytes; what was not written
            self.files[word(0)].write(bytes(memory.mem_read(word(1), word(2))))
            return 0
        if operation == 0x06:  # SYS_READ
            data = self.files[word(0)].read(word(2))
            memory.mem_write(word(1), data)
            return word(2) - len(data)
        self.code = word(1)  # SYS_EXIT_EXTENDED: the reason, the code
        return 0

    def close(self) -> None:
        """All files, also of a program that did not come to its end."""
        for file in self.files:
            file.close()


def execute(
    board: Board, program: Path, folder: Path, timeout: float, markers: tuple[int, int] | None
) -> Completed:
    """Run a program to its end in the folder of its files; with markers, write counts.txt as the plugin does.

    timeout: seconds, then the exit code is that of a killed process. Only where installed().
    """
    unicorn: Any = import_module("unicorn")
    arm: Any = import_module("unicorn.arm_const")
    core = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    core.ctl_set_cpu_model(getattr(arm, f"UC_CPU_ARM_{board.unicorn}"))
    for start, size in (*MEMORIES, SYSTEM):
        core.mem_map(start, size)
    with program.open("rb") as stream:
        loaded = [part for part in ELFFile(stream).iter_segments() if part["p_type"] == "PT_LOAD"]
        for part in loaded:
            core.mem_write(part["p_paddr"], part.data())
    vectors = min(part["p_paddr"] for part in loaded if part["p_filesz"])
    stack, entry = (int.from_bytes(core.mem_read(vectors + i, 4), "little") for i in (0, 4))
    core.reg_write(arm.UC_ARM_REG_SP, stack)
    host = Semihosting(folder)

    def asked(_: Any, number: int, __: Any) -> None:
        at = core.reg_read(arm.UC_ARM_REG_PC)
        if int.from_bytes(core.mem_read(at, 2), "little") != BREAKPOINT:
            host.said.append(f"FAULT: exception {number} at {at:#x}\n")
            host.code = FAULT
        else:
            registers = (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1)
            result = host.serve(core, *(core.reg_read(register) for register in registers))
            core.reg_write(arm.UC_ARM_REG_R0, result & 0xFFFFFFFF)
            core.reg_write(arm.UC_ARM_REG_PC, at + 2 | 1)  # bit 0: still Thumb
        if host.code is not None:
            core.emu_stop()

    core.hook_add(unicorn.UC_HOOK_INTR, asked)
    regions: list[int] = []
    if markers:
        _count(core, unicorn.UC_HOOK_BLOCK, markers, regions)
    try:
        core.emu_start(entry, 0xFFFFFFFE, timeout=int(timeout * 1e6))
    except unicorn.UcError as error:
        host.said.append(f"FAULT: {error} at {core.reg_read(arm.UC_ARM_REG_PC):#x}\n")
        host.code = FAULT
    finally:
        host.close()
    if markers:
        (folder / "counts.txt").write_text("".join(f"{count}\n" for count in regions))
    return Completed("", "".join(host.said), -9 if host.code is None else host.code)


def _count(core: Any, hook: int, markers: tuple[int, int], regions: list[int]) -> None:
    """Append the instructions of every region to `regions`."""
    begin, end = markers
    blocks: dict[tuple[int, int], int] = {}
    lengths: dict[tuple[int, int], int] = {}
    counting = False

    def block(_: Any, address: int, size: int, __: Any) -> None:
        nonlocal counting
        if address == begin:
            counting = True
            blocks.clear()
        elif address == end:
            counting = False
            for place in blocks:
                if place not in lengths:
                    lengths[place] = instructions(bytes(core.mem_read(*place)))
            regions.append(sum(lengths[place] * times for place, times in blocks.items()))
        elif counting:
            blocks[address, size] = blocks.get((address, size), 0) + 1

    core.hook_add(hook, block)


def instructions(code: bytes) -> int:
    """How many Thumb instructions are in the bytes: those of 4 begin with 11101, 11110 or 11111."""
    at = count = 0
    while at < len(code):
        at += 4 if code[at + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
        count += 1
    return count
