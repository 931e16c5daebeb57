# SPDX-License-Identifier: Apache-2.0
"""Who works on pieces: this process at first; where a search takes long, others, or those of a cluster.

Jobs are plain data and results come back in any order. A worker that is lost takes its jobs with it and
nothing else.
"""

from __future__ import annotations

import pickle
import time
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from hashlib import sha256
from threading import local
from typing import Self

from .effort import Effort
from .grow import Grower
from .nodes import Done, Job
from .spread import Pool, unwanted

PATIENCE = 2.0  # seconds of search before processes are started
QUEUED = 2  # jobs per process, so that none waits for this one
Popped = tuple[int, ...]  # the nodes of a job


class _Known(local):
    """Of a worker's thread: the search it works for. A search keeps what it is at, and a worker of a cluster
    may have several threads."""

    key: str = ""
    grower: Grower | None = None


_known = _Known()


def work(key: str, packed: bytes, job: Job) -> Done:
    """What a worker runs; what it works on is unpacked once."""
    if key != _known.key or _known.grower is None:
        _known.grower = pickle.loads(packed)  # noqa: S301 -- from the process that started this one
        _known.key = key
    _known.grower.stop = unwanted()
    return _known.grower.cut(job)


class Workers:
    """Jobs in, results out."""

    def __init__(self, grower: Grower, effort: Effort) -> None:
        self._grower, self._effort = grower, effort
        self._pool: Pool | None = None
        self._alone = effort.jobs == 1 and effort.cluster is None
        self._since = time.perf_counter()
        self._key, self._packed = "", b""
        self._here: list[tuple[Popped, Done]] = []
        self._away: dict[Future[Done], tuple[Popped, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    @property
    def slots(self) -> int:
        """Jobs that there can be at once."""
        if not self._alone and self._pool is None:
            self._start()
        return 1 if self._pool is None else QUEUED * self._pool.size

    def _start(self) -> None:
        effort = self._effort
        if effort.cluster is None and time.perf_counter() < self._since + PATIENCE:
            return
        self._packed = pickle.dumps(self._grower)
        self._key = sha256(self._packed).hexdigest()
        self._pool = Pool(effort.jobs, effort.cluster)

    def idle(self) -> bool:
        """Whether another job can be taken."""
        return len(self._here) + len(self._away) < self.slots

    def busy(self) -> list[int]:
        """Nodes that are being worked on."""
        jobs = [popped for popped, _ in (*self._here, *self._away.values())]
        return [at for popped in jobs for at in popped]

    def submit(self, popped: Popped, job: Job) -> None:
        """Cut these nodes."""
        if self._pool is None:
            self._here.append((popped, self._grower.cut(job)))
        else:
            future = self._pool.submit(work, self._key, self._packed, job)
            self._away[future] = popped, self._pool.age

    def done(self, seconds: float) -> list[tuple[Popped, Done | None]]:
        """What was done, after at most so many seconds; None for a job whose worker was lost."""
        made: list[tuple[Popped, Done | None]] = [*self._here]
        self._here.clear()
        if made or not self._away:
            return made
        for future in wait(self._away, seconds, FIRST_COMPLETED).done:
            popped, age = self._away.pop(future)
            try:
                made.append((popped, future.result()))
            except (BrokenExecutor, CancelledError, MemoryError) as error:
                made.append((popped, None))
                self._lost(error, age)
            except Exception as error:
                if type(error).__name__ != "KilledWorker":  # dask's: the workers that tried it have died
                    raise
                made.append((popped, None))
        return made

    def _lost(self, error: BaseException, age: int) -> None:
        """A pool that has lost a process takes no more jobs: another one does. Without its scheduler, a
        search goes on here."""
        if self._pool is None or age != self._pool.age or isinstance(error, MemoryError):
            return
        if not self._pool.renew():
            self._pool, self._alone = None, True
