# SPDX-License-Identifier: Apache-2.0
"""What a model holds and what it will cost, before compiling it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .errors import CompileError, ToolMissing
from .frontends import Imported, load_onnx
from .kernels.choose import kernel_plan
from .options import Options
from .pipeline import build_networks
from .report.summary import planned
from .simulate.boards import BOARDS
from .simulate.footprint import footprint
from .targets.c import generate_c
from .targets.grouping import plan_memory
from .targets.names import identifier

DEFAULT_BOX = "-1,1"  # of a model without scales: sizes do not depend on it, only requantisations do
SAMPLES = 2
MEASURED = ("flash_bytes", "code_bytes", "stack_bytes")


def inspect_model(path: Path) -> dict[str, Any]:
    """Ops, shapes, MACs, parameters, the quantisation found, and the plan. Unsupported nodes raise, at once.

    weights: whether a layer keeps the file's own integers. power_of_two_scales: requantisations are shifts.

    estimated: the model brings no scales, so it was quantised over a default box with int8 weights.
    """
    imported = load_onnx(path)
    graph = imported.graph
    stored = {value.name for value in graph.stored()}
    rows = []
    long = any(scale.wide for scale in imported.activations.values())  # so are inner values
    for node in graph.nodes:
        op: Any = node.op
        scale = imported.activations.get(node.output)
        shape, width = graph.values[node.output].shape, 2 if (scale.wide if scale else long) else 1
        rows.append(
            {
                "name": node.name,
                "op": type(op).__name__,
                "shape": list(shape),
                "activation_bytes": width * graph.values[node.output].size if node.output in stored else 0,
                "macs": op.macs(),
                "parameters": int(op.weights.size + op.bias.size) if op.weighted else 0,
                "scale": None if scale is None else float(scale.scale),
                "weights": imported.weights_of(node),
            }
        )
    return {
        "name": graph.name,
        "quantised": imported.quantised,
        "power_of_two_scales": imported.power_of_two,
        "inputs": {name: list(graph.values[name].shape) for name in graph.inputs},
        "outputs": {name: list(graph.values[name].shape) for name in graph.outputs},
        **_plan(path, imported),
        "macs": sum(row["macs"] for row in rows),
        "parameters": sum(row["parameters"] for row in rows),
        "nodes": rows,
    }


def _plan(path: Path, imported: Imported) -> dict[str, Any]:
    """RAM and constants as `compile` with default options would plan them, and flash per board."""
    known = imported.quantised and all(name in imported.activations for name in imported.graph.inputs)
    options = Options(domain=None if known else DEFAULT_BOX)
    try:
        graph = build_networks(path, options, SAMPLES).integer_graph
        plan = kernel_plan(graph)
        texts = generate_c(graph, plan=plan)
    except CompileError as error:  # what inspect shows of the file is worth showing all the same
        return {"estimated": not known, "note": f"no plan: {error}"}
    name = identifier(graph.name)
    return {
        "estimated": not known,
        **planned(plan, texts[f"{name}.c"]),
        "ram_buffers_arena_bytes": plan_memory(plan, "arena").arena,
        "boards": _boards(texts, name),
    }


def _boards(texts: dict[str, str], name: str) -> dict[str, dict[str, Any]]:
    """Flash and stack per board, measured; where a compiler is missing the code is named as not known."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        for board in BOARDS.values():
            try:
                cost = asdict(footprint(board, folder, name, folder / "work"))
            except ToolMissing as missing:
                found[board.name] = {**dict.fromkeys(MEASURED), "note": str(missing)}
            else:
                found[board.name] = {key: cost[key] for key in MEASURED}
    return found
