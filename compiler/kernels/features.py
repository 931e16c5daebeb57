# SPDX-License-Identifier: Apache-2.0
"""What a step consists of, counted: the quantities that instructions of a kernel are proportional to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..targets.plan import Step
from .one_shift import ratios

Counts = dict[str, int]
OPERATION = re.compile(r"TB[BST]_([A-Z]+)")
REACH = 255  # bytes
WRITTEN_OUT = 3  # taps of a side, in tb_average_pool
ALIKE = {"SUB": "ADD", "SET": "ADD", "MINUS": "PLUS"}  # operations of as many instructions


def inside(step: Step) -> list[int]:
    """Of all windows along the height, and along the width: how many taps lie inside the map."""
    op: Any = step.node.op
    strides, dilations = getattr(op, "strides", (1, 1)), getattr(op, "dilations", (1, 1))
    kernel, pads = getattr(op, "kernel", (1, 1)), getattr(op, "pads", (0, 0, 0, 0))
    found = []
    for size, count, taps, stride, dilation, pad in zip(
        step.view["input"][1:], step.view["output"][1:], kernel, strides, dilations, pads[:2], strict=True
    ):
        at = np.arange(count)[:, None] * stride - pad + np.arange(taps) * dilation
        found.append(int(((at >= 0) & (at < size)).sum()))
    return found


def lines(step: Step) -> Counts:
    """Rows of taps of all windows: `cut` by a side of the map, `above` or below it, of an `odd` length."""
    op: Any = step.node.op
    channels, _, width = step.view["input"]
    _, rows, columns = step.view["output"]
    tall, wide = (getattr(op, "kernel", (1, 1))[i] for i in (0, 1))
    at = np.arange(columns)[:, None] * getattr(op, "strides", (1, 1))[1] - getattr(op, "pads", (0, 0))[1]
    at = at + np.arange(wide) * getattr(op, "dilations", (1, 1))[1]
    whole, there = int(((at >= 0) & (at < width)).all(axis=1).sum()), inside(step)[0]
    return {
        "cut": there * (columns - whole),
        "above": (rows * tall - there) * columns,
        "odd": rows * columns * tall * bool(channels * wide % 4),
    }


def window(step: Step) -> Counts:
    """Positions and taps of a window that slides over a map; a dense layer has one of each.

    row, position  of the output; row_tap, tap: of all its windows' rows, and of those rows' taps
    outside        of `tap`, those beyond the map, which read padding
    """
    _, rows, columns = step.view["output"]
    kernel = getattr(step.node.op, "kernel", (1, 1))
    taps = rows * columns * kernel[0] * kernel[1]
    return {
        "row": rows,
        "position": rows * columns,
        "row_tap": rows * columns * kernel[0],
        "tap": taps,
        "outside": taps - int(np.prod(inside(step))),
    }


def outputs(step: Step) -> Counts:
    """Elements of the output by the way that they are requantised, and those that are clipped further."""
    count, r = int(np.prod(step.view["output"])), step.requantise
    if r is None:
        return {"output": count}
    ones = bool((r.multiplier == 1).all())
    kind = "shifted" if ones else "direct" if ratios(step) is not None else "scaled"
    if "stored" not in step.view and r.shift.min() >= 32:  # kernels made for their numbers drop the low word
        kind += "_high"
    return {kind: count, "clipped": count if r.lo > -128 or r.hi < 127 else 0}


def affine(step: Step) -> Counts:
    """Of a layer with weights; mac: products, of which padded with padding."""
    found = window(step)
    filters, depth = len(step.view["rows"]), step.view["input"][0] // int(getattr(step.node.op, "groups", 1))
    return {
        "layer": 1,
        **found,
        **outputs(step),
        "filter_tap": found["tap"] * filters,
        "mac": found["tap"] * filters * depth,
        "padded": found["outside"] * filters * depth,
    }


def plain(step: Step) -> Counts:
    """Of a layer with weights whose every filter goes over the window for itself."""
    found = affine(step)
    return {**found, "filter_row_tap": found["row_tap"] * len(step.view["rows"])}


def pool(step: Step) -> Counts:
    """Of a window without weights: every channel has all of its taps.

    checked: where some lie outside. narrow: where compilers write them out one by one.
    """
    found, channels = window(step), step.view["output"][0]
    taps, narrow = found["tap"] * channels, 4 * found["row_tap"] >= found["tap"]
    return {
        "layer": 1,
        **found,
        **outputs(step),
        "channel": found["position"] * channels,
        "channel_row_tap": found["row_tap"] * channels,
        "checked" if found["outside"] else "channel_tap": taps,
        "padded": found["outside"] * channels,
        "narrow": taps * narrow,
        "narrow_channel": found["position"] * channels * narrow,
    }


def pool_inside(step: Step) -> Counts:
    """Of a window without weights that passes over padding: every channel has the taps inside."""
    op: Any = step.node.op
    channels, rows, columns = step.view["output"]
    tall, wide = inside(step)
    return {
        "layer": 1,
        "row": rows,
        "position": rows * columns,
        "window": rows * columns * sum(op.kernel),
        **outputs(step),
        "channel": rows * columns * channels,
        "channel_row": channels * columns * tall,
        "channel_tap": channels * tall * wide,
        "rest": channels * tall * (wide // max(columns, 1) % 4) * columns,
    }


def averages(step: Step) -> Counts:
    """Of averages over the part of each window that lies inside; few taps without padding are written out.

    far: lines further apart than constants of a Cortex-M0+ reach. floored: of no negative sum, and no output
    below the zero point; within: whose largest one is no output above the bound either.
    """
    op: Any = step.node.op
    channels, rows, columns = step.view["output"]
    tall, wide = inside(step)
    every, taps = channels * rows * columns, op.kernel[0] * op.kernel[1]
    far = channels * step.view["input"][2] > REACH
    found = {"layer": 1, "row": rows, "position": rows * columns, "far": every * far, **outputs(step)}
    short = max(op.kernel) <= WRITTEN_OUT and tall * wide == rows * columns * taps
    r: Any = step.requantise
    kinds = ("shifted", "scaled")  # in 64 bits
    floored = r is not None and r.zero == r.lo and op.zero == -128
    within = floored and 255 * taps * int(r.multiplier[0]) >> int(r.shift[0]) <= r.hi - r.zero
    way = "short_" * short, "_floored" * floored + "_within" * within
    found = {name.join(way) if name.startswith(kinds) else name: n for name, n in found.items()}
    if short:
        return {**found, "short_channel": every, "short_tap": every * taps}
    one = "one_" * (rows * columns == 1)  # compilers know where the only window begins
    more = {"window": rows * columns * sum(op.kernel), f"{one}channel": every}
    lines, taps = channels * columns * tall, channels * tall * wide
    one += "direct_" * any(kind.startswith("direct") for kind in found)  # which leaves registers
    return {
        **found,
        **more,
        f"{one}channel_row": lines,
        f"{one}channel_tap": taps,
        f"{one}far_row": lines * far,
    }


def elements(step: Step) -> Counts:
    """Of an op that goes from element to element; read: where inputs are more than outputs; wide: of a sum
    whose factors need long products; raised: where the zero point is not the lower bound.
    """
    op: Any = step.node.op
    wide = max(getattr(op, "ma", 0), getattr(op, "mb", 0)) >= 1 << 22
    read, count = int(np.prod(step.view["input"])), int(np.prod(step.view["output"]))
    r = step.requantise
    raised = count * (r is not None and r.zero != r.lo)
    found = {"layer": 1, **outputs(step), "read": read * (read > count), "wide": count * wide}
    return {**found, "raised": raised, "wide_high": found.get("shifted_high", 0) * wide}


def products(step: Step) -> Counts:
    """Of dot products of rows: rows of the first factor, the terms that are added of them, all products."""
    op: Any = step.node.op
    groups, rows, _, depth = op.extents
    found = {"layer": 1, "group": groups, "row": groups * rows, "term": groups * rows * depth}
    return {**found, **outputs(step), "mac": op.macs()}


def columns(step: Step, filters: int, unrolled: int = 8) -> Counts:
    """Of a layer that a DSP core computes for two positions and some filters at a time, four taps by four.

    one: at the last of an odd number of positions. column: activations that it widens before. rest: fours
    that the `unrolled` ones leave.
    """
    found = affine(step)
    outputs, taps = step.view["rows"].shape
    two, one = divmod(found["position"], 2)
    some, fours, depth = -(-outputs // filters), -(-taps // 4), step.view["input"][0]
    return {
        **found,
        "column": depth * (found["tap"] - found["outside"]),
        "column_padded": depth * found["outside"],
        "block": (two + one) * -(-outputs // 32),
        "two": two * some,
        "two_fours": two * some * fours,
        "one": one * some,
        "one_fours": one * some * fours,
        "rest": (two + one) * some * (fours % unrolled),
    }


def moves(step: Step) -> Counts:
    """Of an op that moves elements: by three tables, by one, or in runs from several inputs.

    single, double: of so few lanes, which compilers write out; one_table_column: of the only row or column.
    """
    view = step.view
    if "chunks" in view:
        runs = view["outer"] * len(view["chunks"])
        moved = view["outer"] * sum(view["chunks"])
        kind = "moved" if view["outer"] > 1 else "joined"
        return {"layer": 1, "input": len(view["chunks"]), "run": runs, kind: moved}
    count = len(view["movement"])
    if view["axes"] is None:
        return {"layer": 1, "found": count}
    rows, columns, lanes = map(len, view["axes"])
    found = {"layer": 1, "table_row": rows * (columns > 1), "lane": lanes}
    if lanes <= 2:
        return {**found, ("single", "double")[lanes - 1]: rows * columns}
    one = "one_" * (rows == 1 or columns == 1)
    return {**found, f"{one}table_column": rows * columns, "taken": rows * columns * lanes}


def operations(step: Step, lines: Iterable[str], one: bool) -> Counts:
    """Of a layer of straight-line code for two positions, or for the only one: each operation of its lines,
    and what `columns` counts of windows and outputs.
    """
    found = columns(step, 4)
    kept = ("layer", "row", "position", "tap", "outside", "column", "column_padded", "block", "clipped")
    turns = -(-found["position"] // 2)
    times = Counter(ALIKE.get(name, name) for line in lines for name in OPERATION.findall(line))
    return {
        **{name: found[name] for name in kept},
        **outputs(step),
        "two": turns * (not one),
        "group": turns * -(-len(step.view["rows"]) // 4) * (not one),
        **{name: turns * count for name, count in times.items()},
    }


def pooled(step: Step) -> Counts:
    """Of a layer of pool indices: vectors of all windows, and those that filters add, four at a time."""
    found = affine(step)
    groups, filters = step.view["input"][0] // 8, len(step.view["rows"])
    fours = -(-filters // 4)
    return {
        **found,
        "tap_vector": found["tap"] * groups,
        "outside_vector": found["outside"] * groups,
        "filter_vector": found["tap"] * groups * filters,
        "block": found["position"] * -(-filters // 32),
        "four": found["position"] * fours,
        "four_vector": found["tap"] * groups * fours,
    }
