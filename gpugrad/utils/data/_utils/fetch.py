"""Reading batches: the same code in the training process and in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gpugrad.utils.data._utils.collate import default_collate
from gpugrad.utils.data.dataset import IterableDataset, Rows
from gpugrad.utils.data.sampler import take

if TYPE_CHECKING:
    from gpugrad.utils.data.dataloader import DataLoader


class Fetcher(Protocol):
    """Reads one batch for what a sampler gave; after the end of a stream, ``StopIteration``.

    Attributes:
        ended: whether a stream was seen to end.
    """

    ended: bool

    def fetch(self, wanted: Any) -> Any: ...


class MapFetcher:
    """Batches of a dataset with indices.

    Args:
        dataset: what to read.
        batched: whether a list of indices is wanted each time, or one index.
        collate_fn: makes a batch of the samples.
    """

    ended = False

    def __init__(self, dataset: Any, batched: bool, collate_fn: Callable[[Any], Any]) -> None:
        self.dataset = dataset
        self.batched = batched
        self.collate_fn = collate_fn
        self.at_once = getattr(dataset, "__getitems__", None)

    def fetch(self, wanted: Any) -> Any:
        """The batch of these indices (or the one sample of this index)."""
        if not self.batched:
            samples = self.dataset[wanted]
        elif self.at_once:
            samples = self.at_once(wanted)
            if type(samples) is Rows and self.collate_fn is not default_collate:
                samples = list(samples)
        else:
            dataset = self.dataset
            samples = [dataset[i] for i in wanted]
        return self.collate_fn(samples)


class IterableFetcher:
    """Batches of a stream, which is started here.

    Args:
        dataset: the stream.
        batch_size: samples in a batch; None for single samples.
        collate_fn: makes a batch of the samples.
        drop_last: leave a shorter batch at the end out.
    """

    def __init__(self, dataset: IterableDataset[Any], batch_size: int | None,
                 collate_fn: Callable[[Any], Any], drop_last: bool) -> None:  # fmt: skip
        self.samples: Iterator[Any] = iter(dataset)
        self.batch_size = batch_size
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.ended = False

    def fetch(self, wanted: Any = None) -> Any:
        """The next batch (or the next sample)."""
        return self.collate_fn(self._read())

    def skip(self, batches: int) -> None:
        """Read batches and throw them away, without collating them."""
        for _ in range(batches):
            self._read()

    def _read(self) -> Any:
        if self.batch_size is None:
            return next(self.samples)
        samples = [] if self.ended else take(self.samples, self.batch_size)
        self.ended = len(samples) < self.batch_size
        if not samples or (self.drop_last and self.ended):
            raise StopIteration
        return samples


@dataclass(frozen=True)
class Job:
    """What it takes to read a loader's batches, here or in a worker.

    Attributes:
        batched: whether a batch or a single sample is read each time.
        init: called in each worker with its number.
    """

    dataset: Any
    batch_size: int | None
    batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool
    init: Callable[[int], None] | None

    @classmethod
    def of(cls, loader: DataLoader[Any]) -> Job:
        """The job of a loader."""
        return cls(
            loader.dataset, loader.batch_size, loader.batch_sampler is not None,
            loader.collate_fn, loader.drop_last, loader.worker_init_fn,
        )  # fmt: skip

    def fetcher(self) -> Fetcher:
        """A fresh reader; starts a stream."""
        if isinstance(self.dataset, IterableDataset):
            return IterableFetcher(self.dataset, self.batch_size, self.collate_fn, self.drop_last)
        return MapFetcher(self.dataset, self.batched, self.collate_fn)
