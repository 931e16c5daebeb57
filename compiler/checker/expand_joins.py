# SPDX-License-Identifier: Apache-2.0
"""Constants that a Concat joins with tensors, and that a Max or Min compares a tensor with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .files import need
from .place import Place


def _concat(p: Place) -> bool:
    held = [name in p.constants for name in p.inputs]
    computed = [name for name in p.inputs if name in p.shapes]
    if computed and computed[0] in p.bare and int(p.attributes.get("axis", 0)) >= 0:
        behind = int(p.attributes["axis"]) - len(p.file_shape(computed[0]))
        p.put("Concat", p.inputs, axis=behind)
        return True
    if not computed or not any(held) or any(name in p.scales or name in p.kinds for name in computed):
        return False
    inputs = [_constant(p, computed[0], i) if held[i] else p.inputs[i] for i in range(len(p.inputs))]
    p.put("Concat", inputs, **p.attributes)
    return True


def _constant(p: Place, source: str, i: int) -> str:
    """Input i: nothing of `source`, times 2^-12, and the numbers added, each a channel of its own."""
    whole = p.constants[p.inputs[i]]
    shape = whole.shape[p.first_axis(source) :]
    need(whole.size in range(1, (1 << 16) + 1), f"{p.name}: a constant of {whole.size} values")
    need(source in p.bare or (whole.ndim and len(whole) == 1), f"{p.name}: a constant {whole.shape}")
    need(whole.dtype.kind == "f", f"{p.name}: {whole.dtype} parameters")
    if not np.count_nonzero(whole):
        return p.moved(source, np.zeros(shape, np.int64) - 1, f"zeros{i}")
    nothing = p.moved(source, np.zeros((whole.size, 1, 1), np.int64) - 1, f"zeros{i}")
    parts = [nothing, p.free(f"kernel{i}"), p.free(f"bias{i}")]
    p.constants[parts[1]] = np.ones((whole.size, 1, 1, 1)) / 4096
    p.constants[parts[2]] = whole.ravel()
    found = p.put("Conv", parts, f"map{i}", name=f"{p.name}.constant{i}", group=whole.size)
    return p.reshape(found, shape, f"constant{i}")


def _extremum(p: Place) -> bool:
    p.only()
    computed = [name for name in p.inputs if name in p.shapes]
    need(computed, f"{p.name}: no tensor")
    need(not any(n in p.scales or n in p.kinds for n in computed), f"{p.name}: computes with integers")
    if len(computed) > 1:
        return _largest(p, computed)
    source = computed[0]
    numbers: list[float] = []
    for name in p.inputs:
        if name == source:
            continue
        need(name in p.constants, f"{p.name}: input {name!r}")
        found = p.constants[name]
        need(found.dtype.kind == "f", f"{p.name}: a constant")
        full = p.file_shape(source)[::-1]
        grows = len(full) < found.ndim or any(
            n not in (1, m) for n, m in zip(found.shape[::-1], full, strict=False)
        )
        need(not grows, f"{p.name}: the tensor repeats along a constant")
        different = set(found.ravel().tolist())
        need(len(different) == 1, f"{p.name}: several numbers")
        numbers += different
    if not numbers:
        p.put("Identity", [source])
        return True
    low, high = (max(numbers), np.inf) if p.op == "Max" else (-np.inf, min(numbers))
    need(all(abs(n) < np.inf for n in numbers), f"{p.name}: limits {numbers}")
    if p.opset < 11:
        p.put("Clip", [source], min=float(low), max=float(high))
        return True
    ends = [p.free("limit"), p.free("limit")]
    for name, end in zip(ends, (low, high), strict=True):
        p.constants[name] = np.array(end)
    p.put("Clip", [source, *ends])
    return True


def _largest(p: Place, tensors: list[str]) -> bool:
    """All tensors one below the other; of every element a window of as many rows, a tensor's height apart."""
    held = [name for name in p.inputs if name not in tensors]
    need(all(name in p.constants for name in held), f"{p.name}: inputs")
    if held:
        p.put(p.op, [p.put(p.op, tensors, "tensors"), *held])
        return True
    need(len({p.first_axis(name) for name in tensors}) == 1, f"{p.name}: with and without batch axis")
    sizes = [p.file_shape(name) for name in tensors]
    need(len({len(size) for size in sizes}) == 1, f"{p.name}: shapes {sizes}")
    full = tuple(max(column) for column in zip(*sizes, strict=True))
    fits = all(n in (1, m) for size in sizes for n, m in zip(size, full, strict=True))
    need(fits, f"{p.name}: shapes {sizes}")
    if set(sizes) != {full}:
        at = p.free("shape")
        p.constants[at] = np.array(full)
        for i, size in enumerate(sizes):
            tensors[i] = tensors[i] if size == full else p.put("Expand", [tensors[i], at], f"expanded{i}")
        p.put(p.op, tensors)
        return True
    shape = p.shapes[tensors[0]]
    if len(shape) != 3:
        count = int(np.prod(shape))
        columns = [p.reshape(n, (1, count, 1), f"line{i}") for i, n in enumerate(tensors)]
        p.reshape(p.put(p.op, columns, "map"), shape)
    elif p.op == "Min":
        minus = p.free("minus")
        p.constants[minus] = -np.ones((shape[0], 1, 1, 1))
        turned = [p.put("Conv", [n, minus], f"turned{i}", group=shape[0]) for i, n in enumerate(tensors)]
        p.put("Conv", [p.put("Max", turned, "largest"), minus], group=shape[0])
    else:
        stack = p.put("Concat", tensors, "joined", axis=2)
        taps: dict[str, Any] = {"kernel_shape": [len(tensors), 1], "dilations": [shape[1], 1]}
        p.put("MaxPool", [stack], **taps)
    return True


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "Concat"): _concat,
    ("", "Max"): _extremum,
    ("", "Min"): _extremum,
}
