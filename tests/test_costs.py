# SPDX-License-Identifier: Apache-2.0
"""What a network costs on a board: instructions, counted exactly, and flash, RAM and stack."""

import numpy as np
import pytest

from tinybound.errors import CompileError
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.counting import PLUGIN, TIMER, methods
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

# SPIN executes 1 + 2 n instructions.
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
    tb_layer_begin(0, NULL, 0);
    SPIN(200);
    tb_layer_end(0, out, 8, NULL, 0, NULL, 0);
    tb_layer_begin(1, NULL, 0);
    SPIN(10);
    tb_layer_end(1, out, 8, NULL, 0, NULL, 0);
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
    """By every method; only what the markers themselves take differs, and it is subtracted."""
    x, totals = np.zeros((1, 1), np.int8), set()
    for by in methods(BOARDS[core]):
        counts = Emulated(BOARDS[core], counted_by=by).count(loop, "loop", loop, x)
        print(counts)
        assert counts.layers == (401, 21)
        assert counts.counted_by == by
        assert by == TIMER or counts.overhead == (2 if by == PLUGIN else 1)
        totals.add(counts.total)
    assert len(totals) == 1
    assert 422 < totals.pop() < 422 + 60  # memset, the call and the return


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
    assert worst_stack(GRAPH, "run", {}) == (24 + 8 + 200, ("memcpy",))
    by_address = GRAPH.replace("memcpy", "__indirect_call")
    assert worst_stack(by_address, "run", {}, {"a"}) == (24 + 8 + 200 + 100, ())
    assert worst_stack(GRAPH, "run", {"a": 240, "c": 100}) == (24 + 240, ("memcpy",))


def test_a_call_by_an_address_of_nobody_is_refused():
    with pytest.raises(CompileError, match="an address that no function here has"):
        worst_stack(GRAPH.replace("memcpy", "__indirect_call"), "run", {})


def test_recursion_has_no_bound():
    with pytest.raises(CompileError, match="calls itself"):
        worst_stack(GRAPH + 'edge: { sourcename: "n.c:c" targetname: "run" }', "run", {})


def test_a_frame_without_a_bound_is_refused():
    with pytest.raises(CompileError, match="frame without a bound"):
        worst_stack(GRAPH.replace("dynamic,bounded", "dynamic"), "run", {})
