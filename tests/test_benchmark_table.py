# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/microcontrollers.py prints of a network, and its plot."""

import json
import sys
from pathlib import Path

import microcontrollers
import pytest

from tinybound.errors import CompileError


def table(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["microcontrollers.py", *map(str, arguments)])
    microcontrollers.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    heads, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(heads, row, strict=True)) for row in rows]


@pytest.mark.slow
def test_a_row_per_core_and_what_others_need(examples, tmp_path, monkeypatch, capsys):
    """Others stand beside a network of as many MACs, and wait states cost cycles alone."""
    found = table(monkeypatch, capsys, examples / "digits_mlp.onnx", "--domain=-1,1", "--core", "cortex-m4")
    macs = int(found[0]["MACs"].replace(",", ""))
    theirs = {
        "macs": macs,
        "cmsis_nn": {"cortex-m4": {"instructions": 2 * macs, "cycles_per_mac": [2.5, 2.75]}},
        "tflm": {"arena": 1234, "file": 5678},
        "boards": {"a board": 1.0},
    }
    monkeypatch.setitem(microcontrollers.REFERENCE, "networks", {"digits": theirs})
    plot = tmp_path / "networks.svg"
    arguments = ["--wait-states", "5", "--svg", tmp_path, "--domain=-1,1", "--core", "cortex-m4", "rv32imc"]
    m4, rv32, cmsis, tflm, board = table(monkeypatch, capsys, examples / "digits_mlp.onnx", *arguments)

    assert (m4["core"], rv32["core"]) == ("cortex-m4", "rv32imc")
    for row in (m4, rv32):
        count = int(row["instructions"].replace(",", ""))
        assert row["per MAC"] == f"{count / macs:.3f}"
        assert all(row[head] for head in ("code", "constants", "arena", "in, out", "stack"))
    assert rv32["cycles per MAC"] == ""
    fast, slow = (float(row["cycles per MAC"].split("-")[0]) for row in (found[0], m4))
    assert float(m4["per MAC"]) < fast < slow
    assert m4["instructions"] == found[0]["instructions"]
    assert (cmsis["per MAC"], cmsis["cycles per MAC"]) == ("2.000", "2.50-2.75")
    assert (tflm["constants"], tflm["arena"]) == ("5,678", "1,234")
    assert board["cycles per MAC"] == f"{120_000 / macs:.2f}"
    assert plot.read_text().count("<rect") == 3
    assert plot.read_text().count("<line") == 1


def test_wait_states_that_no_flash_has(examples, monkeypatch, capsys):
    with pytest.raises(CompileError, match="wait-states"):
        table(monkeypatch, capsys, examples / "digits_mlp.onnx", "--domain=-1,1", "--wait-states", "6")


def test_every_figure_of_others_has_a_source():
    whole = json.loads((Path(microcontrollers.__file__).parent / "reference.json").read_text())
    used = {key for each in whole["networks"].values() for key in each} - {"macs"}
    assert used <= whole["sources"].keys()
