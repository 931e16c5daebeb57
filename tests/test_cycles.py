# SPDX-License-Identifier: Apache-2.0
"""Modelled cycles: code whose cycles are known by the manuals, and lines of flash."""

import numpy as np
import pytest
from test_costs import LOOP_HEADER

from tinybound.errors import CompileError, ToolMissing
from tinybound.simulate import cycles
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.cycles import BRANCHES, Flash
from tinybound.simulate.emulated import Emulated

pytest.importorskip("capstone", reason="capstone (extra `cycles`) is not installed")

# Aligned to 32 bytes: what lies in which flash line is known.
SOURCE = r"""
#include "loop.h"
static uint32_t memory[4];
__attribute__((noinline)) static void known(uint32_t *p)
{
    register uint32_t *at __asm__("r3") = p;
    __asm__ volatile(".syntax unified\n.balign 32\n" CODE
                     : "+r"(at) : : "r0", "r1", "r2", "r4", "cc", "memory");
}
int loop_run(const int8_t in[], uint8_t out[])
{
    (void)in;
    known(memory);
    out[0] = (uint8_t)memory[0];
    return 0;
}
"""

# code, cycles on a Cortex-M4 and on a Cortex-M0+ but for branches, branches taken
KNOWN = {
    "moves": ("movs r0, #1\nmovs r1, #2\n", 2, 2, 0),
    "a load, used": ("ldr r0, [r3]\nadds r0, r0, r0\n", 3, 3, 0),
    "loads in a row": ("ldr r0, [r3]\nldr r1, [r3, #4]\nmovs r2, #0\n", 4, 5, 0),
    "a load's address": ("mov r0, r3\nldr r3, [r3]\nmov r3, r0\nldr r1, [r3]\nmovs r1, #0\n", 7, 7, 0),
    "a store": ("str r0, [r3]\n", 1, 2, 0),
    "several": ("ldm r3!, {r0, r1, r2}\nsubs r3, #12\n", 5, 5, 0),
    "a product": ("muls r0, r1, r0\n", 1, 1, 0),
    "a loop": ("movs r0, #5\n1: subs r0, #1\nbne 1b\n", 11, 11, 4),
}

QUICK = ("a load, used", "a loop")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in KNOWN if name not in QUICK]


@pytest.fixture
def modelled(tmp_path):
    def run(core, code, flash=Flash()):  # noqa: B008 -- frozen
        (tmp_path / "loop.h").write_text(LOOP_HEADER)
        (tmp_path / "loop.c").write_text(SOURCE.replace("CODE", '"' + code.replace("\n", "\\n") + '"'))
        x = np.zeros((1, 1), np.int8)
        return Emulated(BOARDS[core]).profile(tmp_path, "loop", tmp_path, x, flash)

    return run


@pytest.mark.parametrize("core", BRANCHES)
@pytest.mark.parametrize("code", [*QUICK, *SLOW])
def test_known_code(code, core, modelled):
    """Against a function that does the rest alone."""
    text, *costs, taken = KNOWN[code]
    before, after = modelled(core, ""), modelled(core, text)

    for p in BRANCHES[core]:
        want = costs[list(BRANCHES).index(core)] + p * taken
        assert after["cycles"][f"P={p}"] - before["cycles"][f"P={p}"] == want


def test_what_is_no_instruction_is_told(tmp_path, monkeypatch):
    """In one line, as any other error: the program ran, but its code cannot be read."""
    monkeypatch.setattr(cycles, "_decoder", lambda _: lambda _: None)
    with pytest.raises(CompileError, match=r"loop\.elf, address 0x8.*no instruction") as refused:
        cycles.cycles("cortex-m4", tmp_path / "loop.elf", cycles.Profile({8: (1, 0)}, 0), Flash())
    assert "\n" not in str(refused.value)


def test_without_the_plugin_there_are_no_cycles(tmp_path):
    machine = Emulated(BOARDS["cortex-m4"], counted_by="timer")
    with pytest.raises(ToolMissing, match="cycles need the counting plugin"):
        machine.profile(tmp_path, "loop", tmp_path, np.zeros((1, 1), np.int8), Flash())


def test_lines_of_flash(modelled):
    """64 halfwords in a row are 8 lines of 16 bytes, or 16 of 8; they wait as often as they are fetched."""
    code = "movs r0, #1\n" * 64
    found = {bytes_: modelled("cortex-m4", code, Flash(3, bytes_)) for bytes_ in (8, 16)}
    none = {bytes_: modelled("cortex-m4", "", Flash(3, bytes_)) for bytes_ in (8, 16)}

    more = {b: found[b]["lines_fetched"] - none[b]["lines_fetched"] for b in found}
    assert more == {8: 16, 16: 8}
    for b, each in found.items():
        assert each["cycles"]["P=2"] - none[b]["cycles"]["P=2"] == 64 + 3 * more[b]
        assert f"3 wait states per line of {b} bytes" in each["model"]


def test_kept_lines_are_not_fetched_again(modelled):
    """A loop over two lines fetches them every time, or once."""
    code = "movs r0, #9\n1:" + "nop\n" * 9 + "subs r0, #1\nbne 1b\n"
    few, many = (modelled("cortex-m4", code, Flash(1, 16, lines))["lines_fetched"] for lines in (1, 8))

    assert few - many >= 2 * 8 - 2


@pytest.mark.parametrize("wrong", [(6, 16, 1), (-1, 16, 1), (0, 12, 1), (0, 16, 0)])
def test_bad_flash_is_one_line(wrong):
    with pytest.raises(CompileError, match="expected"):
        Flash(*wrong)


def test_a_core_without_a_model(modelled):
    with pytest.raises(CompileError, match="no cycle model"):
        modelled("cortex-m7", "")
