# SPDX-License-Identifier: Apache-2.0
"""Work that falls into independent parts, on the processors of this machine or on a cluster.

Whatever takes functions and arguments through `Executor.submit` can be spread: parts must be plain data, and
the answer must not depend on who computes it or in which order.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, TypeVar

from ..errors import CompileError, ToolMissing

Part = TypeVar("Part")
Result = TypeVar("Result")
PARTS = 4  # per worker, so that none waits long for the slowest
SECONDS = 10  # to reach a scheduler


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
        with ProcessPoolExecutor(jobs) as pool:
            yield pool


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


class Pool:
    """An executor that outlives the loss of its processes, for jobs that come one by one."""

    def __init__(self, jobs: int, cluster: str | None) -> None:
        self.age, self._held, self._jobs, self._client = 0, ExitStack(), jobs, None
        if cluster is None:
            self._executor: Executor = self._processes()
            self.size = jobs
        else:
            self._client = self._held.enter_context(_dask(cluster))
            self._executor = self._client.get_executor(pure=False)
            self.size = max(sum(self._client.nthreads().values()), 1)

    def _processes(self) -> Executor:
        # Ctrl-C is for the process that asked: it ends the search and keeps what there is.
        ignore = signal.SIGINT, signal.SIG_IGN
        return ProcessPoolExecutor(self._jobs, initializer=signal.signal, initargs=ignore)

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
        self._executor, self.age = self._processes(), self.age + 1
        return True

    def close(self) -> None:
        """Without waiting for what nobody will read."""
        if self._client is None:
            self._executor.shutdown(wait=False, cancel_futures=True)
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
