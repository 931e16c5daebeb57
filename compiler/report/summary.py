# SPDX-License-Identifier: Apache-2.0
"""report.json: flash, RAM, stack, MACs, instructions, per network and per layer, and the certified bound."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..certify.certificate import Certificate
from ..errors import ToolMissing
from ..graph import Graph
from ..kernels.choose import predicted
from ..kernels.kernel_plan import KernelPlan
from ..passes.run_time_bits import has_bits, reported
from ..simulate.boards import EVERY
from ..simulate.footprint import footprint
from ..targets.c import generate_c
from ..targets.constants import weight_bytes
from ..targets.grouping import plan_memory
from ..targets.layout import Memory
from ..targets.names import identifier
from ..targets.plan import Step

UNKNOWN: dict[str, Any] = {"flash_bytes": None, "code_bytes": None, "stack_bytes": None}


def summarise(
    plan: KernelPlan,
    files: Mapping[str, bytes],
    core: str,
    certificates: Mapping[int, Certificate],
    buffers: str = "caller",
) -> dict[str, Any]:
    """The report of a build whose files are given; flash and stack need the core's compiler."""
    graph = plan.graph
    sources = {name.removeprefix("c/"): data for name, data in files.items() if name.startswith("c/")}
    sizes = _sizes(graph, sources, core) if sources else {**UNKNOWN, "note": "no C in this build"}
    name = identifier(graph.name)
    text = sources[f"{name}.c"].decode() if sources else generate_c(graph, plan=plan)[f"{name}.c"]
    report: dict[str, Any] = {
        "name": graph.name,
        "core": core,
        **planned(plan, text, core, buffers),
        "instructions": {},
        "counted_by": {},
        **sizes,
    }
    report["ram_with_stack_bytes"] = with_stack(report)
    if certificates:
        best = certificates[8]
        report["certificate"] = {
            "outputs": best.outputs_json(),
            "largest": best.largest,
            "method": best.fields["method"],
            "arithmetic": best.arithmetic,
            "layers": best.fields["layers"],
        }
    if has_bits(graph):
        report["settings"] = {str(bits): _setting(certificates.get(bits)) for bits in reported(graph)}
    return report


def _setting(certificate: Certificate | None) -> dict[str, Any]:
    """What is known of a number of run-time activation bits."""
    return {"instructions": {}, "largest": None if certificate is None else certificate.largest}


def with_setting(report: Mapping[str, Any], core: str, bits: int, count: int) -> dict[str, Any]:
    """The report with a core's instructions at a number of run-time activation bits."""
    old = report.get("settings", {})
    entry = old.get(str(bits), _setting(None))
    new = {**entry, "instructions": {**entry["instructions"], core: count}}
    return {**report, "settings": {**old, str(bits): new}}


def _sizes(graph: Graph, sources: Mapping[str, bytes], core: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for name, data in sources.items():
            (folder / name).write_bytes(data)
        try:
            found = footprint(EVERY[core], folder, identifier(graph.name), folder / "work")
        except ToolMissing as missing:
            return {**UNKNOWN, "note": str(missing)}
    return {
        "flash_bytes": found.flash_bytes,
        "code_bytes": found.code_bytes,
        "ram_bytes": found.ram_bytes,
        "stack_bytes": found.stack_bytes,
        "stack_functions": found.frames,
    }


def with_stack(report: Mapping[str, Any]) -> int | None:
    """Bytes of arena, input, output and stack, on an AVR of constants too: all that a network takes.

    None: no compiler of the core.
    """
    stack: int | None = report["stack_bytes"]
    if stack is None:
        return None
    outside = report["input_bytes"] + report["output_bytes"] if report["buffers"] == "caller" else 0
    return int(report["ram_bytes"] + outside) + stack


def planned(plan: KernelPlan, text: str, core: str = "cortex-m4", buffers: str = "caller") -> dict[str, Any]:
    """What needs no compiler: RAM, constant data and MACs, of the network and per layer.

    text: the generated NAME.c, whose constants are counted.
    """
    memory = plan_memory(plan, buffers)
    stored, weights = weight_bytes(text, EVERY[core].dsp)
    layers = [_layer(plan, memory, step, stored.get(step.index, 0), core) for step in plan.steps]
    parameters = sum(layer["parameters"] for layer in layers)
    inputs, outputs = (sum(map(plan.bytes, names)) for names in (plan.graph.inputs, plan.outputs))
    activations = inputs + sum(layer["activation_bytes"] for layer in layers)
    total = memory.arena + (inputs + outputs if buffers == "caller" else 0)
    return {
        "ram_bytes": memory.arena,
        "input_bytes": inputs,
        "output_bytes": outputs,
        "buffers": buffers,
        "ram_total_bytes": total,
        "weight_bytes": weights,
        "macs": sum(layer["macs"] for layer in layers),
        "parameters": parameters,
        "activations_per_parameter": activations / parameters if parameters else None,
        "footprint_per_model_byte": (weights + total) / weights if weights else None,
        "layers": layers,
    }


def _layer(plan: KernelPlan, memory: Memory, step: Step, stored: int, core: str) -> dict[str, Any]:
    """One layer. ram_bytes: what the arena holds while it runs; buffer_bytes: less where rows suffice."""
    op: Any = step.node.op
    weighted = op.weighted and "stored" in step.view
    return {
        "index": step.index,
        "name": step.node.name,
        "op": type(op).__name__,
        "kernel": plan.kernel(step).name,
        **predicted(plan, step, core),
        "code": step.view.get("code", ""),
        "macs": op.macs(),
        "parameters": int(op.weights.size + op.bias.size) if weighted else 0,
        "flash_bytes": stored,
        "weight_bytes": stored,
        "activation_bytes": plan.bytes(step.target),
        "buffer_bytes": memory.buffer_bytes(plan, step),
        "ram_bytes": memory.live[step.index],
        "shape": list(plan.graph.values[step.value].shape),
    }


def keep_counts(new: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The new report with what a certificate does not change: instruction counts, and which weights are the
    file's."""
    counts = {layer["index"]: layer["instructions"] for layer in old["layers"] if "instructions" in layer}
    layers = [
        {**layer, "instructions": counts[layer["index"]]} if layer["index"] in counts else layer
        for layer in new["layers"]
    ]
    rounded = {name: old[name] for name in ("rounded_weights",) if name in old}  # of older builds not known
    counted = {name: old[name] for name in ("instructions", "counted_by")}
    kept = {**new, **rounded, **counted, "layers": layers}
    for bits, entry in old.get("settings", {}).items():
        for core, count in entry["instructions"].items():
            kept = with_setting(kept, core, int(bits), count)
    return kept
