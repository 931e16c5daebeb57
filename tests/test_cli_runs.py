# SPDX-License-Identifier: Apache-2.0
"""simulate, certify, check and firmware as a user types them, and builds that were moved."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from command import COMMAND, listing, plain, spawn

import tinybound
from tinybound.simulate.golden import golden

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


@pytest.mark.parametrize("option", ["--line-bytes", "--cache-lines"])
def test_lines_of_flash_without_wait_states_are_refused(command, build, tmp_path, examples, option):
    """They would change nothing."""
    np.savez(tmp_path / "x.npz", x=inputs_of(examples, 1))
    files = ("--inputs", tmp_path / "x.npz", "--output", tmp_path / "y.npz", "--on", "cortex-m4")
    for verb in (("simulate", build, *files), ("firmware", build, "--board", "mps2-an386")):
        command.fails(2, option, "no cycles are modelled", "--wait-states", on=(*verb, option, "8"))


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
    done = command("certify", pooled, "--timeout", "0", "--bits", "4", "--json")
    assert done.code == 0, done.err
    assert done.json["semantics"]["bits"] == 4
    assert listing(pooled) == before


def test_check(command, build):
    pytest.importorskip("tinybound.checker.check")
    assert command("check", build / "certificate.json", "--json").json["accepted"] is True
    assert "accepted: True" in plain(command("check", build / "certificate.json", "--build", build))
    assert "accepted: True" in plain(command("check", build))


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
    assert spawn("certify", "moved", "--timeout", "0", cwd=moved.parent).code == 0
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


def test_a_report_of_an_older_version(build, tmp_path, command):
    """It does not name layers whose weights were rounded."""
    old = tmp_path / "OLD"
    shutil.copytree(build, old)
    report = json.loads((old / "report.json").read_text())
    del report["rounded_weights"]
    (old / "report.json").write_text(json.dumps(report))
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["files"]["report.json"] = hashlib.sha256((old / "report.json").read_bytes()).hexdigest()
    (old / "manifest.json").write_text(json.dumps(manifest))
    outcome = command("certify", old, "--timeout", "1")
    assert outcome.code == 0, outcome.err
