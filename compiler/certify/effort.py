# SPDX-License-Identifier: Apache-2.0
"""How far a box is searched for a better bound, and what a search may use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# Leaves, and all their cells: what the checker takes, or a little less.
PIECES, ALL = 90_000, (1 << 28) - (1 << 20)
CELLS, PART = 1 << 21, 1 << 13
CLOSE = 1.01


@dataclass(frozen=True)
class Effort:
    """How long to search: at most `pieces`, until time.perf_counter() says `until` or `stop` says so, no
    further than `ratio` times the attack. A piece of at most `cells` cells is enumerated, in parts if need
    be. Networks of more than `work` (multiply-adds times input elements) are bounded by intervals alone.
    `jobs`: processes, once a search takes long; `cluster`: address of a dask scheduler instead."""

    pieces: int = 1
    until: float = np.inf
    ratio: float = 0.0
    cells: int = 0
    work: float = np.inf
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[float, float], None] = lambda _low, _high: None
    jobs: int = 1
    cluster: str | None = None


QUICK = Effort(work=1 << 30)  # seconds, what `tinybound compile` does


def thorough(timeout: float, **more: Any) -> Effort:
    """What `tinybound certify` does: until the bound is 1 % above the attack, or for `timeout` seconds."""
    return Effort(PIECES, time.perf_counter() + timeout, CLOSE, CELLS, **more)
