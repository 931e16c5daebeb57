# SPDX-License-Identifier: Apache-2.0
"""The driver, the emulated boards and the watch over memory, on a network written by hand."""

import time

import numpy as np
import pytest

from tinybound.errors import CompileError, PromiseError
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
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
    (tiny / "tiny.h").write_text("#define tiny_HAS_BITS 1\n" + header)
    x = _inputs(100)

    for bits in (3, 8):
        assert np.array_equal(_run(machine, tiny, x=x, bits=bits).outputs, _expected(x, bits)[1])


def test_several_inputs_and_outputs_are_pieces_of_one_buffer(tmp_path):
    header = HEADER.replace("tiny_INPUT_SIZE 5", "tiny_A_SIZE 2").replace(
        "tiny_OUTPUT_SIZE 3", "tiny_Y_SIZE 2"
    )
    lists = "const int8_t a[], const int8_t b[], int8_t y[], int8_t z[]"
    (tmp_path / "tiny.h").write_text(f"{header}\nint two_run({lists});")
    body = "{ y[0] = a[0]; y[1] = b[0]; z[0] = a[1]; return 0; }"
    (tmp_path / "tiny.c").write_text(f'#include "tiny.h"\nint two_run({lists}) {body}\n')
    defines = ["TB_INPUT_SIZE=3", "TB_OUTPUT_SIZE=3", "TB_CALL(in,out)=two_run(in, in + 2, out, out + 2)"]

    program = M4.build(tmp_path, "tiny", tmp_path, defines=defines)
    result = M4.run(program, np.array([[1, 2, 3]], np.int8), 8, tmp_path)

    assert result.outputs.tolist() == [[1, 3, 2]]


@pytest.mark.parametrize("arena", ["static int8_t arena[1];", ""])
def test_a_network_may_need_no_arena(arena, tmp_path):
    (tmp_path / "tiny.h").write_text(HEADER.replace("ARENA_SIZE 16", "ARENA_SIZE 0"))
    area = "arena, sizeof arena" if arena else "0, 0"
    (tmp_path / "tiny.c").write_text(
        f'#include "tiny.h"\n#include "tb_trace.h"\n{arena}\n'
        "int tiny_run(const int8_t in[], int8_t out[])\n{\n"
        f"tb_layer_begin(0, {area});\nout[0] = out[1] = out[2] = in[4];\n"
        f"tb_layer_end(0, out, 3, 0, 0, {area});\nreturn 0;\n}}\n"
    )

    program = M4.build(tmp_path, "tiny", tmp_path, trace=True)
    result = M4.run(program, _inputs(8), 8, tmp_path)

    assert np.array_equal(result.traces[0].view(np.int8), _inputs(8)[:, [4, 4, 4]])


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
    ("machine", "plant"),
    [
        *((Host(), plant) for plant in STRAY),
        *((machine, "arena[15] = 1;") for machine in EMULATED),
        (M4, "out[behind - 13] = 1;"),
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
    ("plant", "expected", "trace"),
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
