# SPDX-License-Identifier: Apache-2.0
"""Every rule of the analyses made wrong, one at a time: what it returns is narrower than what it proves.

The rules are all functions and methods of the modules that compute bounds, found by themselves: a new one is
mutated without being listed. The truth of every network is evaluated once, in rationals.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
from pair_nets import Pair, Rational, fractions, points, reals

from tinybound.domains.exact import run
from tinybound.domains.pair_float import above, below

SHARE = 0.05  # of the width that a rule returns, what is left of it
RADII = {
    "rx",
    "rd",
    "r",
    "g",
    "own",
    "noise",
    "fresh",
    "gx",
    "gd",
    "half",
    "e",
    "k",
    "jr",
    "lower",
    "upper",
    "cause",
    "lip",
    "steep",
    "slope",
}
PAIRS = (("lx", "ux"), ("ly", "uy"), ("ld", "ud"), ("low", "high"), ("kl", "ku"))


@dataclass(frozen=True)
class Rule:
    """A function, or a method of a class, of a module of ours."""

    module: ModuleType
    owner: Any
    name: str

    @property
    def key(self) -> str:
        """As the tables name it."""
        of = "" if self.owner is self.module else f"{self.owner.__name__}."
        return f"{self.module.__name__.removeprefix('tinybound.')}.{of}{self.name}"

    @property
    def function(self) -> Any:
        """What is called."""
        return inspect.getattr_static(self.owner, self.name)

    def replace(self, patch: Any, make: Any) -> None:
        """The rule by make(rule), wherever it is imported."""
        static, true = self.function, getattr(self.owner, self.name)
        if isinstance(static, staticmethod | classmethod):
            patch.setattr(self.owner, self.name, staticmethod(make(true)))
            return
        patch.setattr(self.owner, self.name, make(static))
        for module in list(sys.modules.values()) if self.owner is self.module else []:
            if (module.__name__ or "").startswith("tinybound.") and getattr(
                module, self.name, None
            ) is static:
                patch.setattr(module, self.name, make(static))


def rules(modules: Sequence[ModuleType]) -> Iterator[Rule]:
    """All of these modules' own functions and methods; of protocols, dataclasses and properties nothing."""
    for module in modules:
        for name, item in vars(module).items():
            if getattr(item, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(item):
                yield Rule(module, module, name)
            elif inspect.isclass(item) and not getattr(item, "_is_protocol", False):
                for inner, part in vars(item).items():
                    part = getattr(part, "__func__", part)
                    own = inspect.isfunction(part) and part.__code__.co_filename == module.__file__
                    if own:  # not what dataclass makes
                        yield Rule(module, item, inner)


def narrower(true: Any) -> Any:
    """The rule with less of what it returns; one that returns nothing does nothing."""

    def wrong(*args: Any, **named: Any) -> Any:
        signature = inspect.signature(true).return_annotation
        return None if signature in (None, "None") else less(true(*args, **named))

    return wrong


def less(value: Any) -> Any:
    """The same thing, narrower: ranges about their middles, radii and errors near 0."""
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, np.ndarray) for v in value):
        return _closer(*value)
    if isinstance(value, tuple | list):
        return type(value)(less(v) for v in value) if type(value) in (tuple, list) else value
    if is_dataclass(value) and not isinstance(value, type):
        return _of_fields(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        if value.ndim > 1 and len(value) == 6:  # a box of the checker
            ends = [end for k in range(3) for end in _closer(value[2 * k], value[2 * k + 1])]
            return np.stack(ends)
        return SHARE * value
    if isinstance(value, float):
        return SHARE * value
    return value


def _closer(low: Any, high: Any) -> tuple[Any, Any]:
    if np.asarray(low).dtype.kind in "iu":
        third = (high - low) // 3
        return low + third, high - third
    if np.shape(low) != np.shape(high) or not (np.isfinite(low).all() and np.isfinite(high).all()):
        return low, high
    middle = 0.5 * low + 0.5 * high
    return middle + SHARE * (low - middle), middle + SHARE * (high - middle)


def _of_fields(value: Any) -> Any:
    names, new = {field.name for field in fields(value)}, {}
    if type(value).__name__ == "Rows":  # coefficients that are carried back
        return replace(value, x=SHARE * value.x, d=None if value.d is None else SHARE * value.d)
    for low, high in PAIRS:
        if {low, high} <= names:
            new[low], new[high] = _closer(getattr(value, low), getattr(value, high))
    for name in names - set(new):
        part = getattr(value, name)
        if is_dataclass(part):
            new[name] = _of_fields(part)
        elif name in RADII and isinstance(part, np.ndarray | float):
            new[name] = SHARE * part
        elif name == "box" and isinstance(part, np.ndarray):
            new[name] = less(part)
    return replace(value, **new)


@dataclass(frozen=True)
class Truth:
    """Per value the exact ends of x, y and d over many inputs, as the floats that sound ends may not pass."""

    ends: dict[str, tuple[np.ndarray, ...]]

    def left(self, boxes: dict[str, Any]) -> bool:
        """Whether some range loses an exact value."""
        for name, ends in self.ends.items():
            if name in boxes:
                box = boxes[name]
                mine = box if isinstance(box, np.ndarray) else [getattr(box, end) for end in BOX]
                for k, (bound, end) in enumerate(zip(mine, ends, strict=True)):
                    if not (bound <= end if k % 2 == 0 else bound >= end).all():
                        return True
        return False


BOX = ("lx", "ux", "ly", "uy", "ld", "ud")


def truth(pair: Pair, seed: int, count: int = 40) -> Truth:
    """From random inputs, corners and borders of cells; float parameters as they are."""
    found: dict[str, list[Any]] = {}
    for x in points(pair, np.random.default_rng(seed), count):
        real, whole = run(pair.real, fractions(x), Rational()), run(pair.whole, pair.quantise(x))
        for name, value in pair.whole.values.items():
            y = reals(value, whole[name])
            found.setdefault(name, []).append((real[name], y, y - real[name]))
    ends = {}
    for name, seen in found.items():
        sides: list[np.ndarray] = []
        for part in zip(*seen, strict=True):
            for pick, near in ((np.minimum, below), (np.maximum, above)):
                exact = pick.reduce(np.stack(part))
                flat = [near(Fraction(v)) for v in exact.ravel()]
                sides.append(np.array(flat).reshape(exact.shape))
        ends[name] = tuple(sides)
    return Truth(ends)
