# SPDX-License-Identifier: Apache-2.0
"""report.json: flash, RAM, stack, MACs, instructions, per network and per layer, and the certified bound."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..certify.certificate import Certificate
from ..errors import CompileError, PromiseError, ToolMissing
from ..graph import Graph
from ..options import Options
from ..simulate.boards import BOARDS
from ..simulate.footprint import footprint
from ..targets.c import plan_memory, scratch_bytes
from ..targets.names import identifier
from ..targets.plan import Plan, Step, make_plan

UNKNOWN: dict[str, Any] = {"flash_bytes": None, "code_bytes": None, "stack_bytes": None}


def summarise(
    graph: Graph, files: Mapping[str, bytes], core: str, certificate: Certificate | None
) -> dict[str, Any]:
    """The report of a build whose files are given; flash and stack need the core's compiler."""
    if core not in BOARDS:
        raise CompileError("--core", f"{core!r}", f"one of {', '.join(BOARDS)}")
    plan = make_plan(graph)
    sources = {name.removeprefix("c/"): data for name, data in files.items() if name.startswith("c/")}
    sizes = _sizes(graph, sources, core) if sources else {**UNKNOWN, "note": "no C in this build"}
    layers = [_layer(plan, step) for step in plan.steps]
    report: dict[str, Any] = {
        "name": graph.name,
        "core": core,
        "ram_bytes": plan_memory(plan).arena,
        "macs": sum(layer["macs"] for layer in layers),
        "instructions": {},
        "layers": layers,
        "parameters": sum(layer["parameters"] for layer in layers),
        **sizes,
    }
    if certificate is not None:
        report["certificate"] = {"outputs": certificate.outputs_json(), "largest": certificate.largest}
    return report


def _sizes(graph: Graph, sources: Mapping[str, bytes], core: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for name, data in sources.items():
            (folder / name).write_bytes(data)
        try:
            found = footprint(BOARDS[core], folder, identifier(graph.name), folder / "work")
        except ToolMissing as missing:
            return {**UNKNOWN, "note": str(missing)}
    return {
        "flash_bytes": found.flash_bytes,
        "code_bytes": found.code_bytes,
        "ram_bytes": found.ram_bytes,
        "stack_bytes": found.stack_bytes,
    }


def _layer(plan: Plan, step: Step) -> dict[str, Any]:
    op: Any = step.node.op
    weighted = op.weighted and "stored" in step.view
    stored = int(step.view["stored"].nbytes) + 4 * len(step.view["bias"]) if weighted else 0
    return {
        "index": step.index,
        "name": step.node.name,
        "op": type(op).__name__,
        "kernel": step.kind,
        "code": step.view.get("code", ""),
        "macs": op.macs() if weighted else 0,
        "parameters": int(op.weights.size + op.bias.size) if weighted else 0,
        "flash_bytes": stored,
        "ram_bytes": plan.size[step.target] + scratch_bytes(step),
        "shape": list(plan.graph.values[step.value].shape),
    }


def keep_counts(new: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The new report with the old one's instruction counts: a certificate changes no instruction."""
    counts = {layer["index"]: layer["instructions"] for layer in old["layers"] if "instructions" in layer}
    layers = [
        {**layer, "instructions": counts[layer["index"]]} if layer["index"] in counts else layer
        for layer in new["layers"]
    ]
    return {**new, "instructions": old["instructions"], "layers": layers}


def budget(report: Mapping[str, Any], options: Options) -> None:
    """Raise PromiseError when the build needs more flash or RAM than allowed."""
    for key, limit, flag in (
        ("flash_bytes", options.max_flash, "--max-flash"),
        ("ram_bytes", options.max_ram, "--max-ram"),
    ):
        if limit is None:
            continue
        found = report[key]
        if options.target == "verilog":
            raise CompileError(flag, "no C in this build", "--target c or all")
        if found is None:
            raise ToolMissing(flag, f"{key} is unknown: {report['note']}", "the core's compiler")
        if found > limit:
            raise PromiseError(
                flag, f"{found} bytes", f"at most {limit}", "a smaller model or --weights pool64"
            )
