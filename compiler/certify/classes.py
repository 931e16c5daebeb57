# SPDX-License-Identifier: Apache-2.0
"""Do both networks choose the same class everywhere in a box? A proof, an input that shows they do not, or
neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domains.exact import run
from ..domains.pair import Entry
from ..errors import CompileError
from ..graph import Graph
from ..ops.argmax import ArgMax
from ..ops.final import final
from .attack import at_point, enclosed, starts
from .combine import combined
from .lockstep import Lockstep, entries, lockstep
from .search import Search

Floats = NDArray[np.float64]
TRIED, CONFIRMED = 512, 4  # inputs of the search, and how many of its finds are evaluated exactly


@dataclass(frozen=True)
class Ball:
    """A box of inputs with the point it is about."""

    centre: Mapping[str, Floats]
    lower: Mapping[str, Any]
    upper: Mapping[str, Any]


@dataclass(frozen=True)
class Classes:
    """What is known of one ball. `*_stays`: that network's class is proven to be the same in all of it."""

    float_class: int
    integer_class: int
    float_stays: bool
    integer_stays: bool
    margin: float  # what both networks' class is ahead of every other by, at least; negative: not proven
    bound: float  # largest |difference| of a logit, at most
    refuted: Mapping[str, Floats] | None  # an input in the ball with different classes, evaluated exactly

    @property
    def agree(self) -> bool:
        """Proven: one class, the same in both networks, in the whole ball."""
        return self.float_stays and self.integer_stays and self.float_class == self.integer_class

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        shown = None if self.refuted is None else {n: x.ravel().tolist() for n, x in self.refuted.items()}
        return {
            "agree": self.agree,
            "float_class": self.float_class,
            "integer_class": self.integer_class,
            "float_stays": self.float_stays,
            "integer_stays": self.integer_stays,
            "margin": self.margin,
            "bound": self.bound,
            "refuted": shown,
        }


def logits(values: Mapping[str, str], whole: Graph) -> str:
    """The value whose largest element is the class; `values`: output -> bounded value."""
    names = list(dict.fromkeys(values.values()))
    if len(names) != 1 or len(whole.values[names[0]].shape) != 1 or whole.values[names[0]].size < 2:
        shapes = [whole.values[name].shape for name in names]
        raise CompileError("--margin", f"outputs of shapes {shapes}", "one vector with an element per class")
    return names[0]


def classes_of(
    real: Graph,
    whole: Graph,
    value: str,
    twin: str,
    balls: Sequence[Ball],
    seed: int,
    *,
    single: bool = False,
) -> list[Classes]:
    """One answer per ball, in order; `value`, `twin`: the logits in the integer and in the float network."""
    both = lockstep(real, whole, single=single)
    return [_one(real, whole, both, value, twin, ball, seed) for ball in balls]


def _one(real: Graph, whole: Graph, both: Lockstep, value: str, twin: str, ball: Ball, seed: int) -> Classes:
    at = entries(both, whole, ball.lower, ball.upper)
    search = Search(whole, both, at, {value: twin}, real)
    centre = np.concatenate([np.ravel(ball.centre[name]) for name in both.inputs])[None]
    x, y = search.values(search.clip(centre))
    n, last = x.shape[1], _last_wins(whole)
    chosen = _class(x[0], last=last), _class(y[0], last=last)
    ahead = np.delete(np.eye(n)[chosen[1]] - np.eye(n), chosen[1], axis=0)
    box = combined(both, at, [value], np.concatenate([np.eye(n), ahead]))
    stays = chosen[0] == chosen[1] and bool((box.lx[n:] > 0).all()), bool((box.ly[n:] > 0).all())
    return Classes(
        *chosen,
        *stays,
        float(np.minimum(box.lx[n:], box.ly[n:]).min()),
        float(np.maximum(box.ud[:n], -box.ld[:n]).max()),
        None if all(stays) else _refuted(search, both, at, value, centre, seed),
    )


def _last_wins(whole: Graph) -> bool:
    """Whether of several largest logits the last one is the class."""
    node = final(whole, whole.outputs[0])
    return node is not None and isinstance(node.op, ArgMax) and node.op.last == 1


def _class(row: Sequence[Any] | Floats, *, last: bool) -> int:
    """Position of the largest logit."""
    return max(range(len(row)), key=lambda k: (row[k], k if last else -k))


def _refuted(
    search: Search, both: Lockstep, at: Mapping[int, Entry], value: str, centre: Floats, seed: int
) -> Mapping[str, Floats] | None:
    """An input of the box at which the classes differ, if a short search sees one."""
    flat, _ = starts(search, np.random.default_rng(seed), TRIED)
    flat = np.concatenate([search.clip(centre), flat])
    x, y = search.values(flat)
    short = x.max(axis=1) - x[np.arange(len(x)), y.argmax(axis=1)]  # how much the float side prefers another
    for i in np.argsort(-short, kind="stable")[:CONFIRMED]:
        point = {name: part[0] for name, part in search.split(flat[i : i + 1]).items()}
        if short[i] > 0 and _differ(search.whole, both, at, value, point):
            return point
    return None


def _differ(
    whole: Graph, both: Lockstep, at: Mapping[int, Entry], value: str, point: Mapping[str, Floats]
) -> bool:
    """Whether the classes certainly differ at a point: integers exact, the float side enclosed."""
    low, high = (side.ravel() for side in enclosed(whole, both, at, [value], point)[value])
    _, q = at_point(both, at, point)
    quant = whole.values[value].quant
    assert quant is not None
    y = [quant.scale[0] * int(n - quant.zero) for n in run(whole, q)[value].ravel()]
    best = _class(y, last=_last_wins(whole))
    top = y[best] - Fraction(float(low[best]))  # the float side's is at most this
    return any(y[k] - Fraction(float(high[k])) > top for k in range(len(y)) if k != best)
