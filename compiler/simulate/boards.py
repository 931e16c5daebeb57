# SPDX-License-Identifier: Apache-2.0
"""The emulated boards: one line of facts per core."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Board:
    """A core, the compiler options for it and the QEMU machine that runs it. Files are those of firmware/.

    timer   what measures time under QEMU's -icount, and where
    shift   2**shift ns is then the time of an instruction, and `ticks` what the timer makes of it
    unicorn the core's name there; "": it runs in QEMU alone
    """

    name: str
    compiler: str
    flags: tuple[str, ...]
    linker_script: str
    platform: tuple[str, ...]
    emulator: str
    machine: tuple[str, ...]
    timer: tuple[str, ...]
    shift: int
    ticks: float
    unicorn: str = ""
    caution: str = ""  # what this emulation does not show
    counts: str = "instructions"  # or "cycles"
    dsp: bool = False  # whether it multiplies and adds two pairs of half words at once
    ram: int | None = None  # bytes, where constants lie there too


_ARM_FILES = ("arm_start.c", "semihost.c", "arm_semihost.c")
_DSP = ("cortex-m4", "cortex-m7", "cortex-m33")
_SHIFT = 8  # 256 ns, many ticks of the timers: each count is then far from the next one


def _cortex(
    core: str,
    machine: str,
    *options: str,
    script: str = "mps2.ld",
    timer: str = "0x40000000u",
    tick: int = 40,
    caution: str = "",
) -> Board:
    """tick: ns of the board's first timer."""
    return Board(
        core,
        "arm-none-eabi-gcc",
        ("-mthumb", f"-mcpu={core}", *options, "--specs=nosys.specs"),
        script,
        _ARM_FILES,
        "qemu-system-arm",
        ("-M", machine),
        ("arm_timer.c", f"TB_TIMER={timer}"),
        _SHIFT,
        2**_SHIFT / tick,
        core.upper().replace("-", "_").replace("M0PLUS", "M0"),
        caution,
        dsp=core in _DSP,
    )


BOARDS: Mapping[str, Board] = {
    board.name: board
    for board in (
        _cortex(
            "cortex-m0plus",
            "mps2-an385",  # a Cortex-M3, whose instructions include all of the M0+'s
            caution="runs on an emulated Cortex-M3: an instruction that is illegal on a Cortex-M0+ would not "
            "trap (the assembler refuses it); unaligned accesses do trap",
        ),
        _cortex("cortex-m3", "mps2-an385"),
        _cortex("cortex-m4", "mps2-an386", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
        _cortex("cortex-m7", "mps2-an500", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
        _cortex(
            *("cortex-m33", "mps2-an505", "-mfloat-abi=hard"),
            script="an505.ld",
            timer="0x50000000u",  # its secure alias
            tick=50,
        ),
        Board(
            "rv32imc",
            "riscv64-unknown-elf-gcc",
            ("-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"),
            "virt.ld",
            ("riscv_start.c", "semihost.c", "riscv_semihost.c"),
            "qemu-system-riscv32",
            ("-M", "virt", "-bios", "none"),
            ("riscv_timer.c",),
            0,
            1.0,
        ),
    )
}

AVR = Board(
    "avr",
    "avr-gcc",
    # so that frames hold the arguments of calls, and sections all variables
    ("-mmcu=atmega1284p", "-maccumulate-args", "-fno-common"),
    "",  # the compiler's own
    ("avr_io.c",),
    "simavr",
    ("-m", "atmega1284p", "-f", "16000000"),
    ("avr_timer.c",),
    0,
    1.0,
    caution="constants lie in RAM; no fault stops it",
    counts="cycles",
    ram=16384,
)

# Of AVRs the smallest networks can ask by name; the others run whatever fits a microcontroller.
EVERY: Mapping[str, Board] = {**BOARDS, "avr": AVR}
