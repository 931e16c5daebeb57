# SPDX-License-Identifier: Apache-2.0
"""What a network costs on a board: instructions, counted exactly, and flash, RAM and stack."""

import numpy as np
import pytest

from tinybound.errors import CompileError
from tinybound.simulate import emulated
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.footprint import footprint, worst_stack

LOOP_HEADER = """
#include <stdint.h>
#define loop_INPUT_SIZE 1
#define loop_OUTPUT_SIZE 8
#define loop_ARENA_SIZE 0
typedef int8_t loop_input_t;
typedef uint8_t loop_output_t;
int loop_run(const loop_input_t in[], loop_output_t out[]);
"""

# SPIN executes 1 + 2 n instructions. With TIMER the CMSDK timer of the board measures them: one instruction
# is 1024 ns under -icount shift=10, a tick is 40 ns, and the timer counts down.
LOOP_SOURCE = r"""
#include "loop.h"
#include <stddef.h>
#include <string.h>
#ifdef TB_TRACE
#include "tb_trace.h"
#else
#define tb_layer_begin(layer, arena, bytes)
#define tb_layer_end(layer, data, bytes, scratch, scratch_bytes, arena, arena_bytes)
#endif
#ifdef __riscv
#define SPIN(n) __asm__ volatile("li t0, " #n "\n1: addi t0, t0, -1\n bnez t0, 1b" ::: "t0", "memory")
#else
#define SPIN(n) \
    __asm__ volatile(".syntax unified\nmovs r3, #" #n "\n1: subs r3, #1\n bne 1b" ::: "r3", "cc", "memory")
#endif

int loop_run(const int8_t in[], uint8_t out[])
{
    (void)in;
    memset(out, 0, 8);
#ifdef TIMER
    volatile uint32_t *timer = (volatile uint32_t *)0x40000000u;   /* control, value, reload */
    timer[0] = 0;
    timer[1] = timer[2] = 0xFFFFFFFFu;
    timer[0] = 1;
    uint32_t t0 = timer[1];
    SPIN(200);
    uint32_t t1 = timer[1];
    SPIN(10);
    uint32_t t2 = timer[1];
    uint32_t ticks[2] = {t0 - t1, t1 - t2};
    memcpy(out, ticks, 8);
#else
    tb_layer_begin(0, NULL, 0);
    SPIN(200);
    tb_layer_end(0, out, 8, NULL, 0, NULL, 0);
    tb_layer_begin(1, NULL, 0);
    SPIN(10);
    tb_layer_end(1, out, 8, NULL, 0, NULL, 0);
#endif
    return 0;
}
"""


@pytest.fixture
def loop(tmp_path):
    (tmp_path / "loop.h").write_text(LOOP_HEADER)
    (tmp_path / "loop.c").write_text(LOOP_SOURCE)
    return tmp_path


@pytest.mark.parametrize("core", BOARDS)
def test_counts_are_exact(core, loop):
    counts = Emulated(BOARDS[core]).count(loop, "loop", loop, np.zeros((1, 1), np.int8))

    print(counts)
    assert counts.layers == (401, 21)
    assert counts.overhead == 2
    assert counts.total is not None
    assert 422 < counts.total < 422 + 60  # memset, the call and the return


def test_the_timer_agrees_with_the_plugin(loop):
    machine = Emulated(BOARDS["cortex-m4"], arguments=("-icount", "shift=10"))
    program = machine.build(loop, "loop", loop, defines=["TIMER"])

    ticks = machine.run(program, np.zeros((1, 1), np.int8), 8, loop).outputs.view("<u4")[0].astype(float)

    instructions = np.rint(ticks * 40 / 1024)
    print(f"ticks {ticks}, instructions {instructions}")
    assert instructions[0] - instructions[1] == 401 - 21


def test_a_refused_plugin_gives_no_counts_and_says_so(loop, monkeypatch):
    monkeypatch.setattr(emulated, "PLUGIN_VERSIONS", (99,))

    counts = Emulated(BOARDS["cortex-m4"]).count(loop, "loop", loop, np.zeros((1, 1), np.int8))

    assert (counts.total, counts.layers) == (None, ())
    assert counts.note == "this QEMU does not take the counting plugin"


TABLE_SOURCE = """
#include "loop.h"
static const int32_t table[100] = {1};
static volatile int start = 16;
static int8_t arena[16];
int loop_run(const int8_t in[], uint8_t out[])
{
    arena[start & 15] = in[0];
    out[0] = (uint8_t)(table[start] + arena[0]);
    return 0;
}
"""


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_footprint_adds_up(board, loop):
    (loop / "loop.c").write_text(TABLE_SOURCE)

    cost = footprint(board, loop, "loop", loop)

    print(board.name, cost)
    assert cost.weight_bytes == 400
    assert 0 < cost.code_bytes < 100
    assert cost.flash_bytes == cost.code_bytes + 400 + 4  # `start` begins as 16
    assert cost.ram_bytes == 16 + 4
    assert 0 <= cost.stack_bytes < 32
    assert (cost.outside, cost.library_bytes) == ((), 0)


def test_footprint_names_library_functions(loop):
    cost = footprint(BOARDS["cortex-m0plus"], loop, "loop", loop)

    assert cost.outside == ("memset",)
    assert cost.library_bytes > 0


GRAPH = """graph: { title: "n.c"
node: { title: "run" label: "run\\nn.c:9:5\\n24 bytes (static)" }
node: { title: "n.c:a" label: "a\\nn.c:1:5\\n100 bytes (static)" }
node: { title: "n.c:b" label: "b\\nn.c:2:5\\n8 bytes (dynamic,bounded)" }
node: { title: "n.c:c" label: "c\\nn.c:3:5\\n200 bytes (static)" }
node: { title: "memcpy" label: "memcpy\\n<built-in>" shape : ellipse }
edge: { sourcename: "run" targetname: "n.c:a" label: "n.c:9:1" }
edge: { sourcename: "run" targetname: "n.c:b" label: "n.c:9:2" }
edge: { sourcename: "n.c:b" targetname: "n.c:c" }
edge: { sourcename: "n.c:c" targetname: "memcpy" }
}
"""


def test_the_stack_is_the_deepest_chain_of_calls():
    assert worst_stack(GRAPH, "run") == (24 + 8 + 200, ("memcpy",))


def test_recursion_has_no_bound():
    with pytest.raises(CompileError, match="calls itself"):
        worst_stack(GRAPH + 'edge: { sourcename: "n.c:c" targetname: "run" }', "run")


def test_a_frame_without_a_bound_is_refused():
    with pytest.raises(CompileError, match="frame without a bound"):
        worst_stack(GRAPH.replace("dynamic,bounded", "dynamic"), "run")
