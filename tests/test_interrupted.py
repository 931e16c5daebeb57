# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at any time: exit 130, one line, no BUILD, no temporary files, no children."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from command import COMMAND, listing

import tinybound
from tinybound import build as build_module
from tinybound import build_files
from tinybound.asks import Ask
from tinybound.build_folder import write_build
from tinybound.checker import check_certificate
from tinybound.errors import CompileError
from tinybound.runs import certify_build, stopping
from tinybound.simulate import golden as golden_module

DOMAIN = ("--domain=-1,1",)


@pytest.fixture(scope="module")
def built(small_build):
    return small_build


def processes(mark):
    """Living processes with `mark` in their command line or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            line = (entry / "cmdline").read_bytes()
            if entry.name != str(os.getpid()) and mark.encode() in line + (entry / "environ").read_bytes():
                found.append(line[:200])
    return found


def interrupt(arguments, place, ready, seconds=60):
    """The command with its temporary files in `place`; Ctrl-C as soon as ready(); what it said."""
    place.mkdir()
    env = {**os.environ, "TMPDIR": str(place), "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        [COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    end = time.monotonic() + seconds
    while not ready(child):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    out, err = child.communicate(timeout=30)
    assert time.monotonic() - pressed < 10
    assert (child.returncode, out) == (130, "")
    assert list(place.iterdir()) == [], "temporary files are left"
    assert processes(str(place)) == [], "children are left"
    return err


def computing(child):
    """numpy and onnx are loaded, and it has worked for a while."""
    loaded = "onnx" in Path(f"/proc/{child.pid}/maps").read_text()
    if loaded:
        time.sleep(0.5)
    return loaded


def test_interrupted_compile(tmp_path, examples):
    arguments = ("compile", examples / "digits_cnn.onnx", "-o", tmp_path / "BUILD", "--domain=0,1")
    err = interrupt(arguments, tmp_path / "tmp", computing)
    assert err == "error: interrupted\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tmp"]


def test_interrupted_compile_does_not_wait_for_its_vectors(tmp_path, examples, monkeypatch):
    """They are computed in threads, which Ctrl-C does not reach: here they would take minutes."""
    run = golden_module.run

    def slow(*arguments):
        time.sleep(0.2)
        return run(*arguments)

    def pressed(*_):
        time.sleep(0.3)
        began.append(time.monotonic())
        raise KeyboardInterrupt

    began = []
    monkeypatch.setattr(golden_module, "run", slow)
    monkeypatch.setattr(build_files, "FEWEST", 2000)
    monkeypatch.setattr(build_module, "first_within_budget", pressed)
    with pytest.raises(KeyboardInterrupt):
        tinybound.compile(examples / "controller2.onnx", tmp_path / "BUILD", tinybound.Options(domain="-1,1"))
    assert time.monotonic() - began[0] < 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "executor, program", [("rtl", "verilator_bin"), ("rtl", "cc1plus"), ("cortex-m4", "qemu")]
)
def test_interrupted_verify(build, tmp_path, examples, executor, program):
    """While Verilator, the C++ compiler or QEMU run below it."""
    before, place = listing(build), tmp_path / "tmp"
    vectors = tmp_path / "x.npz"
    np.savez(vectors, x=np.random.default_rng(0).uniform(-1, 1, (20_000 if program == "qemu" else 4, 3)))
    arguments = ("verify", build, "--on", executor, "--inputs", vectors, "--json")

    def running(child):
        return any(program in line[:100].decode(errors="replace") for line in processes(str(place)))

    err = interrupt(arguments, place, running)
    assert json.loads(err) == {"error": "interrupted", "where": "", "exit_code": 130}
    assert err.count("\n") == 1
    assert listing(build) == before


def test_interrupted_swap(build, monkeypatch):
    """Ctrl-C between the two renames: the old build comes back."""
    before, rename = listing(build), type(build).rename

    def interrupted(self, target):
        if target == build and ".BUILD." in str(self) and self.name != "old":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(build), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_build(build, {"new": b"1"}, {})
    assert listing(build) == before
    assert [p.name for p in build.parent.iterdir()] == ["BUILD"]


def test_certify_keeps_the_best_bound(examples, tmp_path):
    """The first Ctrl-C ends the search: the certificate of the pieces so far is written and holds."""
    place = tmp_path / "BUILD"
    built = tinybound.compile(
        examples / "controller4.onnx", place, tinybound.Options(domain=str(examples / "controller4_box.json"))
    )
    first = max(built.certificate["outputs"]["y"]["bound"])
    seen = []

    def progress(low, high):
        if low > 0:  # the search, not the passes before it
            seen.append((low, high))
        if len(seen) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    made = certify_build(place, Ask(), 600.0, progress, lambda _: None, grid=False)
    assert len(seen) == 4
    assert all(low <= high for low, high in seen)
    assert made.fields["tree"].count(None) == 4
    assert made.largest <= first
    assert tinybound.load(place).certificate == made.document()
    assert check_certificate(place / "certificate.json", place)["accepted"]


def test_pressed_twice():
    """The second Ctrl-C interrupts, and afterwards the first one does."""
    with stopping() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_search_that_must_not_last():
    with pytest.raises(CompileError, match="--timeout"):
        certify_build(Path(), Ask(), -1.0, lambda low, high: None, lambda _: None, grid=False)
