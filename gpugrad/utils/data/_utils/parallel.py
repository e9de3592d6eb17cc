"""The iterator over worker processes: orders ahead, batches back in their order.

Batch ``i`` is ordered from the next worker in turn.  Each worker answers in the order of its
orders, so that reading the worker whose turn it is gives the batches in order, without buffers.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

from gpugrad.errors import WorkerError
from gpugrad.utils.data._utils.cursor import Cursor, Place, generators_of, has_state
from gpugrad.utils.data._utils.fetch import Job
from gpugrad.utils.data._utils.pool import WorkerPool
from gpugrad.utils.data._utils.serial import LoaderIterator, begin
from gpugrad.utils.data._utils.worker import Epoch, Fetch, Reply

if TYPE_CHECKING:
    from gpugrad.utils.data.dataloader import DataLoader


def start_pool(loader: DataLoader[Any], base_seed: int) -> WorkerPool:
    """Workers for a loader."""
    context, timeout = loader.multiprocessing_context, loader.timeout
    return WorkerPool(Job.of(loader), loader.num_workers, base_seed, context, timeout)


def next_epoch(loader: DataLoader[Any], before: Cursor | None, pool: WorkerPool | None) -> Cursor:
    """The cursor of a new epoch.

    Args:
        before: of the epoch before, if its workers live on or are to be brought back as they were.
        pool: the workers, if they live on.
    """
    if before is None:
        cursor = begin(loader)
        cursor.places = [Place() for _ in range(loader.num_workers)]
        return cursor
    if pool is not None:
        for number, reply in pool.drain():
            note(before.places[number], reply)
    cursor = begin(loader, before.start.base_seed)
    cursor.places = [Place(start=p.now, now=p.now, dataset=p.dataset) for p in before.places]
    return cursor


def note(place: Place, reply: Reply) -> None:
    """Keep what a reply says about its worker."""
    if reply.random is not None:
        place.now = reply.random
    if reply.dataset is not None:
        place.dataset = reply.dataset
    place.ended = reply.ended


class ParallelIterator(LoaderIterator):
    """Batches that workers read ahead.

    Args:
        pool: the workers.
        fresh: whether they have just been started.
    """

    def __init__(self, loader: DataLoader[Any], cursor: Cursor, pool: WorkerPool,
                 fresh: bool) -> None:  # fmt: skip
        super().__init__(loader, cursor)
        self._pool = pool
        pool.reader = cursor
        self._stream = loader.index_sampler is None
        #: workers of the orders that are not answered, in order
        self._ordered: deque[int] = deque()
        if self._stream:
            self._wanted: Any = itertools.repeat(None)  # a stream wants no indices
        else:
            self._wanted = cursor.indices(loader.index_sampler, generators_of(loader))
        for number, place in enumerate(cursor.places):
            pool.order(number, self._beginning(place, fresh))
        count = loader.num_workers
        turns = ((cursor.turn + i) % count for i in range(count))
        self._rotation = deque(n for n in turns if not cursor.places[n].ended)
        for _ in range((loader.prefetch_factor or 0) * count):
            self._order_next()

    def _beginning(self, place: Place, fresh: bool) -> Epoch:
        """The order to start the epoch, or to take it up."""
        if not fresh:
            return Epoch()
        replay = self._stream and not has_state(self._loader.dataset)
        if replay and not place.ended:
            return Epoch(place.start, skip=place.batches)
        return Epoch(place.now, place.dataset, ended=place.ended)

    def _order_next(self) -> bool:
        """Order one batch more; False if there is none."""
        if not self._rotation:
            return False
        try:
            wanted = next(self._wanted)
        except StopIteration:
            return False
        number = self._rotation[0]
        self._rotation.rotate(-1)
        self._pool.order(number, Fetch(wanted))
        self._ordered.append(number)
        return True

    def _next(self) -> Any:
        if self._pool.reader is not self.cursor:
            raise WorkerError("DataLoader: the workers of this iterator read for a newer one")
        if not self._pool.alive and not self.cursor.finished:
            raise WorkerError("DataLoader: the workers of this iterator have ended")
        try:
            number, reply = self._reply()
        except StopIteration:
            if not self._loader.persistent_workers:
                self._pool.close()
            raise
        except BaseException:  # a death, a timeout, an interrupt: no batch can follow
            self._pool.abort()
            raise
        self.cursor.batches += 1
        if reply.failure is not None:
            reply.failure.raise_here(f"DataLoader worker process {number}")
        return reply.batch

    def _reply(self) -> tuple[int, Reply]:
        """The next worker's reply that is no end of a stream, with one more order given."""
        while self._ordered or self._order_next():
            choice = list(dict.fromkeys(self._ordered))
            number, reply = self._pool.receive(choice[:1] if self._loader.in_order else choice)
            self._ordered.remove(number)
            place = self.cursor.places[number]
            note(place, reply)
            if reply.empty and number in self._rotation:
                self._rotation.remove(number)
            self._order_next()
            if reply.empty:
                continue
            place.batches += 1
            alive = (n for n in (*self._ordered, *self._rotation) if n in self._rotation)
            self.cursor.turn = next(alive, 0)
            return number, reply
        raise StopIteration
