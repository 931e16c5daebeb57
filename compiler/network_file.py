# SPDX-License-Identifier: Apache-2.0
"""The integer network as files: network.json (structure, scales, ranges) and network.npz (arrays)."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CompileError
from .graph import Graph, Node, Quant, Value, check
from .ops import BY_NAME
from .ranges import Range

FORMAT = "tinybound-network-1"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def to_json(graph: Graph) -> dict[str, Any]:
    """Everything but the arrays, as JSON data. Format: docs/certificate.md."""
    values = []
    for value in graph.values.values():
        assert value.quant is not None and value.range is not None
        values.append(
            {
                "name": value.name,
                "shape": list(value.shape),
                "scale": [f"{s.numerator}/{s.denominator}" for s in value.quant.scale],
                "zero": value.quant.zero,
                "range": [value.range.lo, value.range.hi],
            }
        )
    nodes = []
    for node in graph.nodes:
        held = {f.name: getattr(node.op, f.name) for f in fields(node.op)}  # type: ignore[arg-type]
        nodes.append(
            {
                "name": node.name,
                "op": type(node.op).__name__,
                "inputs": list(node.inputs),
                "output": node.output,
                "origin": node.origin,
                "code": node.code,
                "fields": {k: v for k, v in held.items() if not isinstance(v, np.ndarray)},
                "arrays": sorted(k for k, v in held.items() if isinstance(v, np.ndarray)),
            }
        )
    return {
        "format": FORMAT,
        "name": graph.name,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "values": values,
        "nodes": nodes,
    }


def arrays_of(graph: Graph) -> dict[str, NDArray[Any]]:
    """The integer arrays of every node under NODE.FIELD."""
    return {
        f"{node.name}.{f.name}": getattr(node.op, f.name)
        for node in graph.nodes
        for f in fields(node.op)  # type: ignore[arg-type]
        if isinstance(getattr(node.op, f.name), np.ndarray)
    }


def from_json(data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Graph:
    """The graph that `to_json` and `arrays_of` wrote; checked."""
    found = data.get("format") if isinstance(data, Mapping) else None
    if found != FORMAT:
        raise CompileError("network.json", f"format {found!r}", repr(FORMAT), "tinybound compile again")
    try:
        return _graph(data, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CompileError(
            "network.json", f"damaged ({type(error).__name__}: {error})", FORMAT, "tinybound compile again"
        ) from error


def _graph(data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Graph:
    values = {}
    for entry in data["values"]:
        quant = Quant(tuple(Fraction(s) for s in entry["scale"]), entry["zero"])
        values[entry["name"]] = Value(entry["name"], tuple(entry["shape"]), quant, Range(*entry["range"]))
    nodes = []
    for entry in data["nodes"]:
        held = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["fields"].items()}
        held.update({k: np.asarray(arrays[f"{entry['name']}.{k}"]) for k in entry["arrays"]})
        op = BY_NAME[entry["op"]](**held)
        nodes.append(
            Node(entry["name"], op, tuple(entry["inputs"]), entry["output"], entry["origin"], entry["code"])
        )
    graph = Graph(data["name"], tuple(data["inputs"]), tuple(data["outputs"]), tuple(nodes), values)
    return check(graph, integer=True)


def dump_json(data: Any) -> bytes:
    """JSON with a stable text: sorted keys, two spaces, a final newline."""
    return (json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def dump_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An .npz whose bytes depend on the arrays only (no time stamps)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            item = io.BytesIO()
            np.lib.format.write_array(item, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), item.getvalue(), zipfile.ZIP_DEFLATED)
    return out.getvalue()
