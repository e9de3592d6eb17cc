"""Worker processes seen from the training process: starting, ordering, listening, ending."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from gpugrad.errors import ArgumentError, WorkerError
from gpugrad.utils.data._utils import transfer, worker
from gpugrad.utils.data._utils.fetch import Job
from gpugrad.utils.data._utils.worker import Epoch, Fetch, Reply

#: Seconds between looks at whether the workers live, should no signal of a death arrive.
_GLANCE = 1.0
#: Seconds that a worker has to end by itself; then it is told to, then it is killed.
_PATIENCE = 5.0


class Worker:
    """One process and the parent's ends of its two pipes."""

    def __init__(self, process: Any, orders: Connection, replies: Connection) -> None:
        self.process = process
        self.orders = orders
        self.replies = replies
        #: orders for batches that were not answered yet
        self.waiting = 0

    def obituary(self) -> str:
        """How it ended."""
        self.process.join(_GLANCE)
        code = self.process.exitcode
        if code is None:
            return "closed its pipe"
        if code >= 0:
            return f"exited with code {code}"
        try:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"was killed by signal {-code}"


class WorkerPool:
    """The workers of one loader; ended by ``close``, or with the last reference to the pool.

    Args:
        job: what they read.
        count: number of workers.
        base_seed: worker ``i`` is seeded with ``base_seed + i``.
        context: of ``multiprocessing``; None for its default.
        timeout: seconds to wait for a batch; 0 for ever.
    """

    def __init__(self, job: Job, count: int, base_seed: int, context: Any,
                 timeout: float) -> None:  # fmt: skip
        self.base_seed = base_seed
        self.timeout = timeout
        self.workers: list[Worker] = []
        #: the epoch that the workers read for
        self.reader: Any = None
        context = context or multiprocessing.get_context()
        self.method: str = context.get_start_method()
        self._end = weakref.finalize(self, _end, self.workers, os.getpid())
        travelling = job if self.method == "fork" else _parcel(job)
        try:
            for number in range(count):
                self._start(context, number, count, travelling)
        except BaseException:
            self.close()
            raise

    def _start(self, context: Any, number: int, count: int, job: Any) -> None:
        orders_there, orders_here = context.Pipe()
        replies_here, replies_there = context.Pipe()
        fork = self.method == "fork"
        ends = [orders_here, replies_here]
        ends += [end for w in self.workers for end in (w.orders, w.replies)]
        process = context.Process(
            target=worker.run, daemon=True, name=f"gpugrad-worker-{number}",
            args=(number, count, self.base_seed, job, orders_there, replies_there,
                  ends if fork else []),
        )  # fmt: skip
        try:
            process.start()
        finally:
            orders_there.close()
            replies_there.close()
        self.workers.append(Worker(process, orders_here, replies_here))

    @property
    def alive(self) -> bool:
        """Whether it was not closed."""
        return self._end.alive

    def order(self, number: int, order: Epoch | Fetch) -> None:
        """Give a worker something to do."""
        w = self.workers[number]
        try:
            transfer.send(w.orders, transfer.message(order))
        except OSError:
            self._died(number)
        if isinstance(order, Fetch):
            w.waiting += 1

    def receive(self, numbers: list[int]) -> tuple[int, Reply]:
        """The next reply of one of these workers, and which worker it was.

        Raises:
            WorkerError: if any worker died, or none replied in time.
        """
        pipes = {self.workers[n].replies: n for n in numbers}
        lives = {w.process.sentinel: n for n, w in enumerate(self.workers)}
        deadline = time.monotonic() + self.timeout if self.timeout else None
        while True:
            left = _GLANCE if deadline is None else min(_GLANCE, deadline - time.monotonic())
            ready = wait([*pipes, *lives], max(left, 0))
            for pipe, number in pipes.items():
                if pipe in ready:
                    return number, self._read(number)
            for number, w in enumerate(self.workers):
                if w.process.sentinel in ready or not w.process.is_alive():
                    self._died(number)
            if deadline is not None and time.monotonic() >= deadline:
                self.abort()
                raise WorkerError(
                    f"DataLoader timed out after {self.timeout} seconds: no batch from worker "
                    f"{' or '.join(map(str, numbers))}"
                )

    def _read(self, number: int) -> Reply:
        w = self.workers[number]
        try:
            reply: Reply = transfer.receive(w.replies)
        except (EOFError, OSError):
            self._died(number)
        w.waiting -= 1
        return reply

    def drain(self) -> Iterator[tuple[int, Reply]]:
        """Replies to orders of an epoch that was left early."""
        for number, w in enumerate(self.workers):
            while w.waiting:
                yield self.receive([number])

    def _died(self, number: int) -> NoReturn:
        w = self.workers[number]
        pid, how = w.process.pid, w.obituary()
        young = f"; {_STARTING[self.method]}" if w.process.exitcode == 1 else ""
        self.abort()
        raise WorkerError(
            f"DataLoader worker (pid(s) {pid}) exited unexpectedly: worker {number} {how}{young}"
        )

    def close(self) -> None:
        """End the workers and wait for them."""
        self._end()

    def abort(self) -> None:
        """End the workers without waiting for what they are reading."""
        for w in self.workers if self.alive else ():
            w.process.terminate()
        self.close()


_UNGUARDED = (
    "if it printed a traceback about bootstrapping, the script's top level must stand under "
    "if __name__ == '__main__', because a worker imports the script"
)
_STARTING = {
    "fork": "what it printed says more", "spawn": _UNGUARDED, "forkserver": _UNGUARDED,
}  # fmt: skip


def _parcel(job: Job) -> transfer.Parcel:
    """The job, pickled for processes that do not inherit it."""
    try:
        return transfer.Parcel(job)
    except Exception as error:
        parts = {
            "dataset": job.dataset, "collate_fn": job.collate_fn, "worker_init_fn": job.init,
        }  # fmt: skip
        guilty = [name for name, part in parts.items() if not _picklable(part)]
        raise ArgumentError(
            f"DataLoader: {' and '.join(guilty) or 'dataset'} cannot be pickled for a worker "
            f"process: {error}; define functions and classes at the top level of a module, or "
            "use multiprocessing_context='fork'"
        ) from error


def _picklable(part: Any) -> bool:
    try:
        transfer.pack(part)
    except Exception:
        return False
    return True


def _hang_up(pipe: Connection) -> None:
    """Close a pipe for good, also where processes that were forked since hold copies of it."""
    with suppress(OSError), socket.socket(fileno=os.dup(pipe.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    pipe.close()


def _end(workers: list[Worker], owner: int) -> None:
    """Close the pipes, which ends a worker that is well; then be less polite."""
    if os.getpid() != owner:  # a fork of the training process: not its workers
        return
    for w in workers:
        _hang_up(w.orders)
        _hang_up(w.replies)
    deadline = time.monotonic() + _PATIENCE
    for w in workers:
        w.process.join(max(0.0, deadline - time.monotonic()))
    for stop in ("terminate", "kill"):
        stubborn = [w for w in workers if w.process.is_alive()]
        for w in stubborn:
            getattr(w.process, stop)()
        for w in stubborn:
            w.process.join(_GLANCE)
