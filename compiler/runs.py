# SPDX-License-Identifier: Apache-2.0
"""Verbs on BUILD folders with files in and files out."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .arrays import read_npz
from .asks import Ask, box_of, weights_of
from .build import Build, load
from .certify.certificate import Certificate
from .certify.chain import INPUTS
from .certify.effort import passes_of, thorough
from .certify.export import merged_files
from .errors import CompileError
from .firmware_image import count_on, time_on, with_counts
from .network_file import dump_npz
from .passes.run_time_bits import with_bits
from .report.summary import with_setting
from .simulate.boards import EVERY
from .simulate.cycles import BRANCHES, Flash
from .simulate.executors import ALL, flatten
from .simulate.verify import Verdict

SEARCH = 60.0  # seconds


def read_arrays(path: Path, build: Build) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz with their batch axis; a single input without one gains it."""
    try:
        held = read_npz(path)
    except ValueError as error:
        raise CompileError(str(path), str(error), "an .npz with one array per graph input") from error
    for name in build.graph.inputs:
        shape = build.graph.values[name].shape
        for key in (name, f"{name}__q"):
            if key in held and held[key].shape == shape:
                held[key] = held[key][None]
            if key in held and held[key].ndim and len(held[key]) == 0:
                raise CompileError(str(path), f"{key!r} is empty", "at least one input")
    return held


def simulate_files(
    folder: Path, inputs: Path, output: Path, on: str, bits: int, flash: Flash | None = None
) -> dict[str, Any]:
    """Run the inputs of a file, write the outputs to another; on a board, also count instructions.

    flash: model cycles too, with code in such a memory.
    """
    build = load(folder)
    arrays = read_arrays(inputs, build)
    result = build.simulate(arrays, on, bits)
    try:
        output.write_bytes(dump_npz(result))
    except OSError as error:
        raise CompileError(str(output), f"cannot be written ({error.strerror})", "a writable file") from error
    count = len(result[build.graph.outputs[0]])
    summary: dict[str, Any] = {"executor": on, "vectors": count, "output": str(output)}
    if flash is not None and on not in BRANCHES:
        raise CompileError("--wait-states", f"--on {on}", f"one of {', '.join(BRANCHES)}")
    if on in EVERY:
        flat = flatten(build.graph, build.quantise(arrays))
        counts = count_on(build, EVERY[on], flat, bits)
        summary[counts.unit] = counts.total
        summary["counted_by"] = counts.counted_by
        if flash is not None:
            summary["cycles"] = time_on(build, EVERY[on], flat, bits, flash)
        if bits == 8:
            build.write_report(with_counts(build.report, on, counts, build.sequence))
        elif counts.unit == "instructions":
            build.write_report(with_setting(build.report, on, bits, counts.total))
    return summary


def verify_build(folder: Path, on: str, inputs: Path | None, progress: Callable[[str], None]) -> Verdict:
    """Verify on the executors named, separated by commas, or on all that the build has sources for."""
    build = load(folder)
    names = None if on == "all" else [name.strip() for name in on.split(",") if name.strip()]
    if names == []:
        raise CompileError("--on", "no executor", f"all, or some of {', '.join(ALL)}")
    return build.verify(names, None if inputs is None else read_arrays(inputs, build), progress)


def certify_build(
    folder: Path,
    ask: Ask,
    timeout: float | None,
    progress: Callable[[float, float], None],
    passed: Callable[[float], None] = lambda _share: None,
    *,
    grid: bool,
) -> Certificate:
    """Certify a build over its own box or another, for `timeout` seconds (0: one pass over the whole box,
    however long it takes) or until Ctrl-C; by default that pass, and where the inputs have few elements a
    search for SEARCH seconds."""
    if timeout is not None and not timeout >= 0:
        raise CompileError("--timeout", f"{timeout:g}", "seconds, 0 or more")
    if ask.jobs is not None and ask.jobs < 1:
        raise CompileError("--jobs", f"{ask.jobs}", "1 or more")
    start, build = time.perf_counter(), load(folder)
    end, passes = (start + timeout, passes_of(timeout)) if timeout else (math.inf, {})
    if timeout is None:
        few = sum(build.graph.values[name].size for name in build.graph.inputs) <= INPUTS
        timeout = SEARCH if few else 0.0
    box = replace(box_of(build, ask) or build.domain, grid=grid)
    with stopping() as stop:
        jobs = len(os.sched_getaffinity(0)) if ask.jobs is None else ask.jobs
        hurry: dict[str, Any] = {"stop": stop, "cancel": stop, "end": end, "passed": passed, **passes}
        effort = thorough(timeout, progress=progress, jobs=jobs, cluster=ask.cluster, **hurry)
        weights = weights_of(build, ask)
        return build.certify(box, ask.seed, ask.bits, effort, single=ask.single, weights=weights)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; pressed again it interrupts, as ever."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals are the main thread's
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def export_merged(folder: Path, certificate: Certificate, bits: int, path: Path) -> None:
    """Write the merged network of a certificate to `path`, and its query beside it as .vnnlib."""
    build = load(folder)
    model, query = merged_files(build.float_graph, with_bits(build.graph, bits), certificate)
    try:
        path.write_bytes(model)
        path.with_suffix(".vnnlib").write_text(query, encoding="utf-8")
    except OSError as error:
        raise CompileError(str(path), f"cannot be written ({error.strerror})", "a writable file") from error
