# SPDX-License-Identifier: Apache-2.0
"""The checker ends: however many leaves a certificate names, whatever memory its networks take."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import tinybound.checker
from tinybound.checker import check_certificate
from tinybound.checker.limits import TooLong, TooMuch, within


@pytest.fixture
def hostile(bundled, tmp_path):
    """A small file that asks for thousands of passes of a convolutional network: hours."""
    path, build = bundled("digits_cnn_16", tmp_path / "build")
    document = json.loads(path.read_text())
    count, value = 3000, build.graph.nodes[0].output
    cuts = [[value, i % 64, "x", f"{i}/{count}"] for i in range(count)]
    document["tree"] = [*(item for cut in cuts for item in (cut, None)), None]
    document["leaves"] = ["crown"] * (count + 1)
    document["method"] += ", worst piece"
    path.write_text(json.dumps(document))
    return path


def ends(limit, act):
    """What `act` returns, soon after the limit."""
    start = time.monotonic()
    answer = act()
    assert time.monotonic() - start < limit + 4  # one product of matrices, on a loaded machine
    return answer


def test_time(hostile):
    answer = ends(2, lambda: check_certificate(hostile, hostile.parent, timeout=2))
    assert not answer["accepted"]
    assert answer["reason"] == "not confirmed within 2 s; --timeout S allows more"
    assert answer["bound"] == {}


def test_time_in_another_thread(hostile):
    """A server's, say."""
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(check_certificate(hostile, hostile.parent, timeout=0.5))
    )
    thread.start()
    ends(0.5, thread.join)
    assert "within 0.5 s" in answers[0]["reason"]


def test_memory(hostile):
    """In a process of its own: what others have given back would be taken again without growing."""
    command = [sys.executable, "-m", "tinybound", "check", str(hostile), f"--memory={2**-9}"]
    done = ends(10, lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"not confirmed within {2**-9:g} GiB of memory; --memory GIB allows more" in done.stderr


def test_enough_of_both(bundled, tmp_path):
    """Nothing is left behind that would end what comes after."""
    path, _ = bundled("controller2", tmp_path / "build")
    for _ in range(3):
        assert check_certificate(path, path.parent, timeout=60, memory=1)["accepted"]
    time.sleep(0.3)


@pytest.mark.parametrize("limits, what", [((0.0, 1 << 40), TooLong), ((60.0, -(1 << 40)), TooMuch)])
def test_one_that_is_swallowed_comes_again(limits, what):
    seen = []

    def spin():
        with within(*limits):
            for _ in range(2):
                try:
                    while True:
                        pass
                except what as error:
                    seen.append(error)

    ends(5, spin)
    assert len(seen) == 2


def test_at_the_very_end():
    """A limit that is reached while the block ends: raised or not, but not behind it."""
    for i in range(20):
        with suppress(TooLong), within(0.1, 1 << 40):
            time.sleep(0.095 + i * 6e-4)
    time.sleep(0.3)


def test_the_command(hostile, command):
    outcome = command("check", hostile, "--timeout", "1")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "not confirmed within 1 s" in outcome.err
    for option in ("--timeout", "--memory"):
        for value in ("0", "-1", "nan", "inf"):
            outcome = command("check", hostile, option, value)
            assert (outcome.code, outcome.err.count("\n")) == (2, 1)
            assert "a positive number" in outcome.err


def test_alone(hostile, bundled, tmp_path):
    """The folder on its own, as somebody who does not trust us copies it."""
    shutil.copytree(Path(tinybound.checker.__file__).parent, tmp_path / "alone" / "checker")

    def run(*arguments):
        command = [sys.executable, "-m", "checker", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path / "alone", capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    path, _ = bundled("controller2", tmp_path / "good")
    code, out, err = run(path)
    assert (code, json.loads(out)["accepted"], err) == (0, True, "")
    code, out, err = run(hostile, "--timeout", "1")
    assert (code, json.loads(out)["accepted"], err) == (1, False, "")
    assert "within 1 s" in json.loads(out)["reason"]
    code, out, err = run(tmp_path / "nothing.json")
    assert (code, json.loads(out)["reason"], err) == (1, "nothing.json: no such file", "")
    code, out, err = run(path, "--timeout", "nan")
    assert (code, out) == (2, "")
    assert "a positive number" in err
