# SPDX-License-Identifier: Apache-2.0
"""What `certify` can be asked beside the certificate of a box: classes, combinations, the largest box."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .boxes import FLOAT32_MAX, Box, ball, parse_box, scaled
from .build import Build, load
from .certify.certificate import ARITHMETIC, bounded, twin_of
from .certify.classes import Ball, classes_of, logits
from .certify.objective import parse_objective
from .certify.question import largest_box
from .certify.reference import bound_reference
from .certify.shares import shares
from .certify.spread import executor, spread
from .errors import CompileError
from .frontends import load_onnx
from .passes.match import match_reference, with_inputs
from .passes.run_time_bits import with_bits
from .pipeline import read_inputs

Points = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Ask:
    """One call of certify. Where: `domain`, or the ball of `radius` about input `index` of `around` (within
    `domain`, if both are given). What: a certificate, with `objective` in it; or one of `inputs`, `margin`,
    `max_box`, `shares`, `reference`."""

    domain: str | None = None
    around: Path | None = None
    index: int = 0
    radius: float | None = None
    inputs: Path | None = None
    margin: bool = False
    objective: str | None = None
    max_box: float | None = None
    shares: bool = False
    reference: Path | None = None
    bits: int = 8
    seed: int = 0
    jobs: int | None = None
    cluster: str | None = None
    arithmetic: str = "real"

    def __post_init__(self) -> None:
        asked = {
            "--inputs": self.inputs is not None,
            "--margin": self.margin,
            "--objective": self.objective is not None,
            "--find-max-box": self.max_box is not None,
            "--shares": self.shares,
            "--reference": self.reference is not None,
        }
        if self.arithmetic not in ARITHMETIC:
            raise CompileError("--arithmetic", repr(self.arithmetic), f"one of {', '.join(ARITHMETIC)}")
        if self.single and (self.shares or self.reference is not None):
            what = "--shares" if self.shares else "--reference"
            raise CompileError(what, "--arithmetic float32", "--arithmetic real")
        several = [name for name, given in asked.items() if given]
        if len(several) > 1:
            raise CompileError(several[1], f"{several[0]} as well", "one question at a time")
        if self.inputs is not None and self.around is not None:
            raise CompileError("--inputs", "--around as well", "one of them")
        if self.radius is not None and not 0 <= self.radius <= FLOAT32_MAX:
            raise CompileError("--radius", f"{self.radius}", "a number, 0 or more, that float32 holds")
        if self.seed < 0:
            raise CompileError("--seed", f"{self.seed}", "0 or more")
        points = self.inputs is not None or self.around is not None
        if self.radius is not None and not points:
            raise CompileError("--radius", "no points", "--around X.npz or --inputs X.npz")
        if self.radius is None and points and self.max_box is None:
            raise CompileError("--radius", "none", "the radius of the balls", "--radius 0.01")
        if self.max_box is not None and not 0 < self.max_box < np.inf:
            raise CompileError("--find-max-box", f"{self.max_box}", "a positive number")

    @property
    def single(self) -> bool:
        """Whether the float network is computed in float32."""
        return self.arithmetic == "float32"

    @property
    def question(self) -> bool:
        """Whether more than a certificate is asked for."""
        return (
            self.margin
            or self.shares
            or any(q is not None for q in (self.inputs, self.max_box, self.reference))
        )


def no_idle_options(ask: Ask, timeout: float | None, export: Path | None, grid: bool, limit: object) -> None:
    """CompileError for an option that what is asked would not heed."""
    alone = ask.question and ask.inputs is None
    idle = {
        "--grid": (grid and ask.question, "a certificate"),
        "--max-error": (limit is not None and ask.question, "a certificate"),
        "--export-merged": (
            export is not None and (grid or ask.question or ask.single),
            "a certificate of real inputs and arithmetic",
        ),
        "--timeout": (timeout is not None and ask.question and ask.max_box is None, "--find-max-box"),
        "--jobs": (ask.jobs is not None and alone, "--inputs or a certificate"),
        "--cluster": (ask.cluster is not None and alone, "--inputs or a certificate"),
        "--index": (ask.index != 0 and ask.around is None, "--around"),
    }
    for name, (given, needs) in idle.items():
        if given:
            raise CompileError(name, "nothing that heeds it", needs)
    if export is not None and not export.absolute().parent.is_dir():
        raise CompileError(str(export), "cannot be written (no such folder)", "a writable file")
    if export is not None and export.suffix == ".vnnlib":
        raise CompileError(str(export), "the name of the query beside it", "another one, such as M.onnx")


def box_of(build: Build, ask: Ask) -> Box | None:
    """The box that is meant; None: the build's own."""
    inside = None if ask.domain is None else parse_box(ask.domain, build.graph)
    if ask.around is None or ask.radius is None:
        return inside
    return ball(_point(build, ask.around, ask.index), ask.radius, inside)


def weights_of(build: Build, ask: Ask) -> dict[str, NDArray[np.float64]] | None:
    """Coefficients per output of the combination that is asked for."""
    if ask.objective is None:
        return None
    values = bounded(build.graph)[0]
    shapes = {name: build.graph.values[value].shape for name, value in values.items()}
    return parse_objective(ask.objective, shapes)


def answer(folder: Path, ask: Ask, timeout: float | None = None) -> dict[str, Any]:
    """The answer as plain data; the build stays as it is, but that its report shows the shares.

    timeout: seconds for cutting boxes into pieces, where the question is for the largest box.
    """
    if timeout is not None and not timeout >= 0:
        raise CompileError("--timeout", f"{timeout:g}", "seconds, 0 or more")
    build = load(folder)
    build.check_bits(ask.bits)
    if ask.single:
        build.check_single()
    if ask.max_box is not None:
        return _largest(build, ask, ask.max_box, timeout or 0.0)
    if ask.reference is not None:
        return _reference(build, ask, ask.reference)
    return _shares(build, ask) if ask.shares else _classes(build, ask)


def _point(build: Build, path: Path, index: int) -> Points:
    held = read_inputs(path, build.graph)
    count = min(len(x) for x in held.values())
    if not 0 <= index < count:
        raise CompileError("--index", f"{index}", f"0 ... {count - 1}")
    return {name: x[index] for name, x in held.items()}


def _shares(build: Build, ask: Ask) -> dict[str, Any]:
    whole, box = with_bits(build.graph, ask.bits), box_of(build, ask) or build.domain
    found = shares(build.float_graph, whole, (box.lower, box.upper))
    build.write_report({**build.report, "shares": found})
    return found


def _reference(build: Build, ask: Ask, path: Path) -> dict[str, Any]:
    whole, box = with_bits(build.graph, ask.bits), box_of(build, ask) or build.domain
    other = with_inputs(load_onnx(path).graph, whole.inputs)
    try:
        matched = match_reference(other, whole)[1]
    except CompileError:  # other layers
        matched = None
    found = bound_reference(build.float_graph, whole, other, (box.lower, box.upper), ask.seed, matched)
    return {"reference": path.name, **found}


def _largest(build: Build, ask: Ask, limit: float, seconds: float) -> dict[str, Any]:
    whole, start = with_bits(build.graph, ask.bits), time.perf_counter()
    inside = None if ask.domain is None else parse_box(ask.domain, build.graph)
    if ask.around is not None:
        point = _point(build, ask.around, ask.index)
        kind, most = "radius", _reach(build) if ask.radius is None else ask.radius
        make = partial(ball, point, inside=inside)
    else:
        kind, most = "scale", 1.0
        make = partial(scaled, inside or build.domain)

    def ends(size: float) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        box = make(size)
        return box.lower, box.upper

    nets = build.float_graph, whole
    found = largest_box(*nets, ends, most, limit, ask.seed, seconds, single=ask.single)
    result: dict[str, Any] = {"error": limit, kind: found.size, "bound": found.bound}
    if found.next_size is not None:
        result |= {f"next_{kind}": found.next_size, "attack_there": found.next_attack}
    return {**result, "seconds": round(time.perf_counter() - start, 3)}


def _reach(build: Build) -> float:
    """Beyond this radius every input saturates."""
    reach = 0.0
    for name in build.graph.inputs:
        value = build.graph.values[name]
        assert value.quant is not None
        assert value.range is not None
        reach = max(reach, float(value.quant.scale[0]) * (value.range.hi - value.range.lo))
    return reach


def _classes(build: Build, ask: Ask) -> dict[str, Any]:
    whole, real, start = with_bits(build.graph, ask.bits), build.float_graph, time.perf_counter()
    value = logits(bounded(whole)[0], whole)
    balls = _balls(build, ask)
    how: dict[str, Any] = {"seed": ask.seed, "single": ask.single}
    task = partial(classes_of, real, whole, value, twin_of(real, whole, value), **how)
    jobs = 1 if ask.jobs is None else ask.jobs
    with executor(jobs, ask.cluster) as pool:
        found = spread(task, balls, pool, jobs)
    count = len(found)
    result: dict[str, Any] = {
        "inputs": count,
        "certified": sum(each.agree for each in found),
        "refuted": sum(each.refuted is not None for each in found),
        "float_stays": sum(each.float_stays for each in found),
        "integer_stays": sum(each.integer_stays for each in found),
    }
    result["certified_fraction"] = result["certified"] / count
    result["at_most_fraction"] = 1 - result["refuted"] / count
    result["seconds"] = round(time.perf_counter() - start, 3)
    return {**result, "rows": [{"index": i, **each.to_json()} for i, each in enumerate(found)]}


def _balls(build: Build, ask: Ask) -> list[Ball]:
    if ask.inputs is None:
        box = box_of(build, ask) or build.domain
        middle = {name: 0.5 * low + 0.5 * box.upper[name] for name, low in box.lower.items()}
        return [Ball(middle, box.lower, box.upper)]
    inside = None if ask.domain is None else parse_box(ask.domain, build.graph)
    held = read_inputs(ask.inputs, build.graph)
    assert ask.radius is not None
    balls = []
    for i in range(min(len(x) for x in held.values())):
        point = {name: x[i] for name, x in held.items()}
        box = ball(point, ask.radius, inside)
        balls.append(Ball(point, box.lower, box.upper))
    return balls
