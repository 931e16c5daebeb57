# SPDX-License-Identifier: Apache-2.0
"""Input boxes as users write them: LO,HI, a JSON or .npz file with lower and upper, or a VNN-LIB file.

Ends become float64, rounded outwards, so that the box that is certified holds the box that was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CompileError
from .graph import Graph

Floats = NDArray[np.float64]
_ASSERT = re.compile(r"\(\s*(<=|>=)\s+X_(\d+)\s+([-+0-9.eE]+)\s*\)")


@dataclass(frozen=True)
class Box:
    """lower[name] <= x <= upper[name], arrays of the input's shape."""

    lower: dict[str, Floats]
    upper: dict[str, Floats]

    def holds(self, name: str, x: Floats) -> NDArray[np.bool_]:
        """Which of N inputs (N x shape) lie in the box."""
        axes = tuple(range(1, x.ndim))
        return np.asarray(((x >= self.lower[name]) & (x <= self.upper[name])).all(axis=axes))


def parse_box(text: str, graph: Graph) -> Box:
    """The box that `text` describes for the graph's inputs."""
    path = Path(text)
    try:
        if path.suffix == ".npz" and path.is_file():
            with np.load(path, allow_pickle=False) as archive:
                raw: Any = {k: archive[k] for k in archive.files}
        elif path.suffix == ".json" and path.is_file():
            raw = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        elif path.suffix == ".vnnlib" and path.is_file():
            raw = _vnnlib(path.read_text(encoding="utf-8"))
        else:
            lo, hi = (Decimal(part) for part in text.split(","))
            raw = {"lower": lo, "upper": hi}
    except (ValueError, InvalidOperation, OSError, KeyError) as error:
        raise CompileError(
            "--domain", f"{text!r} is no box", "LO,HI or a .json, .npz or .vnnlib file that exists"
        ) from error
    return _box(raw, graph)


def _box(raw: Any, graph: Graph) -> Box:
    lower, upper = {}, {}
    for name in graph.inputs:
        entry = raw.get(name, raw) if isinstance(raw, Mapping) else None
        if not isinstance(entry, Mapping) or not {"lower", "upper"} <= set(entry):
            raise CompileError("--domain", f"no lower and upper for input {name!r}", "both")
        shape = graph.values[name].shape
        lower[name] = _ends(entry["lower"], shape, -np.inf)
        upper[name] = _ends(entry["upper"], shape, np.inf)
        if not (lower[name] <= upper[name]).all():
            raise CompileError("--domain", f"lower above upper for input {name!r}", "lower <= upper")
    return Box(lower, upper)


def _ends(values: Any, shape: tuple[int, ...], towards: float) -> Floats:
    try:
        flat = np.ravel(np.array(values, object))
        exact = [Fraction(v) if isinstance(v, Decimal) else Fraction(float(v)) for v in flat]
        ends = np.array([_outward(x, towards) for x in exact])
        return np.broadcast_to(ends, shape).copy() if ends.size == 1 else ends.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise CompileError(
            "--domain",
            f"{np.size(values)} value(s) that do not fit shape {shape}",
            "finite numbers of that shape",
        ) from error


def _outward(exact: Fraction, towards: float) -> float:
    near = float(exact)
    inside = Fraction(near) > exact if towards < 0 else Fraction(near) < exact
    return float(np.nextafter(near, towards)) if inside else near


def _vnnlib(text: str) -> dict[str, list[Decimal]]:
    """The input box of a VNN-LIB file: (assert (<= X_i c)) and (assert (>= X_i c)) for every input."""
    ends: dict[str, dict[int, Decimal]] = {"lower": {}, "upper": {}}
    for sign, index, value in _ASSERT.findall(text):
        ends["upper" if sign == "<=" else "lower"][int(index)] = Decimal(value)
    if not ends["lower"] or sorted(ends["lower"]) != sorted(ends["upper"]):
        raise ValueError("not a box over X_0 ... X_n")
    return {side: [found[i] for i in sorted(found)] for side, found in ends.items()}
