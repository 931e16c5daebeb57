# SPDX-License-Identifier: Apache-2.0
"""One signed combination of outputs, as users write it: `y[0] - 2*y[3]`, or JSON coefficients per output;
and its bound."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.pair import Entry
from ..domains.pair_box import Box
from ..domains.pair_float import slack, up
from ..domains.pair_window import Passes
from ..errors import CompileError
from .attack import COMBINED, Attack, contradicted
from .branch import Bounds
from .combine import combined
from .lockstep import Lockstep

Floats = NDArray[np.float64]
_TERM = re.compile(r"([-+]?)(?:([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\*)?(.+?)\[([0-9,]{1,99})\](?=[-+]|$)")
LARGEST = 1e30  # of a coefficient: so that no product or square of what it multiplies overflows
EXPECTED = "a sum such as 'y[0] - 2*y[3]', or JSON such as '{\"y\": [1, 0, 0, -2]}'"


def ends_of(
    both: Lockstep,
    at: Mapping[int, Entry],
    names: list[str],
    weights: Floats,
    bound: Bounds,
    passes: Passes | None = None,
    known: Mapping[int, Box] | None = None,
) -> tuple[Floats, Floats]:
    """weights . (integer - float) at least and at most, (1,) each: by what the elements share, or by their
    bounds. A weight per element of `names`, one value after the other. `known`: ranges of some steps, those
    that a checker knows: from narrower ones it may choose lines that leave more."""
    box = combined(both, at, names, weights[None], passes, known)
    each = np.concatenate([bound[n].ravel() for n in names])
    apart = np.abs(weights) @ each
    apart = up(apart + slack(each.size, apart))
    return np.maximum(box.ld, -apart), np.minimum(box.ud, apart)


def described(
    ends: tuple[Floats, Floats],
    weights: Mapping[str, Floats],
    found: Attack,
    claim: Callable[[Floats], Floats],
) -> dict[str, Any]:
    """`objective` of a certificate. weights: per output; `claim`: what is said of what was computed."""
    lower, upper = -claim(-ends[0]), claim(ends[1])
    bound = np.maximum(upper, -lower)
    contradicted({COMBINED: bound}, found)
    return {
        "weights": {name: part.ravel().tolist() for name, part in weights.items()},
        "lower": float(lower[0]),
        "upper": float(upper[0]),
        "bound": float(bound[0]),
        "attack": float(found.found[COMBINED][0]),
        "witness": {name: x.ravel().tolist() for name, x in found.witness[COMBINED][0].items()},
    }


def parse_objective(text: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Coefficients of all elements of every output."""
    parts = {name: np.zeros(shape) for name, shape in shapes.items()}
    stripped = re.sub(r"\s", "", text)
    if stripped.startswith(("{", "[")):
        _json(text, parts)
    else:
        _terms(stripped, text, parts)
    flat = np.concatenate([part.ravel() for part in parts.values()])
    if not (np.abs(flat) <= LARGEST).all() or not flat.any():
        raise CompileError("--objective", f"{text!r}", f"coefficients up to {LARGEST:g}, not all zero")
    return parts


def _terms(stripped: str, text: str, parts: Mapping[str, Floats]) -> None:
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


def _json(text: str, parts: Mapping[str, Floats]) -> None:
    try:
        raw: Any = json.loads(text, object_pairs_hook=_once)
        held: Mapping[str, Any] = raw if isinstance(raw, dict) else {next(iter(parts)): raw}
        for name, numbers in held.items():
            if name not in parts:
                raise CompileError("--objective", f"no output {name!r}", f"one of {', '.join(parts)}")
            parts[name][...] = np.asarray(numbers, np.float64).reshape(parts[name].shape)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CompileError("--objective", f"{text!r} ({error})", EXPECTED) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found
