# SPDX-License-Identifier: Apache-2.0
"""One signed combination of outputs, as users write it: `y[0] - 2*y[3]`, or JSON coefficients per output."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError

_TERM = re.compile(r"([-+]?)(?:([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\*)?(.+?)\[([0-9,]{1,99})\](?=[-+]|$)")
EXPECTED = "a sum such as 'y[0] - 2*y[3]', or JSON such as '{\"y\": [1, 0, 0, -2]}'"


def parse_objective(text: str, shapes: Mapping[str, tuple[int, ...]]) -> NDArray[np.float64]:
    """Coefficients of all elements, outputs one after the other in the order of `shapes`."""
    parts = {name: np.zeros(shape) for name, shape in shapes.items()}
    stripped = re.sub(r"\s", "", text)
    if stripped.startswith(("{", "[")):
        _json(text, parts)
    else:
        _terms(stripped, text, parts)
    flat = np.concatenate([part.ravel() for part in parts.values()])
    if not np.isfinite(flat).all() or not flat.any():
        raise CompileError("--objective", f"{text!r}", "finite coefficients, not all zero")
    return flat


def _terms(stripped: str, text: str, parts: Mapping[str, NDArray[np.float64]]) -> None:
    at = 0
    while at < len(stripped) or at == 0:
        term = _TERM.match(stripped, at)
        if term is None:
            raise CompileError("--objective", f"{text!r}", EXPECTED)
        sign, factor, name, index = term.groups()
        place = tuple(int(i) for i in index.split(",") if i)
        if name not in parts:
            raise CompileError("--objective", f"no output {name!r}", f"one of {', '.join(parts)}")
        part = parts[name]
        if len(place) == 1 and part.ndim != 1:  # a flat position
            part = part.reshape(-1)
        if len(place) != part.ndim or any(i >= n for i, n in zip(place, part.shape, strict=True)):
            raise CompileError("--objective", f"{name}[{index}]", f"an element of shape {parts[name].shape}")
        part[place] += (-1 if sign == "-" else 1) * float(factor or 1)
        at = term.end()


def _json(text: str, parts: Mapping[str, NDArray[np.float64]]) -> None:
    try:
        raw: Any = json.loads(text)
        held: Mapping[str, Any] = raw if isinstance(raw, dict) else {next(iter(parts)): raw}
        for name, numbers in held.items():
            if name not in parts:
                raise CompileError("--objective", f"no output {name!r}", f"one of {', '.join(parts)}")
            parts[name][...] = np.asarray(numbers, np.float64).reshape(parts[name].shape)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CompileError("--objective", f"{text!r} ({error})", EXPECTED) from error
