# SPDX-License-Identifier: Apache-2.0
"""The stack that reports tell, against memory that was painted before a run: every kernel, every Thumb core,
an AVR. No kernel branches on activations, so a run goes as deep as any."""

import numpy as np
import pytest
import samples
from cost_layers import single

import tinybound
from tinybound.errors import CompileError
from tinybound.kernels import KERNELS
from tinybound.kernels.choose import kernel_plan
from tinybound.pipeline import build_networks
from tinybound.simulate import avr_stack
from tinybound.simulate.avr import _said
from tinybound.simulate.boards import AVR, BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import Artefact, packed
from tinybound.simulate.footprint import deepest, footprint
from tinybound.simulate.machine import FIRMWARE, build_for, judge, network_arguments, start
from tinybound.simulate.thumb_stack import _sum
from tinybound.targets.c import generate_c
from tinybound.tools import run

# Fills what is free below the stack, runs a network and sees how far down it wrote.
PAINT = """
#include TB_HEADER
#include "tb_io.h"
#include <string.h>
#ifndef TB_CALL
#define TB_CALL(in, out) TB_RUN(in, out)
#endif
#ifdef __AVR__
#include <avr/io.h>
extern uint8_t __heap_start;
const uint8_t tb_vectors[1] = {0}, tb_vectors_end[1] = {0};
#endif
static TB_INPUT_T in[TB_INPUT_SIZE];
static TB_OUTPUT_T out[TB_OUTPUT_SIZE];
int main(void)
{
    static uint32_t used;
    volatile uint8_t *top, *low;
    const int bits = 8;
    int file = tb_open("out.bin", TB_WRITE);
    (void)bits;
#ifdef __AVR__
    top = (uint8_t *)SP + 1;
    low = &__heap_start;
#else
    __asm__ volatile("mov %0, sp" : "=r"(top));
    low = top - 32768;
#endif
    for (volatile uint8_t *at = low; at < top; at++) {
        *at = 0xC5;
    }
    if (TB_CALL(in, out) != 0) {
        return 1;
    }
    while (*low == 0xC5) {
        low++;
    }
    used = (uint32_t)(top - low);
    return tb_write(file, &used, sizeof used) | tb_close(file);
}
"""


def painted(board, graph, plan, folder):
    """Bytes that a run writes below the stack pointer of its caller, and what the report tells."""
    for file, text in generate_c(graph, plan=plan).items():
        (folder / file).write_text(text)
    (folder / "paint.c").write_text(PAINT)
    elf, macros = folder / "paint.elf", packed(Artefact(graph, folder, None), "cortex-m4")
    parts = [folder / f"{graph.name}.c", folder / "paint.c", FIRMWARE / "tb_text.c"]
    parts += [FIRMWARE / part for part in board.platform]
    linking = [] if board is AVR else Emulated(board).linking
    build_for(
        board, graph.name, [*network_arguments(folder, graph.name, macros), *linking, *parts, "-o", elf]
    )
    if board is AVR:
        judge("avr", _said(start("avr", [board.emulator, *board.machine, elf], folder, 60), folder))
    else:
        judge(board.name, Emulated(board)._start(elf, folder))
    return int(np.fromfile(folder / "out.bin", "<u4")[0]), footprint(board, folder, graph.name, folder)


QUICK = ("halves", "neighbours", "ring", "add_split")
THUMB = [core for core in BOARDS if core.startswith("cortex")]
EACH = [
    pytest.param(core, k.name, marks=() if k.name in QUICK and core == "cortex-m4" else pytest.mark.slow)
    for core in ("cortex-m0plus", "cortex-m4")
    for k in KERNELS
    if not k.name.endswith(
        ("arg_max_16", "table_16", "curve_16", "int16_8", "int16_16")
    )  # no layers to measure
]


@pytest.mark.parametrize("core, name", EACH)
def test_a_kernel_on_a_thumb_core(core, name, tmp_path):
    """No more than told, and hardly less: what assembly pushes is counted, as what compilers do."""
    kernel = next(kernel for kernel in KERNELS if kernel.name == name)
    graph = next(single(kernel))[0]
    used, cost = painted(BOARDS[core], graph, kernel_plan(graph, (name,), core), tmp_path)
    print(f"{core} {name}: {used} bytes written, {cost.stack_bytes} told, outside {cost.outside}")
    assert used <= cost.stack_bytes + (64 if cost.outside else 0)
    assert used >= cost.stack_bytes - 64


@pytest.mark.parametrize("core", [pytest.param(core, marks=pytest.mark.slow) for core in THUMB])
def test_every_op_on_a_thumb_core(core, tmp_path):
    """No more than told: the deepest chain may be one that this network never takes."""
    graph = samples.build("samples", samples.all_samples(), relu=False)[1]
    used, cost = painted(BOARDS[core], graph, kernel_plan(graph, (), core), tmp_path)
    print(f"{core}: {used} bytes written, {cost.stack_bytes} told")
    assert used <= cost.stack_bytes


@pytest.mark.parametrize("name", ["controller2", "digits_mlp"])
def test_a_network_on_an_avr(name, examples, tmp_path):
    """But for the library functions, which the report names."""
    options = tinybound.Options(target="c", core="avr", domain="-1,1")
    graph = build_networks(examples / f"{name}.onnx", options, 2).integer_graph
    used, cost = painted(AVR, graph, kernel_plan(graph, (), "avr"), tmp_path)
    print(f"{name}: {used} bytes written, {cost.stack_bytes} told, outside {cost.outside}")
    assert cost.stack_bytes <= used <= cost.stack_bytes + 12
    assert cost.outside


def test_frames_of_an_avr():
    """The largest of copies, whatever they are called; a size that is not known is refused."""
    usage = "a.c:1:5:run\t8\tstatic\na.h:2:1:f\t20\tstatic\na.h:2:1:f\t30\tdynamic,bounded\n"
    assert avr_stack.frames(usage) == {"run": 8, "f": 30}
    assert avr_stack.frames(usage + "a.h:2:1:f.constprop\t40\tstatic\n") == {"run": 8, "f": 40}
    with pytest.raises(CompileError, match="without a bound"):
        avr_stack.frames("a.c:1:5:run\t8\tdynamic")


def test_calls_of_an_avr(tmp_path):
    """By CALL, by RCALL (a call of itself too) and by address; jumps within a function are none."""
    (tmp_path / "calls.c").write_text("""
        #define APART __attribute__((noinline))
        int leaf(int x); int other(int x); int run(int x); int twice(int x);
        extern int (*volatile pointer)(int);
        APART int leaf(int x) { while (x & 0x40) { pointer = leaf; x = x << 1; } return x; }
        APART int other(int x) { return leaf(x) + 1; }
        APART int twice(int x) { return x > 1 ? twice(x - 1) * twice(x - 2) : 1; }
        int run(int x) { pointer = other; return leaf(x) + twice(x) + pointer(x); }
    """)
    item = tmp_path / "calls.o"
    run([AVR.compiler, *AVR.flags, "-Os", "-ffunction-sections", "-c", tmp_path / "calls.c", "-o", item])
    found = {name: sorted({f for f in to if f != "pointer"}) for name, to in avr_stack.calls(item).items()}
    assert found["run"] == ["leaf", "other", "twice"]
    assert found["other"] == ["leaf"]
    assert "twice" in found["twice"]
    with pytest.raises(CompileError, match="calls itself"):
        deepest("run", dict.fromkeys(found, 4), found)


PUSHES = {
    "push {r4-r7, lr}": 20,
    "push {r4-r11, lr}": 36,
    "sub sp, #116": 116,
    "sub sp, sp, #3072": 3072,
    "subw sp, sp, #1001": 1001,
    "sub sp, sp, #0x00120012": 0x00120012,
    "str r8, [sp, #-4]!": 4,
    "str r1, [sp, #-24]!": 24,
    "strd r4, r5, [sp, #-16]!": 16,
    "vpush {d8-d10}": 24,
    "sub r1, sp, #12": 0,
    "add sp, #12": 0,
    "ldr.w r0, [sp, #12]": 0,
    "pop {r4, pc}": 0,
}


def test_what_lowers_the_stack_pointer(tmp_path):
    board = BOARDS["cortex-m4"]
    for text, wanted in PUSHES.items():
        (tmp_path / "a.s").write_text(f".syntax unified\n.thumb\n{text}\n")
        run([board.compiler, *board.flags, "-c", tmp_path / "a.s", "-o", tmp_path / "a.o"])
        run(["arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", tmp_path / "a.o", tmp_path / "a.bin"])
        assert _sum((tmp_path / "a.bin").read_bytes()) == wanted, text
