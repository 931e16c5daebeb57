# SPDX-License-Identifier: Apache-2.0
"""The generated Verilog at a Python prompt, clock by clock, through pyverilator (extra `rtl`).

pyverilator 0.7.0, its last release, knows neither Verilator 5 nor Python 3.11. The package stays as it is:
we run Verilator ourselves, read the ports from its header, and use its C++ template and its class only.

Limits:
- slow, 11 to 22 us per clock: for looking at a frame or two; `simulate --on rtl` is for many;
- `sim` shows ports only (no internal signals), and their bits as unsigned numbers; `feed` is signed;
- no wave forms; one clock, named clk.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import chdir
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CompileError, PromiseError, ToolMissing
from ..graph import Graph
from ..tools import find, run
from .executors import Artefact, folder_of
from .rtl import verilator_environment

# VL_IN8(&clk,0,0); in the header of the model: direction, name, highest and lowest bit
_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&(\w+),(\d+),(\d+)")
_FLAGS = ("--cc", "--exe", "--trace", "--x-assign", "unique", "--x-initial", "unique", "-Wno-fatal")


class Interactive:
    """A running model. `sim` is the pyverilator object: `sim.io.m_axis_tvalid`, `sim.io.bits = 4`."""

    def __init__(self, sim: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]], bits: bool) -> None:
        self.sim, self.shapes, self.cycles = sim, shapes, 0
        sim.auto_eval = False  # else every write to a port evaluates the whole model
        if bits:
            sim.io.bits = 8
        self.reset()

    def reset(self) -> None:
        """Hold rst for four clocks: every frame under way is forgotten."""
        io = self.sim.io
        io.s_axis_tvalid, io.m_axis_tready, io.rst = 0, 0, 1
        for _ in range(4):
            self.step()
        io.rst = 0

    def settle(self) -> None:
        """Evaluate with the clock low: what the outputs are before the next edge."""
        self.sim.io.clk = 0
        self.sim.eval()

    def step(self) -> None:
        """One clock."""
        self.settle()
        self.sim.io.clk = 1
        self.sim.eval()
        self.cycles += 1

    def feed(self, frame: ArrayLike, limit: int = 1_000_000) -> NDArray[np.int64]:
        """The output (ONNX shape) for one frame (ONNX shape), int8 values, never holding back on either side.

        Several inputs or outputs: flat, one after the other in graph order.
        PromiseError when `limit` clocks pass without the whole answer, or when tlast comes at the wrong beat.
        """
        given, (shape_in, shape_out) = np.asarray(frame), self.shapes
        if given.shape != shape_in or given.dtype.kind not in "iu" or (np.abs(given + 0.5) > 128).any():
            raise CompileError("frame", f"{given.dtype} of shape {given.shape}", f"int8 values of {shape_in}")
        io, beats, out = self.sim.io, given.ravel().tolist(), list[int]()
        want, sent, start = int(np.prod(shape_out)), 0, self.cycles
        io.m_axis_tready = 1
        while len(out) < want:
            if self.cycles - start >= limit:
                raise PromiseError("rtl", f"{len(out)} beats in {limit} clocks", f"{want}")
            offer = sent < len(beats)
            io.s_axis_tvalid = int(offer)
            io.s_axis_tdata = beats[sent] & 255 if offer else 0
            self.settle()
            sent += int(offer and bool(io.s_axis_tready))
            if io.m_axis_tvalid:
                out.append((int(io.m_axis_tdata) ^ 128) - 128)
                if bool(io.m_axis_tlast) != (len(out) == want):
                    raise PromiseError("rtl", f"tlast wrong at beat {len(out)}", f"it at {want} alone")
            self.step()
        io.s_axis_tvalid, io.m_axis_tready = 0, 0
        return np.array(out, np.int64).reshape(shape_out)


def open_interactive(artefact: Artefact) -> Interactive:
    """Build the artefact's Verilog into this process (about 15 s) and reset it."""
    if find_spec("pyverilator") is None:
        raise ToolMissing("pyverilator", "not installed", "the extra rtl", 'pip install "tinybound[rtl]"')
    folder, graph = folder_of(artefact, "rtl").absolute(), artefact.graph
    names = (folder / f"{artefact.name}.f").read_text(encoding="utf-8").split()
    with TemporaryDirectory() as place:
        library = _build(artefact.name, [folder / name for name in names], Path(place))
        with chdir(folder):  # ROM files are read from the working folder, once, when the model first runs
            sim = _pyverilator().PyVerilator(str(library))
            sim.eval()
    # The library stays mapped although its file is gone.
    return Interactive(sim, (_frame(graph, graph.inputs), _frame(graph, graph.outputs)), "bits" in sim.io)


def _frame(graph: Graph, names: tuple[str, ...]) -> tuple[int, ...]:
    """The shape of the one value, or of all of them in a row."""
    values = [graph.values[name] for name in names]
    return values[0].shape if len(values) == 1 else (sum(value.size for value in values),)


def _build(top: str, sources: Sequence[Path], place: Path) -> Path:
    """A shared object in pyverilator's form."""
    for tool in ("make", "g++"):
        find(tool)
    wrapper, environment = place / "wrapper.cpp", verilator_environment(place)
    run(["verilator", *_FLAGS, "--top-module", top, "--Mdir", place, "-CFLAGS", "-fPIC -DVL_USER_FINISH",
         *sources, wrapper], env=environment)  # fmt: skip
    ports: dict[str, list[tuple[str, int]]] = {"IN": [], "OUT": []}
    for kind, name, high, low in _PORT.findall((place / f"V{top}.h").read_text(encoding="utf-8")):
        ports[kind].append((name, int(high) - int(low) + 1))
    template = _pyverilator().verilatorcpp.template_cpp
    wrapper.write_text(template(top, ports["IN"], ports["OUT"], [], '"null"'), encoding="utf-8")
    run(["make", "-s", "-j", "2", "-C", place, "-f", f"V{top}.mk", "LDFLAGS=-fPIC -shared"], env=environment)
    return place / f"V{top}"


def _pyverilator() -> Any:
    """pyverilator and its module verilatorcpp.

    Its import of tclwrapper fails on Python >= 3.11 (tkinter lost `split`). Only its GTKWave window needs
    that package, so an empty module stands in for it, in the whole process: nothing else of ours imports it.
    """
    sys.modules.setdefault("tclwrapper", ModuleType("tclwrapper"))
    import_module("pyverilator.verilatorcpp")
    return import_module("pyverilator")
