# SPDX-License-Identifier: Apache-2.0
"""Firmware for a board: built, run under emulation, counted; refused above an error budget."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .build import Build
from .errors import CompileError, PromiseError
from .passes.run_time_bits import reported
from .report.summary import with_setting, with_stack
from .simulate.boards import EVERY, Board
from .simulate.cycles import Flash
from .simulate.emulated import Counts
from .simulate.executors import against_golden, emulated, flatten, folder_of, packed
from .simulate.footprint import footprint


def board_of(name: str) -> Board:
    """A board by its core's name (cortex-m4) or its machine's (mps2-an386)."""
    machines = {board.machine[1]: board for board in EVERY.values() if board.name != "cortex-m0plus"}
    found = EVERY.get(name) or machines.get(name)
    if found is None:
        raise CompileError("--board", f"{name!r}", f"one of {', '.join([*EVERY, *machines])}")
    return found


def largest_bound(output: Mapping[str, Any]) -> float:
    """Of an output in a certificate: its probabilities where it is a Softmax, else the largest bound."""
    return float(output.get("probability_bound", max(output["bound"])))


def check_budget(build: Build, max_error: Fraction | None) -> list[str]:
    """Macros that make the generated header check the budget too; PromiseError when it does not hold."""
    if max_error is None:
        return []
    if max_error <= 0:
        raise CompileError("--max-error", f"{float(max_error)}", "a positive number")
    certificate = build.certificate
    if certificate is None:
        raise PromiseError("--max-error", "no certificate in this build", "one", "tinybound certify BUILD")
    worst = max(Fraction(largest_bound(output)) for output in certificate["outputs"].values())
    if worst > max_error:
        raise PromiseError(
            "--max-error",
            f"certified error {float(worst):.9g}",
            f"at most {float(max_error):.9g}",
            "tinybound certify BUILD --domain with a smaller box",
        )
    # Rounded up like the certified error, so that the header refuses nothing that was accepted here.
    return [f"{build.artefact.name}_MAX_ERROR_E9={ceil(max_error * 10**9)}"]


def make_firmware(
    build: Build, board: Board, max_error: Fraction | None = None, flash: Flash | None = None
) -> dict[str, Any]:
    """Build, verify and count; then put the image and the figures into the build. Returns the new report.

    flash: model cycles as well, with code in such a memory.
    """
    defines = check_budget(build, max_error)
    artefact, machine = build.artefact, emulated(board)
    sources = folder_of(artefact, board.name)
    vectors = build.vectors()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        found = against_golden(artefact, board.name, vectors, work)
        if found.first is not None:
            raise PromiseError(board.name, f"{found.mismatches} integers differ, first {found.first}", "none")
        macros = packed(artefact, board.name)
        first = flatten(build.graph, vectors)[:1]
        program = machine.build(sources, artefact.name, work, defines=[*defines, *macros])
        image = machine.image(program, first, 8, work)
        counts = machine.count(sources, artefact.name, work, first, defines=macros)
        fewer = reported(build.graph)[1:]
        if board.counts == "cycles":
            fewer = ()  # settings are told in instructions
        totals = machine.totals(sources, artefact.name, work, first, fewer, macros) if fewer else {}
        sizes = footprint(board, sources, artefact.name, work)
        timed = flash and machine.profile(sources, artefact.name, work, first, flash, defines=macros)
    report = with_counts(build.report, board.name, counts, build.sequence)
    if timed:
        report["cycles"] = {**report.get("cycles", {}), board.name: timed}
    for bits, total in totals.items():
        report = with_setting(report, board.name, bits, total)
    if board.name == report["core"]:
        report.update(flash_bytes=sizes.flash_bytes, ram_bytes=sizes.ram_bytes, stack_bytes=sizes.stack_bytes)
        report["ram_with_stack_bytes"] = with_stack(report)
    build.write_report(report, more={f"firmware/{artefact.name}-{board.name}.elf": image})
    return report


def time_on(build: Build, board: Board, inputs: NDArray[np.int8], bits: int, flash: Flash) -> dict[str, Any]:
    """Modelled cycles of one inference."""
    with tempfile.TemporaryDirectory() as work:
        sources = folder_of(build.artefact, board.name)
        macros = packed(build.artefact, board.name)
        return emulated(board).profile(
            sources, build.artefact.name, Path(work), inputs, flash, bits, defines=macros
        )


def count_on(build: Build, board: Board, inputs: NDArray[np.int8], bits: int) -> Counts:
    """Instructions of one inference, or cycles."""
    with tempfile.TemporaryDirectory() as work:
        sources = folder_of(build.artefact, board.name)
        macros = packed(build.artefact, board.name)
        return emulated(board).count(
            sources, build.artefact.name, Path(work), inputs[:1], bits, defines=macros
        )


def with_counts(
    report: Mapping[str, Any], core: str, counts: Counts, sequence: Sequence[int]
) -> dict[str, Any]:
    """The report with a core's instruction counts, or its cycles, per network and per layer.

    sequence: the layer behind each counted region; one that runs row by row comes once per row.
    """
    layers = [dict(layer) for layer in report["layers"]]
    sums: dict[int, int] = {}
    for index, count in zip(sequence, counts.layers, strict=True):
        sums[index] = sums.get(index, 0) + count
    for layer in layers:
        if layer["index"] in sums:
            layer[counts.unit] = {**layer.get(counts.unit, {}), core: sums[layer["index"]]}
    by = {**report["counted_by"], core: counts.counted_by}
    new = {**report, "counted_by": by, "layers": layers}
    if counts.unit == "cycles":
        what = {"model": "counted, for one input", "cycles": {"counted": counts.total}}
        return {**new, "cycles": {**report.get("cycles", {}), core: what}}
    new["instructions"] = {**report["instructions"], core: counts.total}
    if "settings" in report:
        new = with_setting(new, core, 8, counts.total)
    return new
