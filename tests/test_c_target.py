# SPDX-License-Identifier: Apache-2.0
"""Generated C: clean under strict flags everywhere, the same bytes each time, no multiplication where none is
needed, buffers that never overlap, and a golden text (`python tests/test_c_target.py` writes it again)."""

import re
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import samples

from tinybound.errors import CompileError
from tinybound.graph import Graph, Node, Value
from tinybound.kernels.choose import kernel_plan
from tinybound.ops import Add, AveragePool, Clip, Conv, Dense, MaxPool, Reshape, Transpose
from tinybound.ops.base import Scaled
from tinybound.quantise.lower import lower
from tinybound.quantise.weights import choose_weights
from tinybound.simulate.host import Host
from tinybound.simulate.machine import STRICT
from tinybound.targets.c import generate_c
from tinybound.targets.grouping import plan_memory
from tinybound.tools import run

GOLDEN = Path(__file__).parent / "golden"
ARM = ["arm-none-eabi-gcc", "-mthumb"]
RISCV = ["riscv64-unknown-elf-gcc", "-mabi=ilp32", "--specs=picolibc.specs"]
COMPILERS = {
    "host": ["gcc"],
    "cortex-m0plus": [*ARM, "-mcpu=cortex-m0plus"],
    "cortex-m4": [*ARM, "-mcpu=cortex-m4"],
    "rv32imc": [*RISCV, "-march=rv32imc"],
}
UNIT = Scaled(Fraction(1, 64), 3, -128, 127)


def chain(name, shape, *ops, code="int8", two=False, unit=UNIT):
    """Ops one after another, a Relu after each sum; "add" adds the value before the last layer."""
    values, nodes, codes = {"x": Value("x", shape)}, [], {}
    line = ["x"]
    for i, op in enumerate(ops):
        inputs = (line[-1], line[-2]) if isinstance(op, Add) else (line[-1],)
        out = f"v{i}"
        values[out] = Value(out, op.shape(*(values[n].shape for n in inputs)))
        if op.accumulates:
            values[f"{out}.sum"] = Value(f"{out}.sum", values[out].shape)
            nodes += [
                Node(f"n{i}", op, inputs, f"{out}.sum"),
                Node(f"n{i}.c", Clip(0.0), (f"{out}.sum",), out),
            ]
        else:
            nodes.append(Node(f"n{i}", op, inputs, out))
        codes[f"n{i}"] = code
        line.append(out)
    real = Graph(name, ("x",), (line[-1],), tuple(nodes), values)
    weights = choose_weights(real, codes, {}, power_of_two=two)
    scale = Scaled(unit.scale * 2, -128, -128, 127)
    return lower(real, {n: unit if n == "x" else scale for n in values}, weights)


def small(name="tiny", code="int8", two=False):
    """Transposed input, conv, residual conv, pools and a dense layer."""
    rng = np.random.default_rng(12)
    size = (8, 4, 4)
    return chain(
        name, (4, 4, 8), Transpose((4, 4, 8), (2, 0, 1)),
        Conv(rng.normal(0, 0.3, (8, 8, 3, 3)), rng.normal(0, 0.2, 8), size, pads=(1, 1, 1, 1)),
        Conv(rng.normal(0, 0.3, (8, 8, 1, 1)), rng.normal(0, 0.2, 8), size), Add(),
        MaxPool(size, (2, 2), (2, 2)), AveragePool((8, 2, 2), (2, 1)), Reshape((16,)),
        Dense(rng.normal(0, 0.3, (3, 16)), rng.normal(0, 0.2, 3)), code=code, two=two,
    )  # fmt: skip


def write(graph, folder, plan=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in generate_c(graph, plan=plan).items():
        (folder / name).write_text(text)
    return folder


# -- compilers --------------------------------------------------------------------------------------


# The others build all samples under the same flags in tests/test_ops.py.
FIRST = ("cortex-m0plus",)


@pytest.mark.parametrize(
    "compiler", [c if c in FIRST else pytest.param(c, marks=pytest.mark.slow) for c in COMPILERS]
)
def test_strict_flags(compiler, tmp_path):
    """Every op and code, with and without traces, optimised for speed and for size."""
    write(samples.build("samples", samples.all_samples(), relu=True)[1], tmp_path)
    firmware = ["-I", str(Path(str(samples.__file__)).parents[1] / "firmware")]
    for options in (["-O2"], ["-Os"], ["-O2", "-DTB_TRACE"]):
        run([*COMPILERS[compiler], *STRICT, *options, *firmware, "-c", tmp_path / "samples.c",
             "-o", tmp_path / "s.o"])  # fmt: skip
    (tmp_path / "user.c").write_text('#include "samples_float.h"\n#include "samples.h"\nint unused;\n')
    run([*COMPILERS[compiler], *STRICT, "-c", tmp_path / "user.c", "-o", tmp_path / "u.o"])


def test_the_headers_are_cplusplus_too(tmp_path):
    """NAME.h for any C++; NAME_float.h has hexadecimal floats: C++17, or GNU C++."""
    write(small(), tmp_path)
    for header, standard in (("tiny.h", "c++98"), ("tiny_float.h", "gnu++11"), ("tiny_float.h", "c++17")):
        (tmp_path / "user.cpp").write_text(
            f'#include "{header}"\nint main() {{ return tiny_ARENA_SIZE == 0; }}\n'
        )
        strict = ["-Wall", "-Wextra", "-Werror", f"-std={standard}"]
        run(["g++", *strict, "-c", tmp_path / "user.cpp", "-o", tmp_path / "o"])


def test_nothing_but_the_compilers_own_library_is_needed(tmp_path):
    """No malloc, no stdio, no memcpy, no float: undefined symbols of the object are none on a 64-bit host."""
    for code in ("int8", "int4", "pot4", "pool64"):
        write(small(code=code), tmp_path / code)
        run(["gcc", *STRICT, "-O2", "-fno-tree-loop-distribute-patterns", "-c", tmp_path / code / "tiny.c",
             "-o", tmp_path / "t.o"])  # fmt: skip
        assert symbols(tmp_path / "t.o", "nm") == []


def symbols(path, nm):
    """Undefined symbols of an object file."""
    found = run([f"/usr/bin/{nm}", "-u", path]).stdout
    return [line.split()[-1] for line in found.splitlines() if line.strip()]


def multiplications(graph, folder, march, plan=None):
    """(library calls to multiply, mul instructions) in the object for a RISC-V without or with M."""
    write(graph, folder, plan)
    compiler = [*RISCV[:2], "--specs=picolibc.specs", f"-march={march}"]
    run([*compiler, *STRICT, "-O2", "-c", folder / "tiny.c", "-o", folder / "t.o"])
    calls = [s for s in symbols(folder / "t.o", "riscv64-unknown-elf-nm") if "mul" in s]
    text = run(["/usr/bin/riscv64-unknown-elf-objdump", "-d", folder / "t.o"]).stdout
    return calls, re.findall(r"\t(mulh?s?u?)\t", text)


@pytest.mark.parametrize("march", ["rv32i", "rv32im"])
def test_powers_of_two_need_no_multiplication(march, tmp_path):
    calls, instructions = multiplications(small(code="pot4", two=True), tmp_path, march)
    assert calls == []
    assert instructions == []


def test_the_search_for_multiplications_finds_them(tmp_path):
    assert multiplications(small(), tmp_path / "a", "rv32i")[0] != []
    assert multiplications(small(), tmp_path / "b", "rv32im")[1] != []


# -- text -------------------------------------------------------------------------------------------


def test_the_same_network_gives_the_same_bytes():
    for code in ("int8", "int4", "pot4", "pool64"):
        assert generate_c(small(code=code)) == generate_c(small(code=code))
    first, again = (samples.build("s", samples.all_samples(), relu=False)[1] for _ in range(2))
    assert generate_c(first) == generate_c(again)


def golden_graph():
    weights = np.array([[3.0, -2.0, 0.5], [1.0, 0.0, -1.0]])
    return chain("tiny", (3,), Dense(weights, np.array([0.25, -0.5])))


@pytest.mark.parametrize("file", ["tiny.c", "tiny.h", "tiny_float.h"])
def test_golden_text(file):
    assert generate_c(golden_graph())[file] == (GOLDEN / file).read_text()


def test_texts_are_tidy():
    for name, text in generate_c(small(code="pool64")).items():
        assert text.endswith("\n"), name
        assert "SPDX-License-Identifier" in text.splitlines()[0]
        assert "/tmp" not in text
        assert "/home" not in text


@pytest.mark.parametrize(
    "name", ["a*/ int x; /*", "**//", "/*", "??/", "line\nbreak", "ünï", "\\", "%s{{x}}"]
)
def test_names_from_the_model_stay_inside_comments(name, tmp_path):
    graph = golden_graph()
    nodes = tuple(Node(name + n.name, n.op, n.inputs, n.output, n.origin, n.code) for n in graph.nodes)
    write(Graph(graph.name, graph.inputs, graph.outputs, nodes, graph.values), tmp_path)
    run(["gcc", *STRICT, "-c", tmp_path / "tiny.c", "-o", tmp_path / "t.o"])


@pytest.mark.parametrize("name", ["tb_kernels", "int", "3d", "my-net.v2", "stdint", "", "ünï", "a" * 300])
def test_any_file_name_compiles(name, tmp_path):
    graph = golden_graph()
    texts = generate_c(Graph(name, graph.inputs, graph.outputs, graph.nodes, graph.values))
    assert len(texts) == len(generate_c(graph))  # no file replaced another
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    source = next(f for f in texts if f.endswith(".c"))
    run(["gcc", *STRICT, "-c", tmp_path / source, "-o", tmp_path / "t.o"])


def test_a_network_whose_values_are_its_ports_needs_no_arena():
    assert plan_memory(kernel_plan(golden_graph())).arena == 0


# -- odd networks -----------------------------------------------------------------------------------


def check_on_the_host(graph, folder, count=40):
    x = samples.vectors(graph, count, seed=1)
    got = samples.OnMachine(Host(sanitize=True, level="-O0"))(graph, x, folder)
    wrong, compared, first = samples.mismatches(graph, x, got[8])
    print(f"{compared} integers compared")
    assert wrong == 0, first


@pytest.mark.parametrize("code", ["int8", "int4", "pot4", "pool64"])
@pytest.mark.parametrize("two", [False, True], ids=["random", "power-of-two"])
def test_a_small_network(code, two, tmp_path):
    check_on_the_host(small(code=code, two=two), tmp_path, 200)


def test_values_named_like_the_compilers_own(tmp_path):
    graph = small(code="pool64")
    names = {"v0": "scratch 0", "v1": "scratch 1", "v2": "x.physical", "v3": "arena", "v4": "v7.logical"}

    def new(name):
        return names.get(name, name)

    nodes = tuple(
        Node(n.name, n.op, tuple(map(new, n.inputs)), new(n.output), n.origin, n.code) for n in graph.nodes
    )
    values = {new(n): Value(new(n), v.shape, v.quant, v.range) for n, v in graph.values.items()}
    check_on_the_host(Graph("odd", graph.inputs, tuple(map(new, graph.outputs)), nodes, values), tmp_path)


def test_a_map_beyond_65536_elements(tmp_path):
    """Positions of a reordering no longer fit 16 bits."""
    op = MaxPool((3, 160, 160), (2, 2), (2, 2))
    check_on_the_host(chain("large", (3, 160, 160), op), tmp_path, 2)


def test_outputs_that_share_a_storage(tmp_path):
    """The input as output, one value as two outputs under a reshape, and an inner value."""
    rng = np.random.default_rng(3)
    size = (2, 3, 3)
    values = {n: Value(n, s) for n, s in {"x": size, "t": size, "y": size, "f": (18,), "g": (18,)}.items()}
    nodes = (
        Node("c", Conv(rng.normal(0, 1, (2, 2, 1, 1)), np.zeros(2), size), ("x",), "t"),
        Node("r", Clip(0.0), ("t",), "y"),
        Node("f", Reshape((18,)), ("y",), "f"),
        Node("g", Reshape((18,)), ("x",), "g"),
    )
    real = Graph("shared", ("x",), ("f", "y", "g"), nodes, values)
    graph = lower(real, {"x": UNIT, "y": UNIT}, choose_weights(real, {}, {}, power_of_two=False))
    check_on_the_host(graph, tmp_path)


def test_a_network_that_computes_nothing(tmp_path):
    """Only a reshape: the output is a copy of the input."""
    check_on_the_host(chain("copy", (2, 3, 2), Reshape((12,))), tmp_path)


# -- planted bugs: every check above must see them --------------------------------------------------

PLANTS = {
    "half up instead of half even": (
        "tb_requantise.h", "((v >> s) & some)", "some"),
    "half down": ("tb_requantise.h", "((v >> s) & some)", "0"),
    "no saturation at the top": (
        "tb_requantise.h", "tb_min(tb_max(q + r->zero, r->lo), r->hi)", "tb_max(q + r->zero, r->lo)"),
    "padding reads zero": ("tb_kernels.h", "inside ? in[tap + c] : (padding)", "inside ? in[tap + c] : 0"),
    "the average forgets its zero point": ("tb_windows.h", "rows * columns * w->pad", "rows * columns * 0"),
    "one pool plane too few": ("tb_kernels.h", "p >= 8 - bits; p--", "p > 8 - bits; p--"),
    "pot4 sign": ("tb_kernels.h", "(code & 8u) ? -size", "(code & 8u) ? size"),
    "addition loses a zero point": ("tb_elements.h", "b[i] - zb, mb", "b[i] - zb + 1, mb"),
    "the last of equals always wins": ("tb_elements.h", "in[i] - top - 1 + last", "in[i] - top + 0 * last"),
    "softmax may reach 256": ("tb_elements.h", "tb_min(q + zero, hi)", "(q + zero + 0 * hi)"),
    "shares in other steps": ("tb_elements.h", "(int64_t)extra * sum", "(int64_t)extra * 0 * sum"),
    "every channel takes the first multiplier": ("tb_requantise.h", "r->step ? channel : 0", "channel & 0"),
    "a bias is dropped": ("samples.c", "bias", None),
    "a weight changes": ("samples.c", "weights", None),
}  # fmt: skip


def planted(texts, file, old, new):
    """The texts with one change; None: the first number of the last array whose name begins with `old`."""
    text = texts[file]
    if new is not None:
        assert text.count(old) >= 1, f"{old} is no longer in {file}: plant another bug"
        return {**texts, file: text.replace(old, new)}
    number = list(re.finditer(rf"static const \w+ {old}\d+\[\] = {{\s*(-?\d+)", text))[-1]
    other = "0" if number[1] != "0" else "1"
    return {**texts, file: text[: number.start(1)] + other + text[number.end(1) :]}


@pytest.fixture(scope="module")
def sampled():
    """All samples with ties among them: power-of-two scales beside the samples' own."""
    graph = samples.build("samples", samples.all_samples(), relu=False)[1]
    plain = kernel_plan(graph, ("int8", "int4", "pot4", "pool64"))
    return graph, samples.vectors(graph, 100, seed=23), generate_c(graph, plan=plain)


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_seen(plant, sampled, tmp_path):
    graph, x, texts = sampled
    if plant.startswith("half"):  # ties need power-of-two scales
        graph = chain(
            "tiny", (9,), Dense(np.random.default_rng(1).normal(0, 1, (5, 9)), np.zeros(5)), two=True
        )
        x, texts = samples.vectors(graph, 400, seed=3), generate_c(graph)
    if plant.startswith("softmax"):
        x = dict(x)
        for n in x:
            if n.startswith("Softmax"):  # one element far above the others
                x[n] = np.where(np.arange(x[n].shape[-1]) == 3, 127, -128) * np.ones_like(x[n])
    machine = samples.OnMachine(Host(level="-O0"))

    got = machine(graph, x, tmp_path, texts=planted(texts, *PLANTS[plant]))

    wrong, compared, first = samples.mismatches(graph, x, got[8])
    print(f"{wrong} of {compared}: {first}")
    assert wrong > 0
    assert re.fullmatch(r".+\[.*\]: expected -?\d+, found -?\d+", first)


def test_a_write_outside_a_buffer_is_seen(sampled, tmp_path):
    graph, x, texts = sampled
    bad = planted(texts, "tb_elements.h", "out[i] = entries[in[i] + 128];",
                  "out[i] = entries[in[i] + 128]; volatile int32_t end = count; out[end] = 1;")  # fmt: skip
    for machine in (Host(level="-O0"), Host(sanitize=True, level="-O0")):
        with pytest.raises(Exception, match=r"outside the layer's output|overflow|out of bounds"):
            samples.OnMachine(machine)(graph, x, tmp_path / machine.name, texts=bad)


def test_a_graph_that_cannot_be_planned_names_the_node():
    with pytest.raises(CompileError, match="n0"):
        chain("bad", (70_000,), Dense(np.ones((1, 70_000)), np.zeros(1)))


if __name__ == "__main__":
    for name in ("tiny.c", "tiny.h", "tiny_float.h"):
        (GOLDEN / name).write_text(generate_c(golden_graph())[name])
        sys.stdout.write(f"wrote {GOLDEN / name}\n")
