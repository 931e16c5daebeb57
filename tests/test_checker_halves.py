# SPDX-License-Identifier: Apache-2.0
"""The checker's leaves by halves: each of its steps made wrong is noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_between import SIDES, noticed, small  # noqa: F401 -- a fixture

from tinybound.checker import halves, lines


class NextInteger(halves.Laws):
    """Integers one too high."""

    def __call__(self, *boxes):
        return super().__call__(*boxes) + 1


def less_of(name, change=lambda found: 0.3 * found):
    """A class of which a method returns less."""

    def make(true):
        def wrong(self, *args):
            return change(getattr(true, name)(self, *args))

        return type("Less", (true,), {name: wrong})

    return make


def none_left(found):
    """No halves."""
    return found.of(slice(0))


def half_left(found):
    """Of every part one half."""
    return found.of(slice(len(found.first) // 2))


def all_counted(found):
    """Whatever is left is taken for counted."""
    return np.ones_like(found)


def nothing(_self, *_args):
    return None


CHECKER_HALVES = {
    "no rest": (
        "lines",
        lambda true: lambda *a: replace(true(*a), r=0.0 * true(*a).r, slope=0.5 * true(*a).slope),
    ),
    "wrong integers": ("Laws", lambda _: NextInteger),
    "half of the difference": ("gap", lambda true: lambda *a: 0.5 * true(*a)),
    "half of what is known of all cells": ("Halves", less_of("_about", lambda v: (0.5 * v[0], 0.5 * v[1]))),
    "less of cells looked at closely": ("Halves", less_of("_closely")),
    "leaves that end with their first parts": ("Halves", less_of("_halved", none_left)),
    "lower halves alone": ("Halves", less_of("_halved", half_left)),
    "parts that are not counted": ("Halves", less_of("_counted", all_counted)),
    "cells that are not looked at": (
        "Halves",
        lambda true: type("Less", (true,), {"_alike": nothing}),
    ),
    "the first leaves alone": ("Halves", less_of("bounds", lambda found: iter(list(found)[:1]))),
    "forms of other parts": ("lines", lambda true: lambda *a: Swapped(**vars(true(*a)))),
    "less of cells alone": ("Halves", less_of("_alone")),
}


class Swapped(lines.Lines):
    """Some forms are those of others."""

    def of(self, some):
        return lines.Lines.of(self, np.flatnonzero(some)[::-1])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", CHECKER_HALVES)
def test_a_checker_with_wrong_halves_is_noticed(name, monkeypatch):
    what, make = CHECKER_HALVES[name]
    side = SIDES["checked alone" if "alone" in name else "checked forms"]
    noticed(monkeypatch, halves, what, make, side)
