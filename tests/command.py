# SPDX-License-Identifier: Apache-2.0
"""The command line under test: in this process (quick) or as the installed command, and small ONNX files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COMMAND = Path(sys.executable).with_name("tinybound")
ANSI = "\x1b"  # what every colour and every movement of the cursor begins with


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def spawn(*arguments: Any, env: dict[str, str] | None = None, **more: Any) -> Outcome:
    """The installed command in a process of its own."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(env or {})},
        check=False,
        **more,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class InProcess:
    """command("verify", build) runs main() here; `fails` does so with and without --json."""

    def __init__(self, monkeypatch: Any, capsys: Any) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: Any) -> Outcome:
        from tinybound.cli import main

        self.monkeypatch.setattr(sys, "argv", ["tinybound", *map(str, arguments)])
        self.capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Outcome(code, *self.capsys.readouterr())

    def fails(self, code: int, *words: str, on: tuple[Any, ...]) -> str:
        """The one line of a refusal; every word occurs in it."""
        plain = self(*on)
        line = refusal(plain, code, *words)
        shown = self(*on, "--json")
        said = json.loads(shown.err)
        assert (shown.code, shown.err.count("\n")) == (code, 1)
        assert said["exit_code"] == code
        assert " ".join(f"error: {said['error']}".split()) == line.removesuffix("\n")
        assert said["where"] in said["error"]
        return line


def plain(outcome: Outcome) -> str:
    """What was said; exit 0, nothing on standard error, no colour and no cursor movement."""
    assert (outcome.code, outcome.err) == (0, "")
    assert ANSI not in outcome.out
    assert "\r" not in outcome.out
    return outcome.out


def refusal(outcome: Outcome, code: int, *words: str) -> str:
    """One line `error: WHERE: ...` on standard error, no traceback, no slip of ours."""
    assert outcome.code == code, outcome
    assert outcome.err.startswith("error: "), outcome
    assert outcome.err.count("\n") == 1, outcome
    assert "Traceback" not in outcome.err + outcome.out
    assert "TINYBOUND_TRACEBACK" not in outcome.err, outcome
    for word in words:
        assert word in outcome.err, outcome
    return outcome.err


def dense_model(
    weights: Any, bias: Any = None, *, batch: Any = "N", shape: Any = None, names: Any = None
) -> onnx.ModelProto:
    """y = relu(x @ weights + bias), weights (inputs, outputs); `names` replaces x, w, b, h, y, product ..."""
    n = {k: k for k in ("x", "w", "b", "h", "y", "product", "relu")} | (names or {})
    weights = np.asarray(weights, np.float32)
    bias = np.zeros(weights.shape[1], np.float32) if bias is None else np.asarray(bias, np.float32)
    nodes = [
        helper.make_node("Gemm", [n["x"], n["w"], n["b"]], [n["h"]], n["product"]),
        helper.make_node("Relu", [n["h"]], [n["y"]], n["relu"]),
    ]
    given = shape or [batch, weights.shape[0]]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info(n["x"], TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(n["y"], TensorProto.FLOAT, [given[0], weights.shape[1]])],
        [numpy_helper.from_array(weights, n["w"]), numpy_helper.from_array(bias, n["b"])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """The model as a file."""
    path.write_bytes(model.SerializeToString())
    return path


def small(path: Path, seed: int = 0, inputs: int = 3, outputs: int = 2, **more: Any) -> Path:
    """A small random dense model as a file."""
    weights = np.random.default_rng(seed).normal(0, 0.5, (inputs, outputs))
    return save(dense_model(weights, **more), path)


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
