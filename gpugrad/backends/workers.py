"""A few threads that share the rows of a kernel or loop; the caller's is one of them.

Both release the interpreter's lock.  The threads are made at first use and again after a fork;
they wait on a queue and end with the process.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any


class _Job:
    """Parts of one kernel's work; threads take them one by one, so that a slow one takes few."""

    __slots__ = ("_count", "_done", "_error", "_fn", "_left", "_lock", "_parts")

    def __init__(self, fn: Callable[..., Any], parts: Sequence[Sequence[Any]]) -> None:
        self._fn, self._parts, self._left = fn, parts, len(parts)
        self._count, self._lock, self._done = itertools.count(), threading.Lock(), threading.Lock()
        self._error: BaseException | None = None
        self._done.acquire()

    def work(self) -> None:
        """Do parts until none is left to begin."""
        while (i := next(self._count)) < len(self._parts):
            try:
                self._fn(*self._parts[i])
            except BaseException as error:  # the caller raises it, whichever thread met it
                self._error = error
            finally:
                with self._lock:
                    self._left -= 1
                    if not self._left:
                        self._done.release()

    def wait(self) -> None:
        """Return when the last part has ended; raise what a part raised."""
        self._done.acquire()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame, and so the arrays


class _Workers:
    """The pool: a queue of jobs and the threads that empty it."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._threads = 0
        self._lock = threading.Lock()

    def run(self, fn: Callable[..., Any], parts: Sequence[Sequence[Any]], count: int) -> None:
        """Call ``fn(*part)`` for every part in up to ``count`` threads, this one among them."""
        job = _Job(fn, parts)
        self._grow(count - 1)
        for _ in range(count - 1):
            self._queue.put(job)
        job.work()
        job.wait()

    def _grow(self, wanted: int) -> None:
        with self._lock:
            while self._threads < wanted:
                threading.Thread(target=self._serve, daemon=True, name="gpugrad kernel").start()
                self._threads += 1

    def _serve(self) -> None:
        while True:
            job = self._queue.get()
            job.work()
            del job  # hold nothing while waiting


workers = _Workers()


if hasattr(os, "register_at_fork"):
    # The child has none of the threads, and a lock may have been held by one of them.
    os.register_at_fork(after_in_child=workers.__init__)  # type: ignore[misc]
