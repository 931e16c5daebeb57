# SPDX-License-Identifier: Apache-2.0
"""Every executor by name, and one way to run any of them against the golden model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from ..graph import Graph
from ..passes.layout import Order
from ..passes.run_time_bits import has_bits
from ..targets.names import identifier
from ..targets.plan import exposed, make_plan, widest
from .avr import Avr
from .boards import AVR, BOARDS, EVERY, Board
from .compare import Comparison, compare
from .emulated import Emulated
from .golden import Ints, golden
from .host import Host
from .machine import Machine
from .rtl import Rtl

HOSTS = {"host": Host(), "host-sanitized": Host(sanitize=True)}
ALL: tuple[str, ...] = ("golden", "host", *BOARDS, "rtl")
WORDS: dict[int, str] = {1: "<i1", 2: "<i2"}  # how memory holds integers, by their bytes
LOW_BITS = (2, 3, 4, 5, 6, 7)
LOW_BITS_VECTORS = 16


@dataclass(frozen=True)
class Artefact:
    """What is executed: the integer graph and the folders of its C and Verilog (None: not generated)."""

    graph: Graph
    c: Path | None
    verilog: Path | None

    @property
    def name(self) -> str:
        """Name of the generated files."""
        return identifier(self.graph.name)


def emulated(board: Board) -> Emulated:
    """The machine of a board."""
    return Avr(board) if board is AVR else Emulated(board)


def machine_of(executor: str) -> Machine:
    """The machine behind an executor's name."""
    if executor in HOSTS:
        return HOSTS[executor]
    if executor in EVERY:  # an AVR is not among ALL: hardly a network fits
        return emulated(EVERY[executor])
    if executor == "rtl":
        return Rtl()
    known = dict.fromkeys((*ALL, *HOSTS, *EVERY))
    raise CompileError("--on", f"executor {executor!r}", f"one of {', '.join(known)}")


def folder_of(artefact: Artefact, executor: str) -> Path:
    """The generated sources an executor runs; CompileError when this build does not have them."""
    folder = artefact.verilog if executor == "rtl" else artefact.c
    if folder is None:
        target = "verilog" if executor == "rtl" else "c"
        raise CompileError(
            f"--on {executor}", f"the build has no {target}", f"tinybound compile --target {target}"
        )
    return folder


def flatten(graph: Graph, vectors: dict[str, Ints]) -> NDArray[np.int8]:
    """N x bytes: the network's inputs one after the other, each in the order of its ONNX tensor."""
    parts = [vectors[name].reshape(len(vectors[name]), -1) for name in graph.inputs]
    whole = np.concatenate(parts, axis=1).astype(WORDS[widest(graph, graph.inputs)])
    return np.ascontiguousarray(whole).view(np.int8)


def numbers(memory: NDArray[Any], width: int) -> Ints:
    """N x elements from N x bytes, of integers of `width` bytes."""
    found: Ints = np.ascontiguousarray(memory).view(WORDS[width]).astype(np.int64)
    return found


def unflatten(graph: Graph, outputs: NDArray[np.int8]) -> dict[str, Ints]:
    """The network's outputs by name, N x shape, from N x bytes with one output after the other."""
    ends = np.cumsum([graph.values[name].size for name in graph.outputs])
    whole = numbers(outputs, widest(graph, graph.outputs))
    parts = np.split(whole, ends[:-1], axis=1)
    return {
        name: part.reshape(len(part), *graph.values[name].shape)
        for name, part in zip(graph.outputs, parts, strict=True)
    }


def packed(artefact: Artefact, executor: str) -> list[str]:
    """Macros for the C driver when its default call does not do.

    Several inputs or outputs: all in one buffer each. Buffers in the arena: copied there and back.
    """
    graph, run = artefact.graph, f"{artefact.name}_run{'_bits' if has_bits(artefact.graph) else ''}"
    own = executor != "rtl" and _owns_buffers(artefact)
    if executor == "rtl" or (len(graph.inputs) == len(graph.outputs) == 1 and not own):
        return []
    sizes, places, copies = [], [], []
    for buffer, names in (("in", graph.inputs), ("out", graph.outputs)):
        ends = np.cumsum([0, *(graph.values[name].size for name in names)]).tolist()
        sizes.append(ends[-1])
        for i, at in enumerate(ends[:-1]):
            outer, inner = f"({buffer})+{at}", f"{artefact.name}_{buffer}put{i or ''}()"
            places.append(outer)
            ways = (inner, outer) if buffer == "in" else (outer, inner)
            copies.append(
                f"(void)memcpy({','.join(ways)},{graph.values[names[i]].size * widest(graph, names)})"
            )
    arguments = ",".join([*([] if own else places), *(["bits"] if has_bits(graph) else [])])
    macros = [
        f"TB_INPUT_SIZE={sizes[0]}",
        f"TB_OUTPUT_SIZE={sizes[1]}",
        f"TB_CALL(in,out)={run}({arguments})",
    ]
    if own:
        count = len(graph.inputs)
        macros += [f"TB_BEFORE(in)={';'.join(copies[:count])}", f"TB_AFTER(out)={';'.join(copies[count:])}"]
    return macros


def _owns_buffers(artefact: Artefact) -> bool:
    header = f"{artefact.name}.h"
    return artefact.c is not None and "_OWN_BUFFERS 1" in (artefact.c / header).read_text(encoding="utf-8")


def outputs_of(
    artefact: Artefact, executor: str, vectors: dict[str, Ints], bits: int, work: Path
) -> dict[str, Ints]:
    """The output integers of an executor, N x shape per graph output."""
    graph = artefact.graph
    if executor == "golden":
        values = golden(graph, vectors, bits)
        return {name: values[name] for name in graph.outputs}
    machine = machine_of(executor)
    macros = packed(artefact, executor)
    program = machine.build(folder_of(artefact, executor), artefact.name, work, defines=macros)
    return unflatten(graph, machine.run(program, flatten(graph, vectors), bits, work).outputs)


def against_golden(artefact: Artefact, executor: str, vectors: dict[str, Ints], work: Path) -> Comparison:
    """Every layer and the outputs of an executor against the golden model, at every run-time precision."""
    graph = artefact.graph
    plan = make_plan(graph)
    shown: list[tuple[str, Order, NDArray[np.int64]]] = []
    expected: dict[str, Ints] = {}
    settings = [(8, vectors)]
    if has_bits(graph):
        few = {name: array[:LOW_BITS_VECTORS] for name, array in vectors.items()}
        settings += [(bits, few) for bits in LOW_BITS]
    if executor == "golden":
        return compare([], golden(graph, vectors))
    machine = machine_of(executor)
    macros = packed(artefact, executor)
    program = machine.build(folder_of(artefact, executor), artefact.name, work, trace=True, defines=macros)
    for bits, some in settings:
        mark = "" if bits == 8 else f" @ {bits} bits"
        expected.update({f"{name}{mark}": array for name, array in golden(graph, some, bits).items()})
        result = machine.run(program, flatten(graph, some), bits, work)
        for index, value, order in exposed(plan):
            found = result.traces.get(index)
            seen = np.zeros((len(result.outputs), 0), np.int8) if found is None else found
            width = plan.steps[index].view["words"][-1]
            shown.append((f"{value}{mark}", order, numbers(seen, width)))
        for name, array in unflatten(graph, result.outputs).items():
            expected[f"output {name}{mark}"] = expected[f"{name}{mark}"]
            rows = array.reshape(len(array), -1)
            shown.append((f"output {name}{mark}", np.arange(rows.shape[1]), rows))
    return compare(shown, expected)
