# SPDX-License-Identifier: Apache-2.0
"""A BUILD folder that is not what it was, and names from hostile models: said in one line, or harmless."""

import json
import shutil

import numpy as np
import pytest
from command import small

from tinybound import tools
from tinybound.build_folder import MANIFEST, read_manifest, write_build

pytestmark = pytest.mark.usefixtures("quick_attack")

DOMAIN = ("--domain=-1,1",)


@pytest.fixture(scope="module")
def built(small_build):
    return small_build


# A BUILD that is not what it was


def test_a_changed_file(command, build):
    for name in ("c/bad_input.c", "network.json", "certificate.json", "vectors/golden.npz"):
        path = build / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"!")
        command.fails(2, f"{path}: changed since it was built", on=("verify", build, "--on", "host"))
        command.fails(2, f"{path}: changed since it was built", on=("firmware", build))
        command.fails(2, f"{path}: changed since it was built", on=("report", build))
        path.unlink()
        command.fails(2, f"{path}: missing", on=("certify", build))
        path.write_bytes(data)
    assert command("verify", build, "--on", "host").code == 0


def rewrite(build, changes):
    """The build with other contents and right hashes; None leaves a file out."""
    manifest = read_manifest(build)
    files = {name: (build / name).read_bytes() for name in manifest.pop("files")}
    files.update(changes)
    shutil.rmtree(build)
    write_build(build, {name: data for name, data in files.items() if data is not None}, manifest)


def test_a_build_of_another_format(command, built, build):
    network = json.loads((build / "network.json").read_text())
    cases = [
        ({**network, "format": "tinybound-network-9"}, "format 'tinybound-network-9'"),
        ([], "format None"),
        ({**network, "nodes": [{**network["nodes"][0], "op": "Sin"}]}, "damaged (KeyError: 'Sin')"),
        ({**network, "nodes": network["nodes"][::-1]}, "before it is computed"),
        ({k: v for k, v in network.items() if k != "values"}, "damaged (KeyError: 'values')"),
    ]
    for data, word in cases:
        rewrite(build, {"network.json": json.dumps(data).encode()})
        command.fails(2, word, on=("verify", build, "--on", "golden"))
    for name in ("network.json", "network.npz", "float.onnx"):
        shutil.rmtree(build)
        shutil.copytree(built, build)
        rewrite(build, {name: None})
        command.fails(2, f"no {name}", on=("verify", build, "--on", "golden"))


def test_no_build(command, tmp_path):
    for text in (None, "", "[]", "{}", "nonsense", '{"files": 3}'):
        if text is not None:
            (tmp_path / MANIFEST).write_text(text)
        for verb in ("verify", "report", "certify", "firmware"):
            command.fails(2, f"error: {tmp_path}: no readable manifest.json", on=(verb, tmp_path))
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {"../secret": "0"}}))
    command.fails(2, "files inside the build", on=("report", tmp_path))


def test_a_mistake_of_ours(command, build, monkeypatch):
    """Even a bug shows one line, and the traceback to those who ask for it."""

    def broken(*_):
        raise RuntimeError("a slip\nin two lines")

    monkeypatch.setattr("tinybound.build.Build.report", property(broken))
    done = command("report", build)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "RuntimeError (a slip in two lines)" in done.err
    monkeypatch.setenv("TINYBOUND_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        command("report", build)


# Names


HOSTILE = {
    "x": 'in "put"\\',
    "w": "w*/ int evil;\n/*",
    "b": "b`define x y",
    "h": "*" + "*/" + "/\n#error newline\n",
    "y": "out' ; endmodule\n\\",
    "product": "/* " + "*" + "*/" + "/ \"quoted\" 'x' ??/\n#error hostile\n// ünïcode \u2028 " + "long" * 300,
    "relu": "\x1b[31m%s%n$(touch x)`<b>&[/bold]\\",
}


def test_hostile_names_of_nodes(command, tmp_path):
    """They reach comments, tables, JSON and HTML, and nothing else; C and Verilog still run."""
    model, build = small(tmp_path / "model.onnx", names=HOSTILE), tmp_path / "BUILD"
    done = command("compile", model, "-o", build, *DOMAIN)
    assert (done.code, done.err) == (0, "")
    for path in (build / "c" / "model.c", build / "verilog" / "driver_trace.cpp"):
        assert "evil" not in path.read_text()
        assert not any(line.startswith("#error h") for line in path.read_text().splitlines())
    assert "`<b>&[" not in (build / "report.html").read_text()
    verdict = command("verify", build, "--on", "host,cortex-m4,rtl", "--json")
    assert verdict.code == 0, verdict.err
    assert verdict.json["ok"]
    np.savez(tmp_path / "x.npz", **{HOSTILE["x"]: np.zeros((2, 3))})
    done = command("simulate", build, "--inputs", tmp_path / "x.npz", "--output", tmp_path / "y.npz")
    assert done.code == 0, done.err
    with np.load(tmp_path / "y.npz") as found:
        assert set(found.files) == {f"{HOSTILE['x']}__q", HOSTILE["y"], f"{HOSTILE['y']}__q"}


@pytest.mark.parametrize(
    "stem",
    [
        "int",
        "1-2",
        "module",
        "logic",
        "stdint",
        "math",
        "tb_affine",
        "tb_kernels",
        "driver",
        "a--b",
        "a b'c",
        "π",
        "-",
        "n" * 200,
    ],
)
def test_hostile_file_names(command, tmp_path, stem):
    model, build = small(tmp_path / f"{stem}.onnx"), tmp_path / "BUILD"
    done = command("compile", model, "-o", build, *DOMAIN)
    assert (done.code, done.err) == (0, "")
    assert command("verify", build, "--on", "host").code == 0
    folder = build / "verilog"
    (listed,) = folder.glob("*.f")
    sources = listed.read_text().split()
    assert len(set(sources)) == len(sources)
    arguments = ["--lint-only", "-Wno-fatal", "--top-module", listed.stem]
    tools.run(["verilator", *arguments, *sources], cwd=folder)
