# SPDX-License-Identifier: Apache-2.0
"""Wrong versions of rules that do not return what they prove: of roundings, of rows on their way back, of
cells. Each takes the true rule."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from rule_mutants import SHARE, less, narrower

__all__ = ["less", "narrower"]

from tinybound.checker.forms import Pad


def floor(_true: Any) -> Any:
    """Rounds down whatever the mode."""
    return lambda n, m, s, mode, zero=0: (n * m) >> s


def nothing(_true: Any) -> Any:
    """An error of 0."""
    return lambda *args: 0.0 * np.asarray(args[-1], float)


def inexact(true: Any) -> Any:
    """Products of integers and a scale, off by a billionth."""
    return lambda q, scale: tuple(end * (1 - 1e-9) for end in true(q, scale))


def quarter(_true: Any) -> Any:
    """Rounding moves a quarter of a step."""
    return lambda mode, shift: Fraction(1, 4)


def no_gaps(true: Any) -> Any:
    """Differences between the taps of a window, all 0."""
    return lambda *args: type(true(*args))((0 * low, 0 * high) for low, high in true(*args))


def middle(true: Any) -> Any:
    """Rows at a root read the middles of its ranges."""

    def wrong(self: Any, rows: Any, total: Any) -> Any:
        value = rows.x * self._x[0] + (0.0 if rows.d is None else rows.d * self._d[0])
        total.add(value.sum(axis=0), np.abs(value).sum(axis=0), len(value))
        return []

    return wrong


def at_middles(_true: Any) -> Any:
    """The checker's version of it."""

    def wrong(box: Any, a: Any, out: Any) -> Any:
        middles = 0.5 * box[::2] + 0.5 * box[1::2]
        value = a[0] * middles[0] + (a[1] * middles[2] if len(a) == 2 else 0.0)
        out.add(value.sum(axis=0), np.abs(value).sum(axis=0), a.shape[1])
        return []

    return wrong


def one_reader(_true: Any) -> Any:
    """Of two readers of a tensor the last counts."""
    return lambda self, other: other


def first_of_each(places: Any) -> Any:
    """Every element of a part in the place of its first one."""
    return [np.full_like(part, part[0]) for part in places]


def lighter(true: Any) -> Any:
    """What was put on the tape last hands back a twentieth of its rows."""

    def wrong(self: Any, *args: Any) -> Any:
        place = true(self, *args)
        tape = getattr(self, "tape", self)
        node = tape.nodes[-1]
        tape.nodes[-1] = replace(node, back=lambda a, out: [SHARE * row for row in node.back(a, out)])
        return place

    return wrong


def lighter_node(true: Any) -> Any:
    """A node that hands back a twentieth of its rows."""

    def wrong(*args: Any, **named: Any) -> Any:
        node = true(*args, **named)
        return replace(node, back=lambda a, out: [SHARE * row for row in node.back(a, out)])

    return wrong


def made(**changes: Any) -> Any:
    """What is made, alone or at the end of a tuple, with these attributes changed."""

    def make(true: Any) -> Any:
        def wrong(*args: Any, **named: Any) -> Any:
            found = true(*args, **named)
            new = copy(found[-1] if isinstance(found, tuple) else found)
            for name, change in changes.items():
                if new is not None:
                    object.__setattr__(new, name, change(getattr(new, name)))
            return (*found[:-1], new) if isinstance(found, tuple) else new

        return wrong

    return make


def other_places(true: Any) -> Any:
    """A window whose elements, or what is read of each input, are in the wrong order."""

    def wrong(*args: Any) -> Any:
        here, what, *part = true(*args)
        return (here, [read[::-1] for read in what], *part) if part else (here[::-1], what)

    return wrong


def spread_backwards(true: Any) -> Any:
    """Rows whose last element goes to the first place."""
    return lambda self, into, size: true(self, into[::-1], size)


def reversed_places(into: Any) -> Any:
    """Each tensor's places from the last to the first."""
    return [(None if places is None else places[::-1], size) for places, size in into]


def planes_at_middles(true: Any) -> Any:
    """Lines and planes without their intercepts."""

    def wrong(*args: Any) -> Any:
        bent = true(*args)
        bent._planes[3] = bent._planes[4] = 0.5 * (bent._planes[3] + bent._planes[4])
        bent._choice = bent._chooser()  # as if they had been so when it was made
        return bent

    return wrong


def no_offer(true: Any) -> Any:
    """What a candidate leaves open is taken for its middle."""
    return lambda self, *args: true(self, *args[:-1], less(args[-1]))


def same_symbols(true: Any) -> Any:
    """No symbols for what the bands leave open."""

    def wrong(x: Any, lam: Any, half: Any, rad: Any, open_: Any) -> Any:
        return true(x, lam, 0 * half, rad, open_)

    return wrong


def last_is_first(true: Any) -> Any:
    """The last cell of every piece is never looked at."""

    def wrong(pieces: Any) -> Any:
        owner, q, starts = true(pieces)
        q = q.copy()
        q[np.append(starts[1:], len(q)) - 1] = q[starts]
        return owner, q, starts

    return wrong


def without_last(true: Any) -> Any:
    """The same in the checker."""

    def wrong(leaf: Any) -> Any:
        q = true(leaf).copy()
        q[-1] = q[0]
        return q

    return wrong


def less_bound(true: Any) -> Any:
    """Nine tenths of the bound."""
    return lambda *args: replace(true(*args), bound=0.9 * true(*args).bound)


def less_gaps(true: Any) -> Any:
    """Of one piece after the other."""
    return lambda *args: (each and replace(each, bound=0.0 * each.bound) for each in true(*args))


def next_integer(true: Any) -> Any:
    """Integers one too high."""
    return lambda *args: true(*args) + 1


def after(**changes: Any) -> Any:
    """A class whose instances have these attributes changed once they are made."""

    def make(true: Any) -> Any:
        def wrong(self: Any, *args: Any, **named: Any) -> None:
            true(self, *args, **named)
            for name, change in changes.items():
                setattr(self, name, change(getattr(self, name)))

        return wrong

    return make


def result(**changes: Any) -> Any:
    """A rule whose result has these fields changed."""

    def make(true: Any) -> Any:
        def wrong(*args: Any, **named: Any) -> Any:
            found = true(*args, **named)
            new = (
                {}
                if found is None
                else {name: change(getattr(found, name)) for name, change in changes.items()}
            )
            return replace(found, **new) if new else found

        return wrong

    return make


def smaller(true: Any) -> Any:
    """Elements together, of which each reads a twentieth of the noise and is off by a twentieth."""

    def wrong(*args: Any) -> Any:
        group = true(*args)
        if group is not None:
            group.m, group.rest = SHARE * group.m, SHARE * group.rest
        return group

    return wrong


def times(share: float) -> Any:
    """A rule, or an attribute, at a share of its value."""
    return lambda true: lambda *args, **named: share * true(*args, **named)


def silent(_true: Any) -> Any:
    """A rule that does nothing."""
    return lambda *args: None


def no_padding(_true: Any) -> Any:
    """What is read outside is 0 on both sides."""
    return lambda x, y: Pad(x)


def no_noise(true: Any) -> Any:
    """float32 rounds nothing; where there is no rounding, as before."""

    def wrong(*args: Any) -> Any:
        found = true(*args)
        return None if found is None else 0.0 * found

    return wrong


def same(_true: Any) -> Any:
    """Ranges as they were."""
    return lambda box, by: box


def same_state(_true: Any) -> Any:
    """A state as it was."""
    return lambda self, x, by: x


def same_rows(_true: Any) -> Any:
    """Rows go by and nothing is paid."""
    return lambda self, rows, total: [rows]


def without_bias(true: Any) -> Any:
    """Forms of other layers than those asked for."""

    def wrong(layers: Any, lower: Any, upper: Any) -> Any:
        return true([replace(layer, w=0.1 * layer.w, b=0.1 * layer.b) for layer in layers], lower, upper)

    return wrong


def few(side: Any) -> Any:
    """The first four vertices of a polygon."""
    return tuple(part[:4] for part in side)


def fewer(rows: Any) -> Any:
    """Rows whose products all begin with the first element of one of them."""
    return replace(rows, a=0 * rows.a)
