# SPDX-License-Identifier: Apache-2.0
"""Every verb as a user types it: exit codes, tables, JSON, files."""

import json
import re
import shutil

import numpy as np
import pytest
from command import COMMAND, InProcess, listing, refusal, spawn

import tinybound
from tinybound.simulate.golden import golden
from tinybound.tools import TOOLS

ANSI = "\x1b"


@pytest.fixture
def command(monkeypatch, capsys):
    return InProcess(monkeypatch, capsys)


@pytest.fixture(scope="module")
def built(cache, examples):
    """controller2, compiled by the installed command; never changed."""
    folder = cache / "cli"
    box = examples / "controller2_box.json"
    done = spawn("compile", examples / "controller2.onnx", "-o", folder, "--domain", box, "--seed", "3")
    assert (done.code, done.err) == (0, "")
    return folder


@pytest.fixture
def build(built, tmp_path):
    return shutil.copytree(built, tmp_path / "BUILD")


@pytest.fixture(scope="module")
def pooled(cache, examples):
    """A network with run-time bits, C only, without a certificate."""
    options = tinybound.Options(
        target="c", weights=("pool64",), calibration=examples / "digits_mlp_calibration.npz"
    )
    return tinybound.compile(examples / "digits_mlp.onnx", cache / "cli_pool", options).folder


def plain(done):
    """Exit 0, nothing on standard error, no colour and no cursor movement."""
    assert (done.code, done.err) == (0, "")
    assert ANSI not in done.out
    assert "\r" not in done.out
    return done.out


# compile


def test_compile_shows_a_table(command, tmp_path, examples):
    box = examples / "controller2_box.json"
    out = plain(command("compile", examples / "controller2.onnx", "-o", tmp_path / "B", "--domain", box))
    assert f"{tmp_path / 'B'}: controller2" in out.replace("\n", " ")
    assert re.search(r"dense2 │ Dense │ int8 │ 16 +│ +256 │", out)
    assert re.search(r"cortex-m4: flash \d+ B, RAM \d+ B, stack \d+ B", out)
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
        "target": "all", "core": "cortex-m4", "weights": ["int8"], "scales": "any", "calibration": None,
        "domain": "controller2_box.json", "reference": None, "max_error": None, "max_flash": None,
        "max_ram": None, "seed": 3,
    }  # fmt: skip
    assert set(manifest["files"]) == set(listing(built)) - {"manifest.json"}


def test_every_option(command, tmp_path, examples):
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


def test_a_new_build_replaces_the_old(command, build, examples):
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
    assert bound["inside"] + bound["outside"] == 128
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


def test_verify_a_softmax(command, tmp_path, examples):
    """The bound is on the logits."""
    folder = tmp_path / "B"
    model, samples = examples / "digits_cnn_softmax.onnx", examples / "digits_cnn_calibration.npz"
    on = ("--target", "c", "--calibration", samples, "--domain", "0,1")
    assert command("compile", model, "-o", folder, *on).code == 0
    verdict = command("verify", folder, "--on", "host", "--json").json
    assert verdict["ok"]
    assert 0 < verdict["bound"]["max_seen"] <= verdict["bound"]["bound"]


# simulate


def inputs_of(examples, count=20):
    with np.load(examples / "controller2_test.npz") as held:
        return held["x"][:count]


@pytest.mark.parametrize("executor", ["golden", "host", "cortex-m4"])
def test_simulate(command, build, tmp_path, examples, executor):
    given, out, x = tmp_path / "x.npz", tmp_path / "y.npz", inputs_of(examples)
    np.savez(given, x=x, other=np.array(["a note"]))
    done = command("simulate", build, "--inputs", given, "--output", out, "--on", executor, "--json")
    assert done.code == 0, done.err
    assert (done.json["executor"], done.json["vectors"]) == (executor, 20)
    loaded = tinybound.load(build)
    q = loaded.quantise({"x": x})
    expected = golden(loaded.graph, q)["y"]
    quant = loaded.graph.values["y"].quant
    with np.load(out) as found:
        assert set(found.files) == {"x__q", "y", "y__q"}
        np.testing.assert_array_equal(found["x__q"], q["x"])
        np.testing.assert_array_equal(found["y__q"], expected)
        np.testing.assert_array_equal(found["y"], float(quant.scale[0]) * (expected - quant.zero))
        assert found["y"].shape == (20, 1)
    report = command("report", build, "--json").json
    if executor == "cortex-m4":
        assert done.json["instructions"] == report["instructions"]["cortex-m4"] > 1000
        assert all(layer["instructions"]["cortex-m4"] > 100 for layer in report["layers"])
    else:
        assert report["instructions"] == {}
    np.savez(given, x__q=q["x"])  # the same as integers
    again = tmp_path / "again.npz"
    assert command("simulate", build, "--inputs", given, "--output", again, "--on", executor).code == 0
    with np.load(again) as found:
        np.testing.assert_array_equal(found["y__q"], expected)


def test_simulate_one_input_without_batch(command, build, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([0.1, -0.2]))
    out = plain(command("simulate", build, "--inputs", tmp_path / "x.npz", "--output", tmp_path / "y.npz"))
    assert out == f"executor: golden\nvectors: 1\noutput: {tmp_path / 'y.npz'}\n"
    with np.load(tmp_path / "y.npz") as found:
        assert found["y"].shape == (1, 1)


def test_simulate_into_the_build(command, build, tmp_path, examples):
    """Counting instructions writes the build anew; the output lies in it and stays."""
    np.savez(tmp_path / "x.npz", x=inputs_of(examples, 2))
    on = ("--inputs", tmp_path / "x.npz", "--output", build / "y.npz", "--on", "cortex-m4")
    assert command("simulate", build, *on).code == 0
    with np.load(build / "y.npz") as found:
        assert len(found["y"]) == 2


def test_simulate_at_few_bits(command, pooled, tmp_path):
    loaded = tinybound.load(pooled)
    q = {name: array[:9] for name, array in loaded.vectors().items()}
    np.savez(tmp_path / "x.npz", **{f"{name}__q": array for name, array in q.items()})
    for bits in (8, 5, 2):
        on = ("--inputs", tmp_path / "x.npz", "--output", tmp_path / "y.npz", "--on", "host", "--bits", bits)
        assert command("simulate", pooled, *on).code == 0
        (name,) = loaded.graph.outputs
        with np.load(tmp_path / "y.npz") as found:
            np.testing.assert_array_equal(found[f"{name}__q"], golden(loaded.graph, q, bits)[name])


# certify


def test_certify(command, build):
    text = (build / "c" / "controller2.h").read_text()
    old = json.loads((build / "certificate.json").read_text())
    header = int(re.search(r"CERTIFIED_ERROR_E9 (\d+)", text)[1])
    assert header == old["outputs"]["y"]["bound_e9"]
    assert command("firmware", build).code == 0
    done = command("certify", build, "--domain=-0.01,0.01", "--json")
    assert done.code == 0, done.err
    new = done.json
    assert new == json.loads((build / "certificate.json").read_text())
    assert {"outputs", "seconds", "method", "hashes", "domain"} <= set(new)
    for entry in new["outputs"].values():
        assert all(isinstance(value, float) for value in entry["bound"] + entry["attack"])
        assert all(0 < a <= b for a, b in zip(entry["attack"], entry["bound"], strict=True))
    assert new["domain"]["x"]["upper"][0] not in ("0.01", old["domain"]["x"]["upper"][0])
    assert "/" in new["domain"]["x"]["upper"][0]
    assert set(new["hashes"]) == {"float", "network", "network_arrays", "c", "verilog"}
    assert new["hashes"]["c"] != old["hashes"]["c"]
    assert new["hashes"]["network"] == old["hashes"]["network"]
    text = (build / "c" / "controller2.h").read_text()
    assert int(re.search(r"CERTIFIED_ERROR_E9 (\d+)", text)[1]) == new["outputs"]["y"]["bound_e9"] < header
    report = command("report", build, "--json").json
    assert report["certificate"]["outputs"]["y"]["bound"] == new["outputs"]["y"]["bound"]
    assert report["instructions"]["cortex-m4"] > 0  # known from before
    assert not (build / "firmware").exists()  # it was made under the other certificate
    assert command("verify", build, "--on", "host").code == 0
    out = plain(command("certify", build))
    assert re.search(r"certified in \d+\.\d s", out)
    assert re.search(r"y\[0\] +│ +\S+ +│ +\S+ +│ +\d+\.\d\d", out)


def test_certify_at_few_bits_is_not_kept(command, pooled):
    before = listing(pooled)
    done = command("certify", pooled, "--bits", "4", "--json")
    assert done.code == 0, done.err
    assert done.json["semantics"]["bits"] == 4
    assert listing(pooled) == before


def test_check(command, build):
    pytest.importorskip("tinybound.checker.check")
    assert command("check", build / "certificate.json", "--json").json["accepted"] is True
    assert "accepted: True" in plain(command("check", build / "certificate.json", "--build", build))


# firmware


def test_firmware(command, build):
    out = plain(command("firmware", build, "--board", "cortex-m4"))
    assert re.search(r"cortex-m4: \d+ instructions", out)
    assert (build / "firmware" / "controller2-cortex-m4.elf").read_bytes()[:4] == b"\x7fELF"
    done = command("firmware", build, "--board", "mps2-an385", "--json")
    assert set(done.json["instructions"]) == {"cortex-m4", "cortex-m3"}
    assert (build / "firmware" / "controller2-cortex-m3.elf").exists()
    assert set(json.loads((build / "manifest.json").read_text())["files"]) == set(listing(build)) - {
        "manifest.json"
    }


# inspect, doctor, usage


def test_inspect(command, examples):
    found = command("inspect", examples / "digits_cnn_qdq.onnx", "--json").json
    assert found["quantised"] is True
    assert found["macs"] == sum(node["macs"] for node in found["nodes"]) > 0
    out = plain(command("inspect", examples / "controller2.onnx"))
    assert re.search(r"dense2 +│ Dense │ +16 │ +256 │ +272", out)


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


# A build anywhere


def test_a_build_works_after_it_was_moved(built, tmp_path):
    """By a relative path, from inside, and read-only."""
    moved = tmp_path / "other place" / "moved"
    moved.parent.mkdir()
    shutil.copytree(built, moved)
    for where, name in ((tmp_path / "other place", "moved"), (moved, ".")):
        done = spawn("verify", name, "--on", "host,cortex-m4", "--json", cwd=where)
        assert (done.code, done.err) == (0, "")
        assert done.json["ok"]
    assert spawn("certify", "moved", cwd=moved.parent).code == 0
    assert spawn("report", "moved", cwd=moved.parent).code == 0
    assert listing(moved)["c/controller2.c"] == listing(built)["c/controller2.c"]


def test_rtl_from_a_moved_build(command, build):
    """Memory files are found wherever the build lies."""
    verdict = command("verify", build, "--on", "rtl", "--json").json
    assert verdict["ok"]
    assert verdict["stages"]["rtl"]["elements"] == 128 * (16 + 16 + 1 + 1)


def test_a_pipe_that_closes(built):
    """`tinybound report BUILD | head -1` ends quietly."""
    import subprocess

    line = f"{COMMAND} inspect {built / 'float.onnx'} | head -c 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
