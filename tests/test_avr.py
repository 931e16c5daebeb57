# SPDX-License-Identifier: Apache-2.0
"""Networks on an AVR in simavr: the same integers, exact cycles, and refused where they do not fit."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import samples
import test_int16

import tinybound
from tinybound.errors import CompileError, PromiseError
from tinybound.firmware_image import board_of, make_firmware
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Add, Elu, MatMul, Mul, Softmax
from tinybound.ops.base import Sample, Scaled
from tinybound.passes.run_time_bits import has_bits
from tinybound.pipeline import build_networks
from tinybound.simulate.avr import Avr
from tinybound.simulate.boards import AVR
from tinybound.simulate.counting import SIMAVR
from tinybound.targets.c import generate_c
from tinybound.terminal import show_report

pytestmark = pytest.mark.usefixtures("quick_attack")

MACHINE = Avr(AVR, timeout=60)

HEADER = """
#include <stdint.h>
#define loop_INPUT_SIZE 2
#define loop_OUTPUT_SIZE 3
#define loop_ARENA_SIZE 4
typedef int8_t loop_input_t;
typedef int8_t loop_output_t;
int loop_run(const loop_input_t in[], loop_output_t out[]);
"""

# SPIN takes 4 n + 1 cycles: two of loading n, then a subtraction of 2 and a branch of 2, the last one of 1.
SOURCE = """
#include "loop.h"
#ifdef TB_TRACE
#include "tb_trace.h"
#else
#define tb_layer_begin(layer, arena, bytes)
#define tb_layer_end(layer, data, bytes, scratch, scratch_bytes, arena, arena_bytes)
#endif
#define SPIN(n) __asm__ volatile("ldi r24, lo8(" #n ")\\n ldi r25, hi8(" #n ")\\n1: sbiw r24, 1\\n brne 1b" \\
                                 ::: "r24", "r25")
static int8_t arena[4];
static const int8_t weights[WEIGHTS] = {7, 7};
int loop_run(const int8_t in[], int8_t out[])
{
    (void)arena;
    tb_layer_begin(0, arena, sizeof arena);
    SPIN(10);
    tb_layer_end(0, arena, 2, 0, 0, arena, sizeof arena);
    tb_layer_begin(1, arena, sizeof arena);
    SPIN(16384);
    tb_layer_end(1, arena, 2, 0, 0, arena, sizeof arena);
    tb_layer_begin(2, arena, sizeof arena);
    SPIN(60000);
    out[0] = in[1];
    out[1] = in[0];
    out[2] = weights[in[0] & 1];
    PLANT
    tb_layer_end(2, out, 3, 0, 0, arena, sizeof arena);
    return 0;
}
"""


@pytest.fixture
def loop(tmp_path):
    def write(plant="", weights=2):
        (tmp_path / "loop.h").write_text(HEADER)
        (tmp_path / "loop.c").write_text(SOURCE.replace("PLANT", plant).replace("WEIGHTS", str(weights)))
        return tmp_path

    return write


def test_cycles_are_exact(loop):
    """Also beyond what a timer of 16 bits counts."""
    folder = loop()
    counts = MACHINE.count(folder, "loop", folder, np.zeros((1, 2), np.int8))

    print(counts)
    assert counts.layers[:2] == (41, 65537)
    assert 240001 < counts.layers[2] < 240001 + 30
    assert sum(counts.layers) < counts.total < sum(counts.layers) + 60
    assert (counts.unit, counts.counted_by) == ("cycles", SIMAVR)


@pytest.mark.parametrize("name, bits", [("controller2", 8), ("digits_mlp", 8), ("controller4", 16)])
def test_cycles_are_the_same_for_every_input(name, bits, examples, tmp_path):
    """Products of the compiler's library branch on signs and carries: none is used on data."""
    options = tinybound.Options(target="c", core="avr", domain="-1,1", activations=bits)
    graph = build_networks(examples / f"{name}.onnx", options, 2).integer_graph
    for file, text in generate_c(graph, plan=kernel_plan(graph, (), "avr")).items():
        (tmp_path / file).write_text(text)
    rng, size = np.random.default_rng(0), sum(graph.values[n].size for n in graph.inputs)
    end = 1 << (bits - 1)
    x = np.stack([np.full(size, -end), np.full(size, end - 1), *rng.integers(-end, end, (3, size))])
    counts = MACHINE.count_each(tmp_path, name, tmp_path, x.astype(f"<i{bits // 8}").view(np.uint8))
    assert len({(each.total, each.layers) for each in counts}) == 1


def wide_ops():
    """Names of test_int16's ops that an AVR's RAM holds; the default run has one of each kernel."""
    first = ["depthwise1", "all_Conv2", "down_Conv4", "all_Dense1", "all_AveragePool0", "mix_Mul1"]
    for name, sample in test_int16.parts():
        if name not in ("dense", "conv"):
            marks = () if name in first else pytest.mark.slow
            yield pytest.param(name, sample, id=name, marks=marks)


@pytest.mark.parametrize("name, sample", list(wide_ops()))
def test_every_op_of_16_bits(name, sample, tmp_path):
    """Integers are golden's, products of more than 16 bits too; cycles are the same for every input."""
    graph = samples.build(name, [(name, sample)], relu=False)[1]
    x, texts = samples.vectors(graph, 6, seed=5), generate_c(graph, plan=kernel_plan(graph, (), "avr"))
    wrong, compared, first = samples.mismatches(
        graph, x, samples.OnMachine(MACHINE)(graph, x, tmp_path, texts=texts)[8]
    )
    counts = MACHINE.count_each(tmp_path, f"{name}_whole", tmp_path, samples.flatten(graph, x))

    print(compared, counts[0].total)
    assert compared >= 6
    assert wrong == 0, first
    assert len({each.total for each in counts}) == 1


def test_signs_and_words(tmp_path):
    """Differences, products of two tensors whose sums are as often below 0 as above, softmax, a function
    of 16 bits (its knee is no end of a piece): golden's integers, the same cycles for every input."""
    named = []
    for bits, op in product((8, 16), (Add(mb=-1), Mul(), MatMul((1, 2, 3, 4)))):
        unit = Scaled(Fraction(3, 1 << bits), 5, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        shapes = ((2, 4), (3, 4)) if isinstance(op, MatMul) else ((2, 4), (2, 4))
        sample = Sample(op, shapes, (unit, replace(unit, zero=-9)), replace(unit, scale=unit.scale * 2))
        named.append((f"{type(op).__name__}{bits}", sample))
    named.append(("Softmax16", Sample(Softmax(), ((2, 4),), (replace(unit, zero=0),), Softmax.wide_out)))
    named.append(("Elu16", Sample(Elu(1.5), ((2, 4),), (unit,), unit)))
    graph = samples.build("signs", named, relu=None)[1]
    x, texts = samples.vectors(graph, 10, seed=1), generate_c(graph, plan=kernel_plan(graph, (), "avr"))

    got = samples.OnMachine(MACHINE)(graph, x, tmp_path, texts=texts)[8]

    wrong, compared, first = samples.mismatches(graph, x, got)
    counts = MACHINE.count_each(tmp_path, "signs_whole", tmp_path, samples.flatten(graph, x))
    assert compared > 400
    assert wrong == 0, first
    assert len({each.layers for each in counts}) == 1


def test_more_vectors_than_flash_holds_at_once(loop, monkeypatch):
    monkeypatch.setattr("tinybound.simulate.avr.VECTORS", 6)
    folder = loop()
    x = np.arange(14, dtype=np.int8).reshape(7, 2)
    for trace in (False, True):
        result = MACHINE.run(MACHINE.build(folder, "loop", folder, trace=trace), x, 8, folder)
        assert result.outputs.tolist() == [[b, a, 7] for a, b in x.tolist()]
    assert result.traces[2].shape == (7, 3)
    counts = MACHINE.count_each(folder, "loop", folder, x)
    assert [each.layers[0] for each in counts] == 7 * [41]


@pytest.mark.parametrize(
    "plant, said",
    [
        ("arena[3] = 1;", "layer 2 changed byte 3 of the arena"),
        ("return 1;", "did not return 0"),
        ('__asm__ volatile("cli\\n sleep");', "no end of the program"),
    ],
)
def test_what_goes_wrong_is_told(plant, said, loop):
    folder = loop(plant)
    program = MACHINE.build(folder, "loop", folder, trace=True)
    with pytest.raises(PromiseError, match=said):
        MACHINE.run(program, np.zeros((1, 2), np.int8), 8, folder)


@pytest.mark.parametrize("name", ["controller2", pytest.param("digits_mlp", marks=pytest.mark.slow)])
def test_networks(name, examples, tmp_path, capsys):
    """compile --core avr, verify --on avr and firmware --board: plain kernels, no layer differs."""
    options = tinybound.Options(target="c", core="avr", domain="-1,1")
    build = tinybound.compile(examples / f"{name}.onnx", tmp_path / "build", options)
    assert {layer["kernel"] for layer in build.report["layers"]} <= {"int8", "reorder", "table"}
    report, frames = build.report, build.report["stack_functions"]
    assert report["stack_bytes"] == frames[f"{name}_run"] + frames["tb_affine_int8"]
    total = report["ram_bytes"] + report["input_bytes"] + report["output_bytes"] + report["stack_bytes"]
    assert report["ram_with_stack_bytes"] == total
    assert "RAM: arena and constants" in (tmp_path / "build" / "report.html").read_text()
    show_report(build.report, tmp_path, as_json=False)
    assert f"RAM: arena and constants {build.report['ram_bytes']} B" in capsys.readouterr().out
    assert build.verify(["avr"]).ok

    report = make_firmware(build, board_of("atmega1284p"))

    cycles = report["cycles"]["avr"]["cycles"]["counted"]
    layers = [layer["cycles"]["avr"] for layer in report["layers"]]
    print(f"{name}: {cycles} cycles, {layers}, {cycles / report['macs']:.0f} per MAC")
    assert abs(cycles - sum(layers)) < 0.01 * cycles
    assert "avr" not in report["instructions"]
    assert report["counted_by"]["avr"] == SIMAVR
    assert (tmp_path / "build" / "firmware" / f"{name}-avr.elf").stat().st_size > 1000


def test_without_a_compiler_no_constants_are_told(examples, tmp_path, capsys, monkeypatch):
    """The arena is planned; what lies beside it in RAM only the compiler of the core knows."""
    monkeypatch.setenv("PATH", str(tmp_path))
    options = tinybound.Options(target="c", core="avr", domain="-1,1")
    build = tinybound.compile(examples / "controller2.onnx", tmp_path / "build", options)
    show_report(build.report, tmp_path, as_json=False)
    told = capsys.readouterr().out
    assert "avr-gcc: not found" in told
    assert "RAM: arena 32 B" in told
    assert "RAM: arena<b>32 B" in (tmp_path / "build" / "report.html").read_text()


def test_what_does_not_fit_is_refused(examples, tmp_path, loop):
    """In one line: constants that RAM does not hold, or an array that no AVR holds."""
    folder = loop(weights=15800)
    with pytest.raises(CompileError, match=r"\d+ bytes of constants and variables.*at most 15872"):
        MACHINE.build(folder, "loop", folder)
    header = folder / "loop.h"
    header.write_text(HEADER.replace("_INPUT_SIZE 2", "_INPUT_SIZE 15800"))  # the driver's buffer counts too
    (folder / "loop.c").write_text(SOURCE.replace("PLANT", "").replace("WEIGHTS", "2"))
    with pytest.raises(CompileError, match=r"1\d{4} bytes of constants and variables"):
        MACHINE.build(folder, "loop", folder)
    held = examples / "digits_mlp_calibration.npz"
    options = tinybound.Options(target="c", core="avr", calibration=held, weights=("pool64",))
    with pytest.raises(CompileError, match=r"32768 bytes of constants and variables.*atmega1284p"):
        tinybound.compile(examples / "digits_mlp.onnx", tmp_path / "build", options)


def test_constants_count_for_max_ram(examples, tmp_path):
    """They lie in RAM there: alone too many for a limit that arena, input and output would keep."""
    options = {"domain": "-1,1", "core": "avr", "target": "c", "max_ram": 2000}
    with pytest.raises(PromiseError, match=r"--max-ram: [0-9]{4} bytes of constants, arena"):
        tinybound.compile(examples / "digits_mlp.onnx", tmp_path / "B", tinybound.Options(**options))
    assert not (tmp_path / "B").exists()


@pytest.mark.slow
@pytest.mark.parametrize("core", ["avr", "rv32imc"])
@pytest.mark.parametrize("name, sample", samples.all_samples(), ids=lambda x: x if isinstance(x, str) else "")
def test_every_op(name, sample, core, tmp_path):
    """No kernel of plain C, simple or fast, means an int of 32 bits."""
    graph = samples.build("s", [(name, sample)], relu=False)[1]
    x, bits = samples.vectors(graph, 10, seed=1), (8, 5, 2) if has_bits(graph) else (8,)
    texts = generate_c(graph, plan=kernel_plan(graph, (), core))
    run = samples.OnMachine(MACHINE)
    if any(step.view.get("code") == "pool64" for step in kernel_plan(graph, (), core).steps):
        with pytest.raises(CompileError, match="32768 bytes"):  # the pool's table
            run(graph, x, tmp_path, bits, texts)
        return
    wrong, compared, first = samples.mismatches(graph, x, run(graph, x, tmp_path, bits, texts)[8])
    assert compared > 0
    assert wrong == 0, first
