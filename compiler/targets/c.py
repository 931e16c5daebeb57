# SPDX-License-Identifier: Apache-2.0
"""The C target: buffers in one arena, one kernel call per step, text by templates/*.c.j2."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np

from ..graph import Graph
from ..kernels import KERNELS
from ..kernels.choose import kernel_plan
from ..kernels.kernel_plan import KernelPlan
from ..kernels.one_shift import ratios
from ..passes.run_time_bits import has_bits
from ..rounding import HALF_EVEN
from .bounds import CertifiedError
from .grouping import plan_memory
from .layout import Memory
from .names import identifier
from .plan import ROUNDINGS, Step, zeros
from .render import render
from .row_calls import RowCall, row_calls
from .rows import Group
from .slices import whole_of

PAIRED = (0, 2, 1, 3, 4, 6, 5, 7)  # activations in the order in which UXTB16 unpacks two words
_INCLUDE = re.compile(r'^ *# *include "(tb_\w+\.h)"', re.MULTILINE)


def window(plan: KernelPlan, step: Step) -> dict[str, Any]:
    """Fields of the step's tb_window."""
    op: Any = step.node.op
    channels, height, width = step.view["input"]
    _, out_height, out_width = step.view["output"]
    groups = int(getattr(op, "groups", 1))
    kernel = getattr(op, "kernel", (1, 1))
    strides, dilations = getattr(op, "strides", (1, 1)), getattr(op, "dilations", (1, 1))
    pads = getattr(op, "pads", (0, 0, 0, 0))
    row = width * channels
    return {
        "height": height,
        "width": width,
        "depth": channels // groups,
        "out_height": out_height,
        "out_width": out_width,
        "groups": groups,
        "outputs": step.view["output"][0] // groups,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": strides[0],
        "stride_width": strides[1],
        "dilation_height": dilations[0],
        "dilation_width": dilations[1],
        "top": -pads[0],
        "left": -pads[1],
        "first": -(pads[0] * row + pads[1] * channels),
        "stride_row": strides[0] * row,
        "stride_column": strides[1] * channels,
        "dilation_row": dilations[0] * row,
        "dilation_column": dilations[1] * channels,
        "row_bytes": plan.packed(step).row_bytes,
        "pad": 0 if max(step.view["words"]) > 1 else zeros(step)[0],  # kernels of 16 bits are told apart
    }


def scaling(plan: KernelPlan, step: Step) -> dict[str, Any]:
    """Fields of a tb_scaling; `multiplier` is empty when it is 1 everywhere."""
    requantise = step.requantise
    assert requantise is not None
    ones = bool((requantise.multiplier == 1).all())
    assert ones or not step.node.op.wide  # 64 bits and a multiplier more would be too long
    found = ratios(step)
    multiplier, shift = requantise.multiplier, requantise.shift
    if found is not None:
        multiplier, shift = found.multiplier, np.array([found.shift])
    many = int(len(multiplier) > 1)
    if found is not None and not many:
        multiplier = np.repeat(multiplier, 4)  # a kernel reads four at once
    return {
        "multiplier": [] if ones else multiplier,
        "shift": shift,
        "direct": int(found is not None),
        "step": many,
        "zero": zeros(step)[1],
        "lo": requantise.lo,
        "hi": requantise.hi,
        "roundings": 0 if found is not None else ROUNDINGS[requantise.mode],
        **plan.kernel(step).scaling(step),
    }


def generate_c(
    graph: Graph,
    certified: CertifiedError | None = None,
    buffers: str = "caller",
    memory: Memory | None = None,
    plan: KernelPlan | None = None,
) -> dict[str, str]:
    """File name -> text of c/: NAME.h, NAME.c, NAME_float.h and the kernels.

    buffers: inputs and outputs are the `caller`'s, or lie in the `arena` and share its memory.
    memory: a layout other than the best one. plan: other kernels than those chosen.
    """
    name = identifier(graph.name)
    plan = plan or kernel_plan(graph)
    memory = memory or plan_memory(plan, buffers)
    where = {n: f"in{i}" for i, n in enumerate(graph.inputs)}
    where.update({n: f"out{i}" for i, n in enumerate(plan.outputs)})
    unit = 2 if plan.wide and memory.arena else 1  # bytes of an element of the arena
    chars = "((int8_t *)arena)" if unit > 1 else "arena"
    for n, at in memory.offsets.items():
        where[n] = f"(arena + {at // unit})" if plan.words[n] == unit else f"({chars} + {at})"
    for part in memory.slices.keys() - memory.offsets.keys():
        whole, at = whole_of(memory.slices, part)
        where[part] = f"({where[whole]} + {at})"
    used = [kernel for kernel in KERNELS if kernel in plan.kernels]
    headers = list(dict.fromkeys(["tb_kernels.h", *(header for kernel in used for header in kernel.headers)]))

    def calls(group: Group) -> list[RowCall]:
        return row_calls(group, where, partial(window, plan), lambda step: plan.kernel(step).apart)

    names = {
        "name": name,
        "graph": graph,
        "plan": plan,
        "memory": memory,
        "own": buffers == "arena",
        "at": where,
        "arena_unit": unit,
        "arena_bytes": chars,
        "input_word": f"int{8 * plan.words[graph.inputs[0]]}_t",
        "output_word": f"int{8 * plan.words[plan.outputs[0]]}_t",
        "bits": has_bits(graph),
        "window": partial(window, plan),
        "row_calls": calls,
        "is_group": lambda block: isinstance(block, Group),
        "apart": {b.index for b in memory.blocks if not isinstance(b, Group) and plan.kernel(b).apart},
        "apart_rows": {
            step.index: call
            for block in memory.blocks
            if isinstance(block, Group)
            for step, call in zip(block.steps, calls(block), strict=True)
            if call.own
        },
        "rows": None,
        "scaling": partial(scaling, plan),
        "headers": headers,
        "room": _room(plan),
        "certified": certified,
        "shifts_only": all((s.requantise.multiplier == 1).all() for s in plan.steps if s.requantise),
        "roundings": any(s.requantise.mode != HALF_EVEN for s in plan.steps if s.requantise),
        "inputs": [graph.values[n] for n in graph.inputs],
        "outputs": [graph.values[n] for n in graph.outputs],
        "pool": None if plan.pool is None else np.ravel(plan.pool.table() + plan.pool.raised()),
        "vectors": None if plan.pool is None else np.ravel(plan.pool.vectors[:, PAIRED]),
        "size": plan.size,
        "hex": _float_literal,
    }
    return {
        f"{name}.h": render("network.h.j2", **names),
        f"{name}.c": render("network.c.j2", **names),
        f"{name}_float.h": render("network_float.h.j2", **names),
        **_with_included(headers),
    }


def _float_literal(value: Any) -> str:
    """An exact hexadecimal C literal of a float32 value."""
    return f"{float(value).hex()}f"


def _room(plan: KernelPlan) -> dict[str, int]:
    """What TB_NAME is: the most room that any layer of a kernel needs."""
    found: dict[str, int] = {}
    for kernel in KERNELS:
        for step in plan.steps:
            if plan.kernel(step) is kernel:
                for what, count in plan.packed(step).room.items():
                    found[f"TB_{what}"] = max(found.get(f"TB_{what}", 0), count)
    return found


def _with_included(headers: Iterable[str]) -> dict[str, str]:
    """File name -> text of headers in firmware/ and of those that they include."""
    found: dict[str, str] = {}
    waiting = list(headers)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = (files("tinybound.firmware") / name).read_text(encoding="utf-8")
            waiting += _INCLUDE.findall(found[name])
    return found
