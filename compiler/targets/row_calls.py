# SPDX-License-Identifier: Apache-2.0
"""How the C of a group calls its kernels: per step, addresses of one row in the words of its tb_rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .overlap import WINDOWS
from .plan import Step
from .rows import Group, Reading, reading, row_size


@dataclass(frozen=True)
class RowCall:
    """Template names of one step of a group; `state` is its tb_rows, kept by additions alone.

    at, size   what the step's own template sees: one row where it works row for row
    first      where its first row reads each source; a window reads from above the map
    advance    elements by which that moves per row; top and down: the same for the window's row number, which
               stands still where no row leaves the map: the kernel then need not look
    length     elements of a row of the target; word: bytes of one
    slide      elements that the buffer of the target keeps when it keeps fewer rows than it has, else 0
    readers    (step of the group, source) whose addresses move when the target slides
    origin     of a reorder: where its table stands
    own        whether its rows are calls of a function of its own, which makes a window of them: no `window`
    """

    state: str
    at: Mapping[str, str]
    size: Mapping[str, int]
    base: str
    length: int
    word: int
    slide: int
    window: bool
    first: tuple[int, ...]
    advance: tuple[int, ...]
    top: int
    down: int
    readers: tuple[tuple[int, int], ...]
    origin: str
    own: bool

    @property
    def start(self) -> str:
        """Initial value of the step's tb_rows."""
        first = (*self.first, 0)[:2]
        return f"{{ 0, {self.top}, {{ {first[0]}, {first[1]} }} }}"


def row_calls(
    group: Group, at: Mapping[str, str], window: Any, apart: Callable[[Step], bool]
) -> list[RowCall]:
    """One per step of the group, in plan order; `window` gives a step's tb_window fields; `apart`: whether it
    is a function of its own where it runs whole.
    """
    plan = group.plan
    found = []
    for k, step in enumerate(group.steps):
        state, size = f"rows[{k}]", row_size(plan, step.target)
        windowed, reorder = step.kind in WINDOWS, step.kind == "reorder"
        how = reading(step, 1)
        assert how is not None
        moved = size if step.view.get("axes") is None else 1  # positions per row in the table of a reorder
        leaves = windowed and not _stays_inside(how, plan.heights[step.sources[0]], plan.heights[step.target])
        place = {
            s: at[s] if windowed or reorder else f"({at[s]} + {state}.first[{i}])"
            for i, s in enumerate(step.sources)
        }
        steps = [0 if reorder else how.stride * row_size(plan, source) for source in step.sources]
        readers = [
            (k2, i)
            for k2, reader in enumerate(group.steps)
            for i, source in enumerate(reader.sources)
            if source == step.target
        ]
        found.append(
            RowCall(
                state=state,
                at={**place, step.target: f"({at[step.target]} + {state}.place)"},
                size={**plan.size, step.target: size},
                base=at[step.target],
                length=size,
                word=plan.words[step.target],
                slide=group.depth[step.target] * size if group.slides(step.target) else 0,
                window=windowed and not apart(step),
                first=(window(step)["first"],) if windowed else tuple(0 for _ in step.sources),
                advance=tuple(steps),
                top=how.top if windowed else 0,
                down=moved if reorder else how.stride if leaves else 0,
                readers=tuple(readers),
                origin=f" + {state}.top" if reorder else "",
                own=windowed and apart(step),
            )
        )
    return found


def _stays_inside(how: Reading, height: int, rows: int) -> bool:
    """Whether all rows that `rows` rows of output read exist."""
    return how.top >= 0 and (rows - 1) * how.stride + how.top + how.span <= height
