# SPDX-License-Identifier: Apache-2.0
"""What a model holds, before compiling it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .frontends import Imported, load_onnx
from .graph import Node


def inspect_model(path: Path) -> dict[str, Any]:
    """Ops, shapes, MACs, parameters and the quantisation found, by layer: `weights` that are the file's own
    integers, or that will be rounded to int8. Unsupported nodes raise, all at once."""
    imported = load_onnx(path)
    graph = imported.graph
    rows = []
    for node in graph.nodes:
        op: Any = node.op
        scale = imported.activations.get(node.output)
        rows.append(
            {
                "name": node.name,
                "op": type(op).__name__,
                "shape": list(graph.values[node.output].shape),
                "macs": op.macs() if op.weighted else 0,
                "parameters": int(op.weights.size + op.bias.size) if op.weighted else 0,
                "scale": None if scale is None else float(scale.scale),
                "weights": _weights(imported, node),
            }
        )
    return {
        "name": graph.name,
        "quantised": imported.quantised,
        "power_of_two_scales": _shifts_only(imported),
        "inputs": {name: list(graph.values[name].shape) for name in graph.inputs},
        "outputs": {name: list(graph.values[name].shape) for name in graph.outputs},
        "macs": sum(row["macs"] for row in rows),
        "parameters": sum(row["parameters"] for row in rows),
        "nodes": rows,
    }


def _weights(imported: Imported, node: Node) -> str:
    if not node.op.weighted:
        return ""
    return "the file's integers" if node.name in imported.weights else "rounded to int8"


def _shifts_only(imported: Imported) -> bool:
    """Whether every scale of a quantised model is a power of two: its multipliers are then shifts."""
    weighted = [node.name for node in imported.graph.nodes if node.op.weighted]
    scales = [s.scale for s in imported.activations.values()]
    scales += [s for name in weighted if name in imported.weights for s in imported.weights[name].scales]
    return (
        imported.quantised
        and all(name in imported.weights for name in weighted)
        and all(n & (n - 1) == 0 for s in scales for n in (s.numerator, s.denominator))
    )
