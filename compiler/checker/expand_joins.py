# SPDX-License-Identifier: Apache-2.0
"""Constants that a Concat joins with tensors, and that a Max or Min compares a tensor with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .files import need
from .place import Place


def _concat(p: Place) -> bool:
    held = [name in p.constants for name in p.inputs]
    computed = [name for name in p.inputs if name in p.shapes]
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
    need(len(computed) == 1, f"{p.name}: {len(computed)} tensors")
    source = computed[0]
    need(source not in p.scales and source not in p.kinds, f"{p.name}: computes with integers")
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


EXPANSIONS: dict[tuple[str, str], Callable[[Place], bool]] = {
    ("", "Concat"): _concat,
    ("", "Max"): _extremum,
    ("", "Min"): _extremum,
}
