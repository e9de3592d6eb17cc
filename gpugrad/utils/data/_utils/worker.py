"""What runs in a worker process: reading batches as they are ordered, until the orders end.

Orders come through one pipe and replies go through another, both of this worker alone; no lock is
shared, so that a worker which dies at any moment leaves nobody waiting.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from gpugrad.threads import set_num_threads
from gpugrad.utils.data._utils import rng, transfer
from gpugrad.utils.data._utils.cursor import has_state
from gpugrad.utils.data._utils.failure import Failure
from gpugrad.utils.data._utils.fetch import IterableFetcher, Job
from gpugrad.utils.data._utils.rng import RandomState


@dataclass(frozen=True)
class WorkerInfo:
    """Who a worker is, for its dataset.

    Attributes:
        id: its number, from 0.
        num_workers: how many there are.
        seed: what gpugrad's and Python's generators were seeded with in it.
        dataset: its copy of the dataset.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Who this worker is; None in the training process."""
    return _info


@dataclass(frozen=True)
class Epoch:
    """An order to start an epoch, or to take one up.

    Attributes:
        random: random state to start from; None to go on.
        dataset: state for the dataset; None to leave it.
        skip: batches of the stream to pass over.
        ended: whether its stream had come to its end.
    """

    random: RandomState | None = None
    dataset: Any = None
    skip: int = 0
    ended: bool = False


@dataclass(frozen=True)
class Fetch:
    """An order for a batch: the indices, or None from a stream."""

    wanted: Any


@dataclass(frozen=True)
class Reply:
    """A batch, a failure or neither, and the state after it.

    Attributes:
        empty: whether there was no batch any more.
        ended: whether the stream was seen to end.
        random: random state, if it has changed since the last reply.
        dataset: the dataset's ``state_dict()``, if it has one.
    """

    batch: Any = None
    failure: Failure | None = None
    empty: bool = False
    ended: bool = False
    random: RandomState | None = None
    dataset: Any = None


def run(number: int, count: int, base_seed: int, job: Any, orders: Connection,
        replies: Connection, not_ours: list[Connection]) -> None:  # fmt: skip
    """Be a worker, until the orders end.

    Args:
        number: of this worker, from 0; count: of all.
        base_seed: this worker's seed is ``base_seed + number``.
        job: a ``Job``, or a parcel with one.
        not_ours: ends of pipes that a forked process has from its parent, to be closed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process ends us when interrupted
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in not_ours:
        connection.close()
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(orders, inbox), daemon=True).start()
    threading.Thread(target=_send, args=(replies, outbox), daemon=True).start()
    reader = _Reader(number, count, base_seed, job)
    while (order := inbox.get()) is not None:
        if isinstance(order, Epoch):
            reader.start(order)
        else:
            outbox.put(_message(reader.fetch(order)))


def _receive(orders: Connection, inbox: queue.SimpleQueue[Any]) -> None:
    """Take orders off the pipe at once, so that giving one never blocks; None when they end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    try:
        while orders in wait([orders, parent.sentinel]):
            inbox.put(transfer.receive(orders))
    except (EOFError, OSError):
        inbox.put(None)
        return
    os._exit(1)  # the parent died; whatever we are reading, nobody wants it


def _send(replies: Connection, outbox: queue.SimpleQueue[transfer.Message]) -> None:
    """Send replies while the next batch is read, as a pipe holds less than many a batch."""
    while True:
        try:
            transfer.send(replies, outbox.get())
        except OSError:  # nobody listens any more
            return


def _message(reply: Reply) -> transfer.Message:
    """A reply, ready to be sent before the dataset changes memory that it may use again."""
    try:
        return transfer.message(reply)
    except Exception as error:  # the batch cannot be pickled
        return transfer.message(Reply(failure=Failure.of(error), random=reply.random))


class _Reader:
    """The dataset in this process, and what went wrong with it before the first batch."""

    def __init__(self, number: int, count: int, base_seed: int, job: Any) -> None:
        global _info
        self.broken: Failure | None = None  # for good
        self.failure: Failure | None = None  # in this epoch
        try:
            set_num_threads(1)  # the workers share the cores
            rng.seed_worker(base_seed, number)
            self.job: Job = job if isinstance(job, Job) else job.open()
            _info = WorkerInfo(number, count, base_seed + number, self.job.dataset)
            if self.job.init is not None:
                self.job.init(number)
            self.told = rng.capture()
        except Exception as error:
            self.broken = Failure.of(error)

    def start(self, epoch: Epoch) -> None:
        """Start an epoch; a failure is told with each batch."""
        if self.broken is not None:
            return
        self.failure = None
        try:
            if epoch.random is not None:
                rng.restore(epoch.random)
                self.told = epoch.random
            if epoch.dataset is not None:
                self.job.dataset.load_state_dict(epoch.dataset)
            self.fetcher = None if epoch.ended else self.job.fetcher()
            if isinstance(self.fetcher, IterableFetcher):
                self.fetcher.skip(epoch.skip)
        except Exception as error:
            self.failure = Failure.of(error)

    def fetch(self, order: Fetch) -> Reply:
        """Read a batch."""
        failure = self.broken or self.failure
        if failure is not None:
            return Reply(failure=failure)
        try:
            return self._reply(**self._read(order.wanted))
        except Exception as error:  # of the dataset's state_dict
            return Reply(failure=Failure.of(error))

    def _read(self, wanted: Any) -> dict[str, Any]:
        if self.fetcher is None:
            return {"empty": True, "ended": True}
        try:
            batch = self.fetcher.fetch(wanted)
            return {"batch": batch, "ended": self.fetcher.ended}
        except StopIteration as stop:
            if isinstance(self.fetcher, IterableFetcher):
                self.fetcher = None
                return {"empty": True, "ended": True}
            return {"failure": Failure.of(stop)}
        except Exception as error:
            return {"failure": Failure.of(error)}

    def _reply(self, **outcome: Any) -> Reply:
        now = rng.capture()
        random = None if now == self.told else now
        self.told = now
        dataset = self.job.dataset
        return Reply(
            **outcome, random=random, dataset=dataset.state_dict() if has_state(dataset) else None
        )  # fmt: skip
