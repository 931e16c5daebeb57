# SPDX-License-Identifier: Apache-2.0
"""A certificate may be made to cost its reader a day, or all of the memory: a second thread watches both."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EVERY = 0.1  # seconds between two looks
AGAIN = 20  # looks between two attempts: a destructor or a callback may swallow one
STATM = Path("/proc/self/statm")


class TooLong(BaseException):
    """The time is up. No Exception: nothing on the way may take it for a damaged file."""


class TooMuch(BaseException):
    """The memory is."""


def resident() -> int:
    """Bytes that this process holds; 0 where the system does not say (no /proc)."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@contextmanager
def within(seconds: float, more: int) -> Iterator[None]:
    """TooLong or TooMuch in this thread when the block runs for so long, or takes so many bytes more."""
    me, over, lock = threading.get_ident(), threading.Event(), threading.Lock()
    until, most = time.monotonic() + seconds, resident() + more

    def tell(what: type[BaseException] | None) -> None:
        held = None if what is None else ctypes.py_object(what)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), held)

    def watch() -> None:
        looks = 0
        while not over.wait(EVERY):
            late = time.monotonic() >= until
            if (late or resident() > most) and looks <= 0:
                with lock:
                    if not over.is_set():
                        tell(TooLong if late else TooMuch)
                looks = AGAIN
            looks -= 1

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        while not over.is_set():
            with suppress(TooLong, TooMuch), lock:
                over.set()
                tell(None)  # what came too late to be raised
