# SPDX-License-Identifier: Apache-2.0
"""The Verilog target: a hand-written block of hw/ per step, wired into a top with AXI4-Stream ports."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from ..encodings.pot4 import codes
from ..errors import CompileError
from ..graph import Graph
from ..ops import AveragePool, Requantise
from ..passes.run_time_bits import has_bits
from .names import identifier
from .plan import ROUNDINGS, Plan, Step, exposed, make_plan, widest, zeros
from .render import render

MIN_ACC = 19  # narrowest accumulator that every block takes


class Memories:
    """Collects the ROM files that templates ask for."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.files: dict[str, str] = {}

    def __call__(self, step: Step, name: str, words: Iterable[Any], width: int) -> str:
        """File name of a ROM holding `words` in two's complement, `width` bits each."""
        digits, mask = -(-width // 4), (1 << width) - 1
        file = f"{self.prefix}_{step.index}_{name}.mem"
        self.files[file] = "".join(f"{int(word) & mask:0{digits}x}\n" for word in words)
        return file


def accumulator_bits(graph: Graph, step: Step) -> int:
    """Width of the step's accumulator, from its derived range."""
    span = graph.values[step.node.output].range
    assert span is not None
    op = step.node.op
    taps = op.kernel[0] * op.kernel[1] if isinstance(op, AveragePool) else 0  # its zero point may stay in
    return max(span.bits, (128 * taps).bit_length() + 1, MIN_ACC)


def geometry(step: Step) -> dict[str, int]:
    """Parameters of tb_window that the step's block shares."""
    op: Any = step.node.op
    (c, h, w), (o, oh, ow) = step.view["input"], step.view["output"]
    kernel, strides = getattr(op, "kernel", (1, 1)), getattr(op, "strides", (1, 1))
    dilations, pads = getattr(op, "dilations", (1, 1)), getattr(op, "pads", (0, 0, 0, 0))
    return {
        "H": h,
        "W": w,
        "C": c,
        "OH": oh,
        "OW": ow,
        "O": o,
        "KH": kernel[0],
        "KW": kernel[1],
        "SH": strides[0],
        "SW": strides[1],
        "DH": dilations[0],
        "DW": dilations[1],
        "PT": pads[0],
        "PL": pads[1],
    }


def rounding(requantise: Requantise) -> dict[str, Any]:
    """Multiplier and shift as tb_requantise takes them: one number, or a table per channel."""
    m, s = set(requantise.multiplier.tolist()), set(requantise.shift.tolist())
    return {
        "multiplier": m.pop() if len(m) == 1 else 0,
        "shift": s.pop() if len(s) == 1 else 63,
        "channels": max(len(requantise.multiplier), 1),
        "roundings": ROUNDINGS[requantise.mode],
    }


def streams(plan: Plan) -> dict[str, str]:
    """Verilog name of the stream that carries each storage; the network's input is s0."""
    return {name: f"s{i}" for i, name in enumerate([*plan.graph.inputs, *(s.target for s in plan.steps)])}


def branches(plan: Plan) -> tuple[dict[tuple[int, int], str], list[tuple[str, str, str]]]:
    """Stream that each (step, input) reads, and the forks (from, to, to) for those with many readers."""
    feeds: dict[tuple[int, int], str] = {}
    forks: list[tuple[str, str, str]] = []
    for storage, stream in streams(plan).items():
        ends = [(s.index, i) for s in plan.steps for i, source in enumerate(s.sources) if source == storage]
        ends += [(-1, i) for i, source in enumerate(plan.outputs) if source == storage]
        rest = stream
        for n, end in enumerate(ends):
            if n == len(ends) - 1:
                feeds[end] = rest
            else:
                feeds[end], following = f"{stream}_{n}a", f"{stream}_{n}b"
                forks.append((rest, feeds[end], following))
                rest = following
    return feeds, forks


def ports(plan: Plan, feeds: dict[tuple[int, int], str]) -> dict[str, Any]:
    """How the one stream in is split among the inputs, and the outputs are joined into the one stream out."""
    inputs, outputs = plan.graph.inputs, plan.outputs
    names, size = streams(plan), plan.size
    splits, entry = [], names[inputs[-1]]
    for i in reversed(range(len(inputs) - 1)):
        after = sum(size[each] for each in inputs[i + 1 :])
        splits.append(
            {"source": f"in{i}", "a": names[inputs[i]], "b": entry, "first": size[inputs[i]], "second": after}
        )
        entry = f"in{i}"
    joins, leaving = [], feeds[(-1, 0)]
    for i in range(1, len(outputs)):
        before = sum(size[each] for each in outputs[:i])
        part = {
            "target": f"out{i}",
            "a": leaving,
            "b": feeds[(-1, i)],
            "first": before,
            "second": size[outputs[i]],
        }
        joins.append(part)
        leaving = f"out{i}"
    return {
        "splits": splits,
        "entry": entry,
        "joins": joins,
        "exit": leaving,
        "frame_in": sum(size[each] for each in inputs),
        "frame_out": sum(size[each] for each in outputs),
    }


def refuse_wide(graph: Graph) -> None:
    """Raise CompileError for a network with activations of 16 bits."""
    long = [value.name for value in graph.stored() if widest(graph, [value.name]) > 1]
    if long:
        raise CompileError(
            f"{graph.name}, {long[0]}", "activations of 16 bits", "8 bits in Verilog", "--target c"
        )


def generate_verilog(graph: Graph) -> dict[str, str]:
    """File name -> text of verilog/: NAME.v, all blocks, ROM contents, file lists and the C++ driver."""
    name = identifier(graph.name)
    plan = make_plan(graph)
    refuse_wide(graph)
    memories = Memories(name)
    feeds, forks = branches(plan)
    traces = [
        {"name": value, "index": index, "count": plan.size[plan.steps[index].target]}
        for index, value, _ in exposed(plan)
    ]
    names: dict[str, Any] = {
        "name": name,
        "graph": graph,
        "plan": plan,
        "feeds": feeds,
        "forks": forks,
        "stream": streams(plan),
        "unread": [streams(plan)[each] for each in graph.inputs if not plan.readers(each)],
        **ports(plan, feeds),
        "size": plan.size,
        "mem": memories,
        "geometry": geometry,
        "zeros": zeros,
        "rounding": rounding,
        "pot4_codes": codes,
        "acc_bits": lambda step: accumulator_bits(graph, step),
        "bits": has_bits(graph),
        "pool": None if plan.pool is None else plan.pool.table().ravel(),
    }
    top = render("network.v.j2", **names)
    driver = {
        "top": name,
        "has_bits": has_bits(graph),
        "frame_in": names["frame_in"],
        "frame_out": names["frame_out"],
    }
    blocks = {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in sorted(files("tinybound.hw").iterdir(), key=lambda e: e.name)
        if entry.name.endswith((".v", ".vlt"))
    }
    sources = [f for f in blocks if f.endswith(".v")] + [f"{name}.v"]
    return {
        f"{name}.v": top,
        **blocks,
        **memories.files,
        f"{name}.f": "".join(f"{source}\n" for source in sources),
        f"{name}.core": render(
            "network.core.j2", name=name, sources=sources, memories=sorted(memories.files)
        ),
        "driver.cpp": render("rtl_driver.cpp.j2", traces=[], **driver),
        "driver_trace.cpp": render("rtl_driver.cpp.j2", traces=traces, **driver),
    }
