# SPDX-License-Identifier: Apache-2.0
"""The driver, the emulated boards, memory checks and instruction counts, on a network written by hand."""

import time

import numpy as np
import pytest
from tinybound.errors import CompileError, PromiseError
from tinybound.simulate import emulated
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.footprint import footprint, worst_stack
from tinybound.simulate.host import Host

EMULATED = [Emulated(board) for board in BOARDS.values()]
MACHINES = [Host(), Host(sanitize=True), *EMULATED]
M4 = Emulated(BOARDS["cortex-m4"])


def _name(item):
    return item.name


HEADER = """
#include <stdint.h>
#define tiny_INPUT_SIZE 5
#define tiny_OUTPUT_SIZE 3
#define tiny_ARENA_SIZE 16
typedef int8_t tiny_input_t;
typedef int8_t tiny_output_t;
#ifdef WITH_BITS
#define tiny_HAS_BITS 1
#endif
int tiny_run(const tiny_input_t in[], tiny_output_t out[]);
int tiny_run_bits(const tiny_input_t in[], tiny_output_t out[], int bits);
"""

# Two layers: halves of the input in arena[4..8], with scratch in arena[0..3]; then products with weights.
# PLANT is a statement of layer 1 that must not go unnoticed.
SOURCE = r"""
#include "tiny.h"
#ifdef TB_TRACE
#include "tb_trace.h"
#else
#define tb_layer_begin(layer, arena, bytes)
#define tb_layer_end(layer, data, bytes, scratch, scratch_bytes, arena, arena_bytes)
#endif

static const int8_t weights[3] = {3, -2, 1};

#if defined(GUARDED)
static struct { uint8_t before[TB_GUARD]; int8_t arena[16]; uint8_t after[TB_GUARD]; }
    guarded = {TB_GUARD_BYTES, {0}, TB_GUARD_BYTES};
#define arena guarded.arena
#else
static int8_t arena[16];
#endif
static volatile int behind = 16;                    /* an index that the compiler cannot know */

int tiny_run_bits(const int8_t in[], int8_t out[], int bits)
{
    tb_layer_begin(0, arena, sizeof arena);
    for (int i = 0; i < 5; i++) {
        arena[i % 4] = in[i];
        arena[4 + i] = (int8_t)(in[i] / 2 - in[i] / 2 % (1 << (8 - bits)));
    }
    tb_layer_end(0, arena + 4, 5, arena, 4, arena, sizeof arena);
    tb_layer_begin(1, arena, sizeof arena);
    for (int i = 0; i < 3; i++) {
        out[i] = (int8_t)(arena[4 + i] * weights[i] / 4);
    }
    PLANT
    (void)behind;
    tb_layer_end(1, out, 3, 0, 0, arena, sizeof arena);
    return 0;
}

int tiny_run(const int8_t in[], int8_t out[])
{
    return tiny_run_bits(in, out, 8);
}
"""


def _expected(x, bits=8):
    """The same in numpy: (n, 5) -> (n, 5), (n, 3); divisions round towards zero as in C."""
    halves = np.trunc(x.astype(np.int64) / 2).astype(np.int64)
    halves -= np.fmod(halves, 1 << (8 - bits))
    outputs = np.trunc(halves[:, :3] * np.array([3, -2, 1]) / 4)
    return halves.astype(np.int8), outputs.astype(np.int8)


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.h").write_text(HEADER)
    (tmp_path / "tiny.c").write_text(SOURCE.replace("PLANT", "PLANTED"))
    return tmp_path


def _inputs(n):
    edges = [[-128] * 5, [127] * 5, [0] * 5, [-1] * 5, [1] * 5]
    rest = np.random.default_rng(1).integers(-128, 128, (n - len(edges), 5))
    return np.concatenate([edges, rest]).astype(np.int8)


def _run(machine, folder, plant="", *, x=None, trace=False, bits=8, defines=()):
    program = machine.build(folder, "tiny", folder, trace=trace, defines=[f"PLANTED={plant}", *defines])
    return machine.run(program, _inputs(8) if x is None else x, bits, folder)


@pytest.mark.parametrize("machine", MACHINES, ids=_name)
def test_outputs_and_traces_are_the_networks(machine, tiny):
    x = _inputs(1000)
    halves, outputs = _expected(x)

    plain = _run(machine, tiny, x=x)
    traced = _run(machine, tiny, x=x, trace=True)

    print(f"{machine.name}: n = {len(x)}")
    assert np.array_equal(plain.outputs, outputs)
    assert plain.traces == {}
    assert np.array_equal(traced.outputs, outputs)
    assert list(traced.traces) == [0, 1]
    assert np.array_equal(traced.traces[0].view(np.int8), halves)
    assert np.array_equal(traced.traces[1].view(np.int8), outputs)


@pytest.mark.parametrize("machine", [Host(), M4], ids=_name)
def test_run_time_bits_reach_the_network(machine, tiny):
    header = (tiny / "tiny.h").read_text()
    (tiny / "tiny.h").write_text("#define WITH_BITS\n" + header)
    x = _inputs(100)

    for bits in (3, 8):
        assert np.array_equal(_run(machine, tiny, x=x, bits=bits).outputs, _expected(x, bits)[1])


def test_no_vectors_are_no_error(tiny):
    result = _run(Host(), tiny, x=np.zeros((0, 5), np.int8), trace=True)

    assert len(result.outputs) == 0


@pytest.mark.parametrize("size", [4, 6])
def test_vectors_of_the_wrong_size_are_refused(size, tiny):
    with pytest.raises(CompileError, match=r"in\.bin is too (short|long)"):
        _run(M4, tiny, x=np.zeros((2, size), np.int8))


def test_real_inputs_are_refused(tiny):
    with pytest.raises(CompileError, match="expected int8 or uint8"):
        _run(Host(), tiny, x=np.zeros((2, 5)))


STRAY = {
    "arena[15] = 1;": r"layer 1 changed byte 15 of the arena, which has 16 bytes",
    "arena[3] = 1;": r"layer 1 changed byte 3 of the arena",  # scratch of layer 0, not of layer 1
    "arena[behind] = 1;": r"layer 1 changed byte 16 of the arena",
    "arena[behind - 17] = 1;": r"layer 1 changed byte -1 of the arena",
    "out[behind - 13] = 1;": r"layer 1 changed byte 3 of the output, which has 3 bytes",
    "out[behind - 17] = 1;": r"layer 1 changed byte -1 of the output",
    "((int8_t *)(uintptr_t)in)[2] ^= 1;": r"layer 1 changed byte 2 of the input",
}


@pytest.mark.parametrize(
    "machine, plant",
    [
        *((Host(), plant) for plant in STRAY),
        *((machine, plant) for machine in EMULATED for plant in ("arena[15] = 1;", "out[behind - 13] = 1;")),
    ],
)
def test_a_stray_write_is_caught_and_named(machine, plant, tiny):
    with pytest.raises(PromiseError, match=STRAY[plant]) as caught:
        _run(machine, tiny, plant, trace=True)

    assert caught.value.exit_code == 1


def test_known_bytes_around_the_arena_catch_a_stray_zero(tiny):
    with pytest.raises(PromiseError, match="layer 1 changed byte 16 of the arena"):
        _run(M4, tiny, "arena[behind] = 0;", trace=True, defines=["GUARDED"])


def test_reading_memory_that_was_never_written_changes_the_answer(tiny):
    x = _inputs(20)

    result = _run(Host(), tiny, "out[0] = arena[15];", x=x, trace=True)

    assert not np.array_equal(result.outputs[:, 0], np.zeros(20, np.int8))
    assert len(np.unique(result.outputs[:, 0])) == 20  # another one for every vector


@pytest.mark.parametrize(
    "plant, expected, trace",
    [
        ("arena[behind] = 1;", "index 16 out of bounds", False),
        ("out[behind - 13] = 1;", "AddressSanitizer: global-buffer-overflow", False),
        ("out[0] = in[behind - 11];", "AddressSanitizer: global-buffer-overflow", False),
        ("out[0] = in[behind - 17];", "AddressSanitizer: global-buffer-overflow", False),
        ("out[0] = in[behind - 11];", "AddressSanitizer: global-buffer-overflow", True),
    ],
)
def test_the_sanitizers_stop_at_a_bad_access(plant, expected, trace, tiny):
    with pytest.raises(PromiseError, match=expected):
        _run(Host(sanitize=True), tiny, plant, trace=trace)


def test_the_sanitizers_stop_at_undefined_behaviour(tiny):
    with pytest.raises(PromiseError, match="shift exponent"):
        _run(Host(sanitize=True), tiny, "out[0] = (int8_t)(1 << (behind + 20));")


@pytest.mark.parametrize("plant", ["int unused;", "int in = 3; out[0] = (int8_t)in;", "out[0] = behind;"])
def test_warnings_are_errors(plant, tiny):
    with pytest.raises(Exception, match=r"arm-none-eabi-gcc: exit code 1: .*error: "):
        _run(M4, tiny, plant)


@pytest.mark.parametrize("machine", EMULATED, ids=_name)
def test_a_fault_ends_the_run_and_is_named(machine, tiny):
    begin = time.monotonic()

    with pytest.raises(PromiseError, match=r"FAULT: (exception|cause) \d+ at 0x[0-9a-f]+ \(exit code 99\)"):
        _run(machine, tiny, "out[0] = *(volatile int8_t *)0x24000000u;")

    assert time.monotonic() - begin < 10


def test_an_unaligned_access_faults_on_a_cortex_m0plus_only(tiny):
    plant = "out[0] = (int8_t)*(volatile int32_t *)(uintptr_t)(arena + behind - 15);"

    with pytest.raises(PromiseError, match="FAULT"):
        _run(Emulated(BOARDS["cortex-m0plus"]), tiny, plant, trace=False)
    _run(Emulated(BOARDS["cortex-m3"]), tiny, plant, trace=False)


@pytest.mark.parametrize("machine", [Host(timeout=1), Emulated(BOARDS["cortex-m4"], timeout=1)], ids=_name)
def test_an_endless_run_is_stopped(machine, tiny):
    begin = time.monotonic()

    with pytest.raises(PromiseError, match="no end within 1 s"):
        _run(machine, tiny, "while (behind) { }")

    assert time.monotonic() - begin < 10


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

    counts = M4.count(loop, "loop", loop, np.zeros((1, 1), np.int8))

    assert (counts.total, counts.layers) == (None, ())
    assert counts.note == "this QEMU does not take the counting plugin"


@pytest.mark.parametrize("board", BOARDS.values(), ids=_name)
def test_footprint_adds_up(board, tiny):
    source = SOURCE.replace("PLANT", "").replace("{3, -2, 1}", "{3, -2, 1}; const int32_t more[100] = {1}")
    (tiny / "tiny.c").write_text(source)

    cost = footprint(board, tiny, "tiny", tiny)

    print(board.name, cost)
    assert cost.weight_bytes >= 400
    assert cost.flash_bytes == cost.code_bytes + cost.weight_bytes + 4  # `behind` starts as 16
    assert cost.ram_bytes == 16 + 4
    assert 0 <= cost.stack_bytes < 100
    assert cost.outside == (("__aeabi_idivmod",) if board.name == "cortex-m0plus" else ())  # it cannot divide
    assert (cost.library_bytes > 0) == (cost.outside != ())


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
