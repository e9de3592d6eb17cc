"""Iterating a loader: what all iterators share, and the one that reads in this process."""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING, Any

from gpugrad import cuda
from gpugrad.ops.random import randint
from gpugrad.utils.data._utils import rng
from gpugrad.utils.data._utils.cursor import (
    Cursor,
    Start,
    generators_of,
    has_state,
    sampler_with_state,
)
from gpugrad.utils.data._utils.fetch import Fetcher, IterableFetcher, Job
from gpugrad.utils.data._utils.pin_memory import pin_memory

if TYPE_CHECKING:
    from gpugrad.utils.data.dataloader import DataLoader


def begin(loader: DataLoader[Any], base_seed: int | None = None) -> Cursor:
    """The cursor of a new epoch; ``base_seed`` is drawn from the loader's generator if None."""
    if base_seed is None:
        base_seed = int(randint(0, 2**63 - 1, (), generator=loader.generator).item())
    stateful = sampler_with_state(loader.index_sampler)
    generators = [g.get_state() for g in generators_of(loader)]
    sampler = None if stateful is None else stateful.state_dict()
    return Cursor(Start(base_seed, rng.capture(), generators, sampler))


class LoaderIterator:
    """Batches of one epoch.  Subclasses give ``_next``, the next batch, and count it.

    A batch whose samples could not be read counts as handed out: the next one follows it.

    Args:
        loader: whose batches.
        cursor: where to start; it is moved along.
    """

    def __init__(self, loader: DataLoader[Any], cursor: Cursor) -> None:
        self._loader = loader
        self.cursor = cursor
        self._pin = _pinning(loader)
        self._length = loader.stream_length

    def __iter__(self) -> LoaderIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        try:
            batch = self._next()
        except StopIteration:
            self.cursor.finished = True
            raise
        if self._length is not None and self.cursor.batches > self._length:
            self._warn_of_length()
        return pin_memory(batch) if self._pin else batch

    def _next(self) -> Any:
        raise NotImplementedError

    def _warn_of_length(self) -> None:
        warnings.warn(
            f"Length of IterableDataset {self._loader.dataset} was reported to be {self._length} "
            f"(when accessing len(dataloader)), but {self.cursor.batches} samples have been "
            "fetched; with workers, each must read only its share (see get_worker_info).",
            stacklevel=3,
        )
        self._length = None  # once an epoch is enough


def _pinning(loader: DataLoader[Any]) -> bool:
    if loader.pin_memory and not cuda.is_available():
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, then device pinned "
            "memory won't be used.",
            stacklevel=4,
        )
        return False
    return loader.pin_memory


class SerialIterator(LoaderIterator):
    """Reads each batch when it is asked for, in this process."""

    def __init__(self, loader: DataLoader[Any], cursor: Cursor) -> None:
        super().__init__(loader, cursor)
        if loader.index_sampler is None:
            # A stream wants no indices; one that has ended gets not even that.
            self._wanted: Any = iter(()) if cursor.ended else itertools.repeat(None)
            self._fetcher: Any = None if cursor.ended else self._stream(loader, cursor)
        else:
            self._wanted = cursor.indices(loader.index_sampler, generators_of(loader))
            self._fetcher = Job.of(loader).fetcher()

    @staticmethod
    def _stream(loader: DataLoader[Any], cursor: Cursor) -> Fetcher:
        """The fetcher of a stream, brought to where the cursor is."""
        if not cursor.resumed or has_state(loader.dataset):
            return Job.of(loader).fetcher()
        with rng.as_of(cursor.start.random):
            fetcher = Job.of(loader).fetcher()
            assert isinstance(fetcher, IterableFetcher)
            fetcher.skip(cursor.batches)
        return fetcher

    def _next(self) -> Any:
        wanted = next(self._wanted)
        try:
            batch = self._fetcher.fetch(wanted)
        except StopIteration:
            raise
        except Exception:
            self.cursor.batches += 1
            raise
        self.cursor.batches += 1
        self.cursor.ended = self._fetcher.ended
        return batch
