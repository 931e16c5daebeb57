# SPDX-License-Identifier: Apache-2.0
"""--max-flash and --max-ram: the byte at which they refuse, and when they say so."""

import json
import shutil

import pytest
from elftools.elf.elffile import ELFFile

import tinybound
from tinybound.errors import PromiseError, ToolMissing
from tinybound.options import Options
from tinybound.report.budgets import budget
from tinybound.report.summary import with_stack
from tinybound.simulate import footprint
from tinybound.simulate.boards import BOARDS

pytestmark = pytest.mark.usefixtures("quick_attack")


@pytest.mark.parametrize(
    ("option", "key", "of"),
    [
        ("--max-flash", "flash_bytes", ""),
        ("--max-ram", "ram_with_stack_bytes", " of arena, input, output and stack"),
    ],
)
def test_one_byte_decides(command, tmp_path, examples, option, key, of):
    model, box = examples / "controller2.onnx", examples / "controller2_box.json"
    on = ("compile", model, "-o", tmp_path / "B", "--domain", box, "--target", "c")
    on += ("--optimise", "size")  # no smaller kernels are left to try
    assert command(*on).code == 0
    needed = json.loads((tmp_path / "B" / "report.json").read_text())[key]
    shutil.rmtree(tmp_path / "B")
    words = (f"error: {option}: {needed} bytes{of}", f"expected at most {needed - 1}")
    command.fails(1, *words, on=(*on, option, needed - 1))
    assert list(tmp_path.iterdir()) == []
    assert command(*on, option, needed).code == 0


def test_what_the_smallest_kernels_fit_in_is_enough(tmp_path, examples):
    model = examples / "residual_cnn_qdq.onnx"
    small = tinybound.compile(model, tmp_path / "small", Options(target="c", optimise="size"))
    needed = small.report["ram_with_stack_bytes"]

    build = tinybound.compile(model, tmp_path / "B", Options(target="c", max_ram=needed))

    assert build.report["ram_with_stack_bytes"] <= needed


@pytest.mark.parametrize("buffers", ["caller", "arena"])
def test_ram_is_what_the_elf_and_the_caller_hold(tmp_path, examples, buffers):
    """Variables of the object, buffers outside of it, and GCC's stack, counted from the files themselves."""
    options = Options(domain="-1,1", target="c", buffers=buffers)
    build = tinybound.compile(examples / "digits_mlp.onnx", tmp_path / "B", options)
    report, name = build.report, build.artefact.name
    footprint.footprint(BOARDS["cortex-m4"], build.folder / "c", name, tmp_path / "work")
    with (tmp_path / "work" / f"{name}-cortex-m4.o").open("rb") as stream:
        variables = sum(s["sh_size"] for s in ELFFile(stream).iter_sections() if s["sh_flags"] & 3 == 3)
    graph = build.graph
    outside = sum(graph.values[n].size for n in (*graph.inputs, *graph.outputs)) * (buffers == "caller")
    assert report["ram_with_stack_bytes"] == variables + outside + report["stack_bytes"]
    assert (report["input_bytes"], report["output_bytes"]) == (64, 10)


def test_ram_is_refused_before_anything_is_built(tmp_path, examples, monkeypatch):
    plain = tinybound.compile(
        examples / "digits_mlp.onnx", tmp_path / "B", Options(domain="-1,1", target="c")
    )
    least = plain.report["ram_total_bytes"]
    for step in ("certificates_of", "beside", "generated", "summarise"):
        monkeypatch.setattr(f"tinybound.build.{step}", lambda *_, step=step: pytest.fail(f"reached {step}"))
    words = f"{least} bytes of arena, input and output, without the stack"
    with pytest.raises(PromiseError, match=words):
        tinybound.compile(
            examples / "digits_mlp.onnx", tmp_path / "C", Options(domain="-1,1", max_ram=least - 1)
        )
    assert not (tmp_path / "C").exists()


def test_without_the_cores_compiler_the_stack_is_not_known():
    report = {"ram_bytes": 60, "ram_total_bytes": 100, "stack_bytes": None, "note": "no gcc"}
    report |= {"weight_bytes": 7, "flash_bytes": None, "ram_with_stack_bytes": with_stack(report)}
    with pytest.raises(ToolMissing, match="ram_with_stack_bytes is unknown: no gcc"):
        budget(report, Options(max_ram=100))
    with pytest.raises(PromiseError, match="100 bytes without the stack"):
        budget(report, Options(max_ram=99))
    with pytest.raises(PromiseError, match="7 bytes of constants alone"):
        budget(report, Options(max_flash=6))
    with pytest.raises(ToolMissing, match="flash_bytes is unknown"):
        budget(report, Options(max_flash=7))
