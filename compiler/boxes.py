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
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import read_npz
from .errors import CompileError
from .graph import Graph

Floats = NDArray[np.float64]
FLOAT32_MAX = float(np.finfo(np.float32).max)
_ASSERT = re.compile(r"\(\s*(<=|>=)\s+X_(\d+)\s+([-+0-9.eE]+)\s*\)")


@dataclass(frozen=True)
class Box:
    """lower[name] <= x <= upper[name], arrays of the input's shape; `grid`: only those x in it that the input
    quantiser's integers stand for."""

    lower: dict[str, Floats]
    upper: dict[str, Floats]
    grid: bool = False

    def holds(self, name: str, x: Floats) -> NDArray[np.bool_]:
        """Which of N inputs (N x shape) lie in the box."""
        axes = tuple(range(1, x.ndim))
        return np.asarray(((x >= self.lower[name]) & (x <= self.upper[name])).all(axis=axes))


def ball(centre: Mapping[str, Floats], radius: float, inside: Box | None = None) -> Box:
    """All inputs within `radius` of each element of `centre`, and in `inside`."""
    sides = [
        {name: _moved(x, sign * Fraction(radius), sign * np.inf) for name, x in centre.items()}
        for sign in (-1, 1)
    ]
    if inside is None:
        return Box(sides[0], sides[1])
    lower = {name: np.maximum(x, inside.lower[name]) for name, x in sides[0].items()}
    upper = {name: np.minimum(x, inside.upper[name]) for name, x in sides[1].items()}
    if any((lower[name] > upper[name]).any() for name in lower):
        raise CompileError("--domain", "a box that the ball does not touch", "one around the point")
    return Box(lower, upper)


def _moved(x: Floats, by: Fraction, towards: float) -> Floats:
    return np.array([_outward(Fraction(v) + by, towards) for v in x.ravel().tolist()]).reshape(x.shape)


def scaled(box: Box, share: float) -> Box:
    """The box shrunk towards its middle; 1 is the box itself, 0 its middle."""
    lower, upper = {}, {}
    for name, low in box.lower.items():
        middle = 0.5 * low + 0.5 * box.upper[name]
        lower[name] = np.maximum(low, middle + share * (low - middle))
        upper[name] = np.minimum(box.upper[name], middle + share * (box.upper[name] - middle))
    return Box(lower, upper)


def parse_box(text: str, graph: Graph) -> Box:
    """The box that `text` describes for the graph's inputs."""
    path = Path(text)
    try:
        if path.suffix == ".npz" and path.is_file():
            raw: Any = read_npz(path)
        elif path.suffix == ".json" and path.is_file():
            text_of = path.read_text(encoding="utf-8")
            raw = json.loads(text_of, parse_float=Decimal, object_pairs_hook=_once)
        elif path.suffix == ".vnnlib" and path.is_file():
            raw = _vnnlib(path.read_text(encoding="utf-8"))
        else:
            lo, hi = (Decimal(part) for part in text.split(","))
            raw = {"lower": lo, "upper": hi}
    except (ValueError, InvalidOperation, OSError, RecursionError) as error:
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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _ends(values: Any, shape: tuple[int, ...], towards: float) -> Floats:
    """One number for all elements, or an array of the input's shape, flat or with a batch axis of 1."""
    try:
        array = np.array(values, object)
        ends = np.array([_outward(_exact(v), towards) for v in array.ravel()])
        if array.ndim == 0:
            return np.broadcast_to(ends, shape).copy()
        if array.shape not in (shape, (1, *shape), (prod(shape),)):
            raise ValueError(f"their shape is {array.shape}")
        return ends.reshape(shape)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CompileError(
            "--domain",
            f"ends that do not fit shape {shape} ({error})",
            "finite numbers of that shape",
        ) from error


def _exact(value: Any) -> Fraction:
    """Decimals and whole numbers as written, others as the double they are; ValueError outside float32."""
    if isinstance(value, str) or not abs(float(value)) <= FLOAT32_MAX:
        raise ValueError(f"{value} is no float32")
    return Fraction(value if isinstance(value, Decimal | int) else float(value))


def _outward(exact: Fraction, towards: float) -> float:
    near = float(exact)
    inside = Fraction(near) > exact if towards < 0 else Fraction(near) < exact
    return float(np.nextafter(near, towards)) if inside else near


def _vnnlib(text: str) -> dict[str, list[Decimal]]:
    """The input box of a VNN-LIB file: (assert (<= X_i c)) and (assert (>= X_i c)) for every input."""
    ends: dict[str, dict[int, Decimal]] = {"lower": {}, "upper": {}}
    for sign, index, value in _ASSERT.findall(re.sub(";.*", "", text)):
        side = ends["upper" if sign == "<=" else "lower"]
        if side.setdefault(int(index), Decimal(value)) != Decimal(value):
            raise ValueError(f"more than one box over X_{index}")
    if not ends["lower"] or any(sorted(side) != list(range(len(ends["lower"]))) for side in ends.values()):
        raise ValueError("not a box over X_0 ... X_n")
    return {side: [found[i] for i in sorted(found)] for side, found in ends.items()}
