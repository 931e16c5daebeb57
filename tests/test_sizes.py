# SPDX-License-Identifier: Apache-2.0
"""RAM, constants and stack that inspect and the report tell are those of the compiled object, to the byte."""

import json
import re

import pytest
import samples
from elftools.elf.elffile import ELFFile

import tinybound
from tinybound.inspect_model import inspect_model
from tinybound.kernels.choose import kernel_plan
from tinybound.pipeline import build_networks
from tinybound.report.summary import planned
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.footprint import footprint
from tinybound.simulate.machine import FIRMWARE
from tinybound.targets.c import generate_c
from tinybound.targets.constants import constant_arrays, layer_of, weight_bytes
from tinybound.targets.grouping import plan_memory
from tinybound.targets.memory import Buffer, occupied
from tinybound.tools import run

# Functions of which the compiler knows no or not every push, on Thumb cores.
ASSEMBLY = ("tb_direct_each", "tb_halves_sums", "tb_halves_two", "tb_halves_one", "tb_fours_two",
            "tb_fours_one", "tb_sums_two", "tb_sums_one", "tb_sums_two_wide", "tb_sums_one_wide")  # fmt: skip
CORES = ("cortex-m0plus", "cortex-m4", "rv32imc")


def network(name, examples):
    """All ops and codes in one network, or a bundled one."""
    if name == "samples":
        return samples.build("samples", samples.all_samples(), relu=True)[1]
    options = tinybound.Options(domain=None if "qdq" in name else "-1,1")
    return build_networks(examples / f"{name}.onnx", options, 2).integer_graph


def objects(path):
    """Name -> bytes of every variable and constant, and bytes of the sections that variables lie in."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        symbols = elf.get_section_by_name(".symtab").iter_symbols()
        sizes = {s.name: s["st_size"] for s in symbols if s["st_info"]["type"] == "STT_OBJECT"}
        written = sum(s["sh_size"] for s in elf.iter_sections() if s["sh_flags"] & 3 == 3)
    return sizes, written


@pytest.mark.parametrize("name", ["samples", "controller2", "residual_cnn_qdq"])
@pytest.mark.parametrize("core", CORES)
def test_every_constant_is_in_the_object(core, name, examples, tmp_path):
    """What the generated C says is what the compiler stores, layer by layer.

    But for arrays of up to four elements, which a compiler may make immediates of the code.
    """
    graph = network(name, examples)
    texts = generate_c(graph)
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    cost = footprint(BOARDS[core], tmp_path, name, tmp_path)
    stored, written = objects(tmp_path / f"{name}-{core}.o")
    arrays = constant_arrays(texts[f"{name}.c"], BOARDS[core].dsp)
    other = re.compile(r"(window|scaling|split|ring)\d+$|arena$")
    wanted = {n: size for n, size in stored.items() if not other.match(n)}

    folded = {n: size for n, size in arrays.items() if n not in wanted}
    assert {n: size for n, size in arrays.items() if n in wanted} == wanted
    assert max(folded.values(), default=0) <= 16
    layers, total = weight_bytes(texts[f"{name}.c"], BOARDS[core].dsp)
    assert total == sum(wanted.values()) + sum(folded.values())
    for index, size in layers.items():
        assert size == sum(bytes_ for n, bytes_ in (wanted | folded).items() if layer_of(n) == index)
    assert cost.weight_bytes == sum(stored.values()) - stored["arena"]  # and the geometry of the layers
    report = planned(kernel_plan(graph), texts[f"{name}.c"], core)
    assert report["ram_bytes"] == written == stored["arena"] == cost.ram_bytes
    assert [x["weight_bytes"] for x in report["layers"]] == [
        layers.get(i, 0) for i in range(len(report["layers"]))
    ]
    print(f"{core}: {len(arrays)} arrays, {len(folded)} folded, {total} bytes, {written} bytes of RAM")
    assert len(wanted) > (90 if name == "samples" else 10)


@pytest.mark.parametrize(
    "core", [core if core == "cortex-m4" else pytest.param(core, marks=pytest.mark.slow) for core in CORES]
)
def test_stack_frames_are_the_compilers(core, examples, tmp_path):
    """From the call graph, against the .su file of a second compilation."""
    for name, text in generate_c(network("samples", examples)).items():
        (tmp_path / name).write_text(text)
    board = BOARDS[core]
    cost = footprint(board, tmp_path, "samples", tmp_path)
    item = tmp_path / "again.o"
    run([board.compiler, *board.flags, "-O2", "-ffunction-sections", "-fdata-sections", "-std=c99",
         f"-I{FIRMWARE}", "-fstack-usage", "-c", tmp_path / "samples.c", "-o", item])  # fmt: skip
    lines = [line.split("\t") for line in item.with_suffix(".su").read_text().splitlines()]

    frames = {where.split(":")[-1]: int(size) for where, size, _ in lines}
    told = {name: size for name, size in cost.frames.items() if name not in ASSEMBLY}
    assert told == {name: size for name, size in frames.items() if name not in ASSEMBLY}
    assert all(cost.frames[name] > frames[name] for name in ASSEMBLY if name in frames and core != "rv32imc")
    assert max(cost.frames.values()) <= cost.stack_bytes <= sum(cost.frames.values())
    print(f"{core}: {frames}")


def test_bytes_in_use_by_painting():
    """occupied() against a map of bytes."""
    buffers = [Buffer("a", 10, 0, 1), Buffer("b", 10, 1, 2), Buffer("c", 4, 2, 3)]
    offsets = {"a": 6, "b": 0, "c": 20}
    for step in range(4):
        held = {offsets[b.name] + i for b in buffers if b.first <= step <= b.last for i in range(b.size)}
        assert occupied(buffers, offsets, step) == len(held)
    assert occupied(buffers, offsets, 1) == 16  # a and b share four bytes


@pytest.mark.parametrize("model", ["residual_cnn", "digits_cnn_qdq", "controller2"])
def test_a_layers_ram_is_what_lives(examples, model):
    """At each step at least what it reads and writes in the arena, at most the arena; the peak is reached."""
    found = inspect_model(examples / f"{model}.onnx")
    plan = kernel_plan(network(model, examples))
    memory = plan_memory(plan)
    live = [layer["ram_bytes"] for layer in found["layers"]]
    for step, bytes_ in zip(plan.steps, live, strict=True):
        names = {*step.sources, step.target} & set(memory.offsets)
        held = [memory.buffer_bytes(plan, s) for s in plan.steps if s.target in names]
        assert max(held, default=0) <= bytes_ <= memory.arena
    assert found["ram_bytes"] == memory.arena
    assert max(live) + 3 * len(live) >= memory.arena  # but for alignment
    print(f"{model}: {live} of {memory.arena}")


def test_inspect_tells_what_compile_will_make(command, examples, tmp_path):
    """The plan of inspect is the plan of the build; a float model is marked as estimated."""
    for model, domain, estimated in (("digits_cnn_qdq", [], False), ("controller2", ["--domain=-1,1"], True)):
        path = examples / f"{model}.onnx"
        found = command("inspect", path, "--json").json
        assert command("compile", path, "-o", tmp_path / model, "--target", "c", *domain).code == 0
        report = json.loads((tmp_path / model / "report.json").read_text())
        assert found["estimated"] is estimated
        for key in ("ram_bytes", "ram_total_bytes", "activations_per_parameter"):
            assert found[key] == report[key]
        for seen, made in zip(found["layers"], report["layers"], strict=True):
            assert seen["ram_bytes"] == made["ram_bytes"]
            assert seen["weight_bytes"] == made["weight_bytes"] or estimated  # a multiplier may become 1
        assert set(found["boards"]) == set(BOARDS)
        assert all(c["flash_bytes"] > c["code_bytes"] > 0 for c in found["boards"].values())
        values = found["input_bytes"] + sum(x["activation_bytes"] for x in found["layers"])
        assert found["activations_per_parameter"] == values / sum(x["parameters"] for x in found["layers"])
        whole = found["ram_bytes"] + found["input_bytes"] + found["output_bytes"]
        assert found["ram_total_bytes"] == whole
        assert found["footprint_per_model_byte"] == 1 + whole / found["weight_bytes"]


def test_inspect_without_compilers_names_what_it_does_not_know(examples, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = inspect_model(examples / "controller2.onnx")

    assert found["weight_bytes"] > 0
    for cost in found["boards"].values():
        assert (cost["flash_bytes"], cost["code_bytes"]) == (None, None)
        assert "not found" in cost["note"] or "missing" in cost["note"]


@pytest.mark.parametrize("short", [0, 1])
def test_constants_alone_can_break_a_budget(command, examples, tmp_path, monkeypatch, short):
    """Where the code's size is not known, what is known still counts."""
    model, box = examples / "controller2.onnx", examples / "controller2_box.json"
    weights = inspect_model(model)["weight_bytes"]
    monkeypatch.setenv("PATH", "/nowhere")
    on = ("compile", model, "-o", tmp_path / "B", "--domain", box, "--target", "c", "--max-flash")
    if short:
        command.fails(1, "bytes of constants alone", on=(*on, weights // 2))  # whatever the kernels
    else:
        command.fails(3, "flash_bytes is unknown", on=(*on, weights))
    assert list(tmp_path.iterdir()) == []
