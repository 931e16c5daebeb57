# SPDX-License-Identifier: Apache-2.0
"""What a model holds, before compiling it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .frontends import load_onnx


def inspect_model(path: Path) -> dict[str, Any]:
    """Ops, shapes, MACs, parameters and the quantisation found. Unsupported nodes raise, all at once."""
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
            }
        )
    return {
        "name": graph.name,
        "quantised": imported.quantised,
        "inputs": {name: list(graph.values[name].shape) for name in graph.inputs},
        "outputs": {name: list(graph.values[name].shape) for name in graph.outputs},
        "macs": sum(row["macs"] for row in rows),
        "parameters": sum(row["parameters"] for row in rows),
        "nodes": rows,
    }
