# SPDX-License-Identifier: Apache-2.0
"""Work that falls into independent parts, on the processors of this machine or on a cluster.

Whatever takes functions and arguments through `Executor.submit` can be spread: parts must be plain data, and
the answer must not depend on who computes it or in which order.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from threading import Thread
from typing import Any, TypeVar

from ..errors import CompileError, ToolMissing
from .effort import never

Part = TypeVar("Part")
Result = TypeVar("Result")
PARTS = 4  # per worker, so that none waits long for the slowest
SECONDS = 10  # to reach a scheduler
LOOK = 0.1  # seconds between a worker's looks at whether it is still wanted


@contextmanager
def executor(jobs: int = 1, cluster: str | None = None) -> Iterator[Executor | None]:
    """None: this process alone. `cluster`: address of a dask scheduler, whose workers need tinybound; a
    part that was on a worker that died is done again by another."""
    if jobs < 1:
        raise CompileError("--jobs", f"{jobs}", "1 or more")
    if cluster is not None:
        with _dask(cluster) as client:
            yield client.get_executor(pure=False)
    elif jobs == 1:
        yield None
    else:
        with _processes(jobs) as make:
            yield make()


@contextmanager
def _processes(jobs: int) -> Iterator[Callable[[], ProcessPoolExecutor]]:
    """Makes pools of so many processes. When this is left they end, whatever they are at: nobody waits for
    what nobody will read."""
    over, made = multiprocessing.RawValue("b", 0), list[ProcessPoolExecutor]()

    def make() -> ProcessPoolExecutor:
        made.append(ProcessPoolExecutor(jobs, initializer=_begin, initargs=(over,)))
        return made[-1]

    try:
        yield make
    finally:
        for pool in made:
            pool.shutdown(wait=False, cancel_futures=True)
        over.value = 1


def _begin(over: Any) -> None:
    """Of a worker. Ctrl-C is for the process that asked; with that process, or at its word, this one ends.

    A lock or an event would hang where a process that waits for it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        while not over.value and (parent is None or parent.is_alive()):
            time.sleep(LOOK)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _dask(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ToolMissing(
            "--cluster", "distributed is not installed", "pip install tinybound[cluster]"
        ) from error
    try:
        make: Any = Client  # has no types
        client = make(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise CompileError("--cluster", f"no scheduler at {address!r}", "tcp://HOST:PORT") from error
    with client:
        yield client


def unwanted() -> Callable[[], bool]:
    """Of a part on a worker of a cluster: whether nobody waits for its result any more. Processes of this
    machine end instead."""
    dask: Any = sys.modules.get("distributed")
    try:
        worker = dask.get_worker()
        key = worker.get_current_task()
    except (AttributeError, ValueError):  # not on a worker
        return never

    def gone() -> bool:
        task = worker.state.tasks.get(key)  # which its scheduler tells to forget it
        return task is None or task.state != "executing"

    return gone


class Pool:
    """An executor that outlives the loss of its processes, for jobs that come one by one."""

    def __init__(self, jobs: int, cluster: str | None) -> None:
        self.age, self._held, self._client = 0, ExitStack(), None
        if cluster is None:
            self._make = self._held.enter_context(_processes(jobs))
            self._executor: Executor = self._make()
            self.size = jobs
        else:
            self._client = self._held.enter_context(_dask(cluster))
            self._executor = self._client.get_executor(pure=False)
            self.size = max(sum(self._client.nthreads().values()), 1)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """As of an Executor."""
        try:
            return self._executor.submit(function, *arguments)
        except BrokenProcessPool:
            self.renew()
            return self._executor.submit(function, *arguments)

    def renew(self) -> bool:
        """New processes in place of lost ones; False where there is nobody left to work. A scheduler sees to
        its workers itself."""
        if self._client is not None:
            return bool(self._client.status == "running")
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor, self.age = self._make(), self.age + 1
        return True

    def close(self) -> None:
        """Without waiting for what nobody will read."""
        self._held.close()


def spread(
    function: Callable[[Sequence[Part]], list[Result]],
    parts: Sequence[Part],
    pool: Executor | None,
    jobs: int,
) -> list[Result]:
    """function(all parts), done in pieces by the pool; the order of results is that of the parts."""
    if pool is None or len(parts) < 2:
        return function(parts)
    count = min(len(parts), PARTS * max(jobs, 2))
    ends = [len(parts) * i // count for i in range(count + 1)]
    futures = [pool.submit(function, parts[a:b]) for a, b in pairwise(ends)]
    try:
        return [result for future in futures for result in future.result()]
    except BrokenProcessPool as error:
        raise CompileError(
            "--jobs", "a process ended before its time", "enough memory", "fewer --jobs"
        ) from error
