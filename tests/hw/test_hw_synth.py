# SPDX-License-Identifier: Apache-2.0
"""Every block goes through yosys; a shift-add layer has no multiplier."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hw_build import HW, SOURCES, tool
from hw_samples import mem

pytestmark = pytest.mark.slow

# memory file of a parameter at the block's default sizes: words, bits
ROMS = {
    "WEIGHT_FILE": (288, 8),
    "BIAS_FILE": (4, 32),
    "MULTIPLIER_FILE": (4, 31),
    "SHIFT_FILE": (4, 6),
    "INDEX_FILE": (36, 6),
    "TABLE_FILE": (256 * 64, 12),
    "FILE": (256, 8),
}
# Cells that no FPGA or ASIC flow should meet: latches and tri-states.
FORBIDDEN = ("latch", "$dlatch", "$_DLATCH", "$tribuf", "$_TBUF")


def synthesise(folder: Path, read: str, top: str, stop: str) -> dict[str, int]:
    """A structural check, then the cell counts after `synth` up to `stop`.

    The check comes first: yosys 0.23 leaves undriven bits behind when it merges a register into a memory.
    """
    yosys = tool("yosys", "apt-get install yosys")
    sources = " ".join(str(path) for path in SOURCES)
    script = (
        f"read_verilog {sources}; {read}; hierarchy -check -top {top}; proc; flatten; check -assert; "
        f"synth -top {top} {stop}; tee -q -o stat.json stat -json"
    )
    done = subprocess.run(
        [yosys, "-q", "-p", script], cwd=folder, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]


def cells(folder: Path, top: str, params: dict[str, object]) -> dict[str, int]:
    """Coarse cells (arithmetic still recognisable) of one block, its memories filled at random."""
    params = dict(params)
    for name in re.findall(r"parameter (\w*FILE)", (HW / f"{top}.v").read_text()):
        words, bits = (256, 16) if top == "tb_softmax" else ROMS[name]
        values = np.random.default_rng(0).integers(0, 1 << bits, words)
        nibbles = params.get("CODE") in ('"int4"', '"pot4"') and bits == 8
        (folder / name).write_text(mem(values, 4 if nibbles else bits))
        params[name] = f'"{name}"'
    sets = "".join(f"-set {k} {v} " for k, v in params.items())
    return synthesise(folder, f"chparam {sets}{top}" if sets else "", top, "-run begin:fine")


@pytest.mark.parametrize("top", [path.stem for path in SOURCES])
def test_block_is_synthesisable(top: str, tmp_path: Path) -> None:
    found = cells(tmp_path, top, {})

    assert not [cell for cell in found if any(bad in cell for bad in FORBIDDEN)]


def multipliers(found: dict[str, int]) -> int:
    """yosys makes $macc out of a product and a sum."""
    return found.get("$mul", 0) + found.get("$macc", 0)


@pytest.mark.parametrize("code", ["int8", "int4"])
def test_layer_has_one_multiplier(code: str, tmp_path: Path) -> None:
    assert multipliers(cells(tmp_path, "tb_affine", {"CODE": f'"{code}"'})) == 1


@pytest.mark.parametrize(
    ("top", "params"),
    [
        ("tb_affine", {"CODE": '"pot4"'}),
        ("tb_affine", {"CODE": '"ones"'}),
        ("tb_pool64", {}),
        ("tb_maxpool", {}),
        ("tb_requantise", {"MULTIPLIER": 1, "SHIFT": 7, "ZERO_OUT": 3}),
        ("tb_requantise", {"MULTIPLIER": 1, "SHIFT": 63, "CHANNELS": 4}),
        ("tb_requantise", {"MULTIPLIER": 1, "SHIFT": 40, "ROUNDINGS": 2}),
    ],
)
def test_no_multiplier(top: str, params: dict[str, object], tmp_path: Path) -> None:
    assert multipliers(cells(tmp_path, top, params)) == 0


def test_layer_maps_to_gates(tmp_path: Path) -> None:
    """The whole of `synth`, memories and all, for a small shift-add layer with its requantise."""
    (tmp_path / "weights.mem").write_text(mem(np.arange(54) % 16, 4))
    (tmp_path / "bias.mem").write_text(mem([5, -9, 70], 20))
    (tmp_path / "top.v").write_text("""
module top(input clk, input rst, input [7:0] s, input sv, output sr, output [7:0] m, output mv, input mr);
  wire [19:0] acc; wire av, ar;
  tb_affine #(.H(3), .W(3), .C(2), .OH(1), .OW(1), .O(3), .PT(0), .PL(0), .ACC_W(20), .CODE("pot4"),
    .WEIGHT_FILE("weights.mem"), .BIAS_FILE("bias.mem")) a (
    .clk(clk), .rst(rst), .s_axis_tdata(s), .s_axis_tvalid(sv), .s_axis_tready(sr),
    .m_axis_tdata(acc), .m_axis_tvalid(av), .m_axis_tready(ar));
  tb_requantise #(.ACC_W(20), .SHIFT(6)) r (
    .clk(clk), .rst(rst), .s_axis_tdata(acc), .s_axis_tvalid(av), .s_axis_tready(ar),
    .m_axis_tdata(m), .m_axis_tvalid(mv), .m_axis_tready(mr));
endmodule
""")

    found = synthesise(tmp_path, "read_verilog top.v", "top", "")

    print(found)
    assert all(cell.startswith("$_") for cell in found)
