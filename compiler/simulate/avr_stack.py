# SPDX-License-Identifier: Apache-2.0
"""Stack frames and calls of an object for an AVR: its compiler writes no graph of calls."""

from __future__ import annotations

from pathlib import Path

from ..errors import CompileError
from .relocations import references

CALLS = (0x940E, 0xD000)  # CALL with its address elsewhere, RCALL; jumps within a function are no recursion


def frames(usage: str) -> dict[str, int]:
    """Function -> bytes of stack, those of its return address among them; usage: what -fstack-usage writes.

    Copies that the compiler made of a function have its name, or that and more after a point: the
    largest counts.
    """
    found: dict[str, int] = {}
    for line in usage.splitlines():
        where, size, kind = line.split("\t")
        function = _plain(where.split(":")[-1])
        if kind == "dynamic":
            raise CompileError(function, "a stack frame without a bound", "frames of fixed size")
        found[function] = max(found.get(function, 0), int(size))
    return found


def calls(item: Path) -> dict[str, list[str]]:
    """Function -> the functions that its code has addresses of, whether it calls them by these or not."""
    found: dict[str, list[str]] = {}
    for each in references(item):
        called = each.word == CALLS[0] or each.word & 0xF000 == CALLS[1]
        if each.source is not None and (each.target != each.source or called):
            found.setdefault(_plain(each.source), []).append(_plain(each.target))
    return found


def _plain(function: str) -> str:
    """Its name in the source: copies have more after a point."""
    return function.partition(".")[0]
