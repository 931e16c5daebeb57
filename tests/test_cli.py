# SPDX-License-Identifier: Apache-2.0
"""Every verb as a user types it: exit codes, tables, JSON, files."""

import json
import re

import numpy as np
from command import ANSI, listing, plain, refusal, spawn

import tinybound
from tinybound.tools import TOOLS

# compile


def test_compile_shows_a_table(quick_attack, command, tmp_path, examples):
    box = examples / "controller2_box.json"
    out = plain(command("compile", examples / "controller2.onnx", "-o", tmp_path / "B", "--domain", box))
    assert f"{tmp_path / 'B'}: controller2" in out.replace("\n", " ")
    assert re.search(r"dense2 │ Dense │ int8 │ 16 +│ +256 │", out)
    assert re.search(
        r"cortex-m4: flash \d+ B, RAM: arena \d+ B, input 2 B, output 1 B, stack \d+ B, all RAM \d+ B", out
    )
    assert re.search(r"y: certified at most \S+ from the float network, found at least \S+, ratio", out)


def test_compile_json_is_report_json(command, tmp_path, examples):
    box, folder = examples / "controller2_box.json", tmp_path / "B"
    done = command("compile", examples / "controller2.onnx", "-o", folder, "--domain", box, "--json")
    assert done.json == json.loads((folder / "report.json").read_text())


def test_report(command, built):
    shown = command("report", built, "--json").json
    assert plain(command("report", built)).splitlines()[0] == f"{built}: controller2"
    assert {"flash_bytes", "ram_bytes", "stack_bytes", "macs", "instructions", "layers"} <= set(shown)
    assert [layer["name"] for layer in shown["layers"]] == ["dense1", "dense2", "dense3"]
    for layer in shown["layers"]:
        assert {"name", "op", "code", "kernel", "macs", "flash_bytes", "ram_bytes"} <= set(layer)
    assert shown["macs"] == sum(layer["macs"] for layer in shown["layers"]) == 32 + 256 + 16
    assert 0 < shown["ram_bytes"] < shown["flash_bytes"]
    assert shown["stack_bytes"] > 0
    page = (built / "report.html").read_text()
    assert "controller2" in page
    assert not re.search(r'(src|href)="(?!#)', page)  # nothing from elsewhere


def test_what_a_build_holds(built, examples):
    names = set(listing(built))
    assert {
        "manifest.json", "float.onnx", "network.json", "network.npz", "certificate.json", "report.json",
        "report.html", "c/controller2.h", "c/controller2.c", "c/controller2_float.h", "verilog/controller2.v",
        "verilog/controller2.f", "verilog/controller2.core", "vectors/golden.npz",
    } <= names  # fmt: skip
    assert (built / "float.onnx").read_bytes() == (examples / "controller2.onnx").read_bytes()
    assert not any(name.startswith((".", "firmware")) for name in names)
    for name, data in listing(built).items():
        assert str(built).encode() not in data, f"{name} says where it was made"
        assert str(examples).encode() not in data, f"{name} says where it was made"


def test_options_are_recorded(built):
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["tinybound"] == tinybound.__version__
    assert manifest["model"]["name"] == "controller2.onnx"
    assert re.fullmatch("[0-9a-f]{64}", manifest["model"]["sha256"])
    assert manifest["options"] == {
        "target": "all", "core": "cortex-m4", "weights": ["int8"], "scales": "any", "buffers": "caller",
        "calibration": None, "domain": "controller2_box.json", "data_free": False,
        "reference": None, "max_error": None, "max_flash": None, "max_ram": None, "seed": 3,
        "requant": "onnx", "optimise": "speed", "activations": 8,
    }  # fmt: skip
    assert set(manifest["files"]) == set(listing(built)) - {"manifest.json"}


def test_every_option(quick_attack, command, tmp_path, examples):
    folder = tmp_path / "B"
    done = command(
        "compile", examples / "digits_cnn_qdq.onnx", "-o", folder, "--target", "c", "--core", "rv32imc",
        "--weights", "pot4", "--weights", "conv2=int8", "--scales", "pow2", "--domain", "0,1", "--json",
        "--reference", examples / "digits_cnn.onnx", "--max-error", "1e6", "--max-flash", "100000",
        "--max-ram", "20000", "--seed", "5",
    )  # fmt: skip
    assert done.code == 0, done.err
    codes = {layer["name"]: layer["code"] for layer in done.json["layers"] if layer["macs"]}
    assert (codes["conv2"], codes["dense"]) == ("int8", "pot4")
    assert done.json["core"] == "rv32imc"
    options = json.loads((folder / "manifest.json").read_text())["options"]
    assert options["reference"] == "digits_cnn.onnx"
    assert (options["max_error"], options["max_flash"], options["max_ram"]) == ("1000000", 100000, 20000)
    assert not (folder / "verilog").exists()
    assert command("verify", folder, "--on", "golden,host").code == 0


def test_same_input_same_bytes(built, tmp_path, examples, command):
    """All but the time it took, which the certificate records, and hashes of the certificate."""
    other, box = tmp_path / "elsewhere" / "B", examples / "controller2_box.json"
    done = command("compile", examples / "controller2.onnx", "-o", other, "--domain", box, "--seed", "3")
    assert done.code == 0
    one, two = listing(built), listing(other)
    assert {name for name in one if one[name] != two.get(name)} <= {"certificate.json", "manifest.json"}
    for name in ("certificate.json", "manifest.json"):
        pair = [json.loads(files[name]) for files in (one, two)]
        for data in pair:
            data.pop("seconds", None)
            data.get("files", {}).pop("certificate.json", None)
        assert pair[0] == pair[1]


def test_a_new_build_replaces_the_old(quick_attack, command, build, examples):
    """A user's own files stay."""
    (build / "notes").mkdir()
    (build / "notes" / "mine.txt").write_text("precious")
    model = examples / "controller4.onnx"
    assert command("compile", model, "-o", build, "--domain=-1,1", "--target", "c").code == 0
    names = set(listing(build))
    assert "c/controller4.c" in names
    assert not any(name.startswith(("verilog/", "c/controller2")) for name in names)
    assert (build / "notes" / "mine.txt").read_text() == "precious"
    assert [p.name for p in build.parent.iterdir()] == ["BUILD"]


# verify


def test_verify(command, built):
    done = command("verify", built, "--on", "golden,host", "--json")
    assert done.code == 0
    verdict = done.json
    assert set(verdict) == {"ok", "vectors", "stages", "bound"}
    assert (verdict["ok"], verdict["vectors"]) == (True, 128)
    assert set(verdict["stages"]) == {"golden", "host"}
    host = verdict["stages"]["host"]
    assert (host["mismatches"], host["first"]) == (0, None)
    assert [layer["layer"] for layer in host["layers"]] == ["relu1", "relu2", "y", "output y"]
    assert [layer["elements"] for layer in host["layers"]] == [128 * 16, 128 * 16, 128, 128]
    assert verdict["stages"]["golden"]["elements"] == 128
    bound = verdict["bound"]
    assert bound["violations"] == 0
    assert 0 < bound["max_seen"] <= bound["bound"]
    assert (bound["inside"], bound["outside"]) == (129, 0)  # of the domain, and the witness
    out = plain(command("verify", built, "--on", "golden,host"))
    assert "mismatches against the golden model, 128 vectors" in out
    assert re.search(r"relu1 +│ +│ 0 of 2048", out)
    assert re.search(r"output y +│ 0 of 128 │ +0 of 128", out)
    assert "0 violations" in out


def test_verify_with_inputs(command, built, tmp_path, examples):
    """Vectors outside the domain are counted apart."""
    rng, path = np.random.default_rng(0), tmp_path / "x.npz"
    inside, outside = rng.uniform(-1, 1, (40, 2)) * [0.5, 1.0], np.full((10, 2), 2.0)
    np.savez(path, x=np.concatenate([inside, outside]).astype(np.float32))
    verdict = command("verify", built, "--on", "host", "--inputs", path, "--json").json
    assert (verdict["ok"], verdict["vectors"]) == (True, 50)
    assert (verdict["bound"]["inside"], verdict["bound"]["outside"]) == (40, 10)
    np.savez(path, x__q=rng.integers(-128, 128, (7, 2), dtype=np.int8))
    verdict = command("verify", built, "--on", "host", "--inputs", path, "--json").json
    assert (verdict["ok"], verdict["vectors"]) == (True, 7)


def test_verify_at_every_precision(command, pooled):
    verdict = command("verify", pooled, "--on", "host", "--json").json
    layers = [layer["layer"] for layer in verdict["stages"]["host"]["layers"]]
    assert {f"output y @ {bits} bits" for bits in range(2, 8)} <= set(layers)
    assert verdict["ok"]
    assert verdict["bound"]["bound"] is None


def test_verify_a_softmax(quick_attack, command, tmp_path, examples):
    """The bound is on the logits."""
    folder = tmp_path / "B"
    model, samples = examples / "digits_cnn_softmax.onnx", examples / "digits_cnn_calibration.npz"
    on = ("--target", "c", "--calibration", samples, "--domain", "0,1")
    assert command("compile", model, "-o", folder, *on).code == 0
    verdict = command("verify", folder, "--on", "host", "--json").json
    assert verdict["ok"]
    assert 0 < verdict["bound"]["max_seen"] <= verdict["bound"]["bound"]


# inspect, doctor, usage


def test_inspect(command, examples):
    found = command("inspect", examples / "digits_cnn_qdq.onnx", "--json").json
    assert found["quantised"] is True
    assert found["macs"] == sum(node["macs"] for node in found["nodes"]) > 0
    out = plain(command("inspect", examples / "controller2.onnx"))
    assert re.search(r"dense2 +│ Dense │ +16 │ +0 │ +256 │ +272", out)


def test_doctor(command, monkeypatch):
    """0 when all is there, 3 when something is missing, a row for each either way."""
    done = command("doctor", "--json")
    rows = {row["tool"]: row for row in done.json}
    assert set(TOOLS) <= set(rows)
    assert done.code == (3 if any(row["path"] is None for row in rows.values()) else 0)
    done = spawn("doctor", "--json", env={"PATH": "/nowhere"})
    rows = {row["tool"]: row for row in done.json}
    assert (done.code, done.err) == (3, "")
    assert rows["gcc"]["path"] is None
    assert rows["gcc"]["install"].startswith("apt-get install")
    done = spawn("doctor", env={"PATH": "/nowhere"})
    assert done.code == 3
    assert ANSI not in done.out
    assert re.search(r"gcc +│ missing +│", done.out)
    assert len({len(line) for line in done.out.splitlines()[3:]}) == 1  # nothing wraps


def test_version_and_help(command):
    assert plain(spawn("--version")) == f"tinybound {tinybound.__version__}\n"
    verbs = ("doctor", "inspect", "compile", "simulate", "verify", "certify", "check", "firmware", "report")
    shown = spawn("--help")
    assert shown.code == 0
    assert all(re.search(rf"\b{verb}\b", shown.out) for verb in verbs)
    for verb in verbs:
        assert command(verb, "--help").code == 0
    assert spawn().code == 2


def test_wrong_usage():
    refusal(spawn("compile"), 2, "usage: ", "'model'")
    refusal(spawn("nonsense"), 2, "usage: ", "nonsense")
    done = spawn("verify", "--json", "--colour")
    assert done.code == 2
    assert json.loads(done.err)["exit_code"] == 2
