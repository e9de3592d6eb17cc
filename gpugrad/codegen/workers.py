"""A few threads that share a kernel's rows; the caller's is one of them.

Kernels release the interpreter's lock.  The threads are made at first use and again after a fork;
they wait on a queue and end with the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any


def threads() -> int:
    """How many threads a kernel may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job:
    """Counts down the parts that are still running."""

    __slots__ = ("done", "left", "lock")

    def __init__(self, parts: int) -> None:
        self.left, self.lock, self.done = parts, threading.Lock(), threading.Lock()
        self.done.acquire()

    def finish(self) -> None:
        with self.lock:
            self.left -= 1
            if not self.left:
                self.done.release()


class _Workers:
    """The pool: a queue and the threads that empty it."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[_Job, Callable[..., Any], Sequence[Any]]] = SimpleQueue()
        self._threads = 0
        self._lock = threading.Lock()

    def run(self, fn: Callable[..., Any], parts: list[Sequence[Any]]) -> None:
        """Call ``fn(*part)`` for every part, the last one in this thread; return when all ended."""
        job = _Job(len(parts) - 1) if len(parts) > 1 else None
        if job is not None:
            if self._threads < len(parts) - 1:
                self._grow(len(parts) - 1)
            for part in parts[:-1]:
                self._queue.put((job, fn, part))
        fn(*parts[-1])
        if job is not None:
            job.done.acquire()

    def _grow(self, wanted: int) -> None:
        with self._lock:
            while self._threads < wanted:
                threading.Thread(target=self._serve, daemon=True, name="gpugrad kernel").start()
                self._threads += 1

    def _serve(self) -> None:
        while True:
            job, fn, part = self._queue.get()
            try:
                fn(*part)
            finally:
                job.finish()
            del job, fn, part  # hold nothing while waiting


workers = _Workers()


def _after_fork() -> None:
    global workers
    workers = _Workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
