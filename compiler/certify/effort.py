# SPDX-License-Identifier: Apache-2.0
"""How far a box is searched for a better bound, and what a search may use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..domains.pair_window import BUDGET

# Leaves, all their cells, and of shallow networks all work on them: what the checker takes, or a little less.
PIECES, ALL, WORK = 90_000, (1 << 28) - (1 << 20), (1 << 31) - (1 << 20)
CELLS, PART = 1 << 23, 1 << 13
CLOSE = 1.01
PART_OF_TIME = 0.7  # for passes over the whole box
RATE, LARGEST = 1 << 29, 1 << 38  # multiply-adds of backward passes a second of --timeout, and of all


class Ended(Exception):
    """There was no time to finish."""


def never() -> bool:
    """No end."""
    return False


@dataclass(frozen=True)
class Effort:
    """How long to search: at most `pieces`, until time.perf_counter() says `until` or `stop` says so, no
    further than `ratio` times the attack. A piece of at most `cells` cells is enumerated, in parts if need
    be. Networks of more than `work` (multiply-adds times input elements) are bounded by intervals alone.
    `passes`: multiply-adds of the backward passes over the whole box, until time.perf_counter() says
    `patience`; `passed` hears of the share that is done.
    `brief`: the search for differences climbs on fewer outputs where evaluations take long.
    `jobs`: processes, once a search takes long; `cluster`: address of a dask scheduler instead.
    `end`, `cancel`: when everything ends: passes over the whole box that are left give way to intervals, and
    differences are no longer sought."""

    pieces: int = 1
    until: float = np.inf
    ratio: float = 0.0
    cells: int = 0
    work: float = np.inf
    passes: int = BUDGET
    patience: float = np.inf
    passed: Callable[[float], None] = lambda _share: None
    brief: bool = False
    stop: Callable[[], bool] = never
    progress: Callable[[float, float], None] = lambda _low, _high: None
    jobs: int = 1
    cluster: str | None = None
    end: float = np.inf
    cancel: Callable[[], bool] = never

    def ended(self) -> bool:
        """Whether everything is to end."""
        return time.perf_counter() > self.end or self.cancel()

    def share(self, count: int) -> Effort:
        """An equal share of the time that is left, of `count`."""
        now = time.perf_counter()
        ends = {key: now + (getattr(self, key) - now) / count for key in ("until", "end", "patience")}
        return replace(self, **ends)

    def over(self) -> bool:
        """Whether passes over the whole box have to end."""
        return self.ended() or time.perf_counter() > self.patience

    def part(self, share: float) -> Callable[[], bool]:
        """Whether this share of the time that is left now is over."""
        now = time.perf_counter()
        until = now + share * max(self.until - now, 0.0)
        return lambda: time.perf_counter() >= until or self.stop() or self.ended()


QUICK = Effort(work=1 << 30, brief=True)  # seconds, what `tinybound compile` does


def thorough(timeout: float, **more: Any) -> Effort:
    """What `tinybound certify` does: until the bound is 1 % above the attack, or for `timeout` seconds."""
    return Effort(PIECES, time.perf_counter() + timeout, CLOSE, CELLS, **more)


def passes_of(timeout: float) -> dict[str, Any]:
    """What a --timeout says of the passes over the whole box: twice as many for twice the time."""
    passes = int(min(max(BUDGET, timeout * RATE), LARGEST))
    return {"passes": passes, "patience": time.perf_counter() + PART_OF_TIME * timeout}
