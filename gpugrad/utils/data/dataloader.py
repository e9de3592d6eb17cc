"""The loader: batches of a dataset in a sampler's order, read here or by worker processes.

Its place in an epoch can be saved and taken up again exactly: see ``DataLoader.state_dict`` and
``_utils.cursor``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.random import Generator
from gpugrad.utils.data._utils import arguments, state
from gpugrad.utils.data._utils.collate import default_collate, default_convert
from gpugrad.utils.data._utils.cursor import (
    Cursor,
    generators_of,
    has_state,
    sampler_with_state,
)
from gpugrad.utils.data._utils.parallel import ParallelIterator, next_epoch, start_pool
from gpugrad.utils.data._utils.pool import WorkerPool
from gpugrad.utils.data._utils.serial import LoaderIterator, SerialIterator, begin
from gpugrad.utils.data._utils.worker import get_worker_info
from gpugrad.utils.data.dataset import Dataset, IterableDataset
from gpugrad.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)

#: Set once, because samplers and workers were made for them.
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[T_co]):
    """Batches of a dataset; ``for batch in loader`` is one epoch.

    Args:
        dataset: with indices, or a stream (``IterableDataset``).
        batch_size: samples in a batch; None for single samples.
        shuffle: read in a fresh random order each epoch.
        sampler: gives the order instead.
        batch_sampler: gives lists of indices, instead of the four arguments about batches.
        num_workers: processes that read ahead; 0 reads in this process.
        collate_fn: makes a batch of a list of samples; ``default_collate`` if None (without
            batches, ``default_convert``).
        pin_memory: return tensors in page-locked memory; without a GPU it warns and does not.
        drop_last: leave a shorter batch at the end out.
        timeout: seconds to wait for a worker's batch; 0 for ever.
        worker_init_fn: called in each worker with its number, after seeding.
        multiprocessing_context: how workers are started, by name or as a context; Python's default.
        generator: draws the order and the workers' seeds; the default generator if None.
        prefetch_factor: batches that each worker reads ahead; 2 if None.
        persistent_workers: keep the workers from one epoch to the next.
        pin_memory_device: accepted for PyTorch's sake; page-locked memory serves every device.
        in_order: hand batches out in order; else as they get ready.

    Raises:
        SettingError, ArgumentError: for arguments that exclude each other or cannot be.
    """

    _pool: WorkerPool | None
    _cursor: Cursor | None

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        iterable = isinstance(dataset, IterableDataset)
        arguments.check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        arguments.check_sampling(iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        batched = batch_size is not None or batch_sampler is not None
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self.generator = generator
        self.persistent_workers = persistent_workers
        self.batch_size = None if batch_sampler is not None else batch_size
        self.drop_last = drop_last
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        if not iterable and sampler is None:
            sampler = _order(dataset, shuffle, generator)
        if not iterable and batched and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        #: what ``len(loader)`` last said of a stream; more batches than that are worth a warning
        self.stream_length: int | None = None
        self._cursor = self._pool = None
        self._resuming = False
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self.__dict__.get("_made"):
            raise SettingError(
                f"{name} attribute should not be set after DataLoader is initialized"
            )
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started; None for Python's default."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, value: Any) -> None:
        self._context = arguments.checked_context(value, self.num_workers)

    @property
    def index_sampler(self) -> Any:
        """What decides the batches: the batch sampler or the sampler; None for a stream."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        """Number of batches (for a stream, as its own ``len`` says).

        Raises:
            TypeError: if the dataset or sampler has no length.
        """
        if self.index_sampler is not None:
            return len(self.index_sampler)
        length = self.stream_length = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        whole, rest = divmod(length, self.batch_size)
        self.stream_length = whole + (rest > 0 and not self.drop_last)
        return self.stream_length

    def __iter__(self) -> LoaderIterator:
        resumed = self._cursor if self._resuming else None
        self._resuming = False
        unfinished = resumed is not None and not resumed.finished
        if not self.num_workers:
            self._cursor = resumed if resumed is not None and unfinished else begin(self)
            return SerialIterator(self, self._cursor)
        pool = self._pool if resumed is None and self._pool and self._pool.alive else None
        if resumed is None or not unfinished:
            before = self._cursor if resumed is not None or pool is not None else None
            self._cursor = next_epoch(self, before, pool)
        assert self._cursor is not None
        fresh = pool is None
        if pool is None:
            pool = start_pool(self, self._cursor.start.base_seed)
        self._pool = pool if self.persistent_workers else None
        return ParallelIterator(self, self._cursor, pool, fresh)

    # ---- the cursor ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the latest epoch stands: nested dicts of ints, strings and tensors.

        Take it between two batches, together with the random states of the training process.

        Raises:
            NotSupportedError: with ``in_order=False``, whose order nothing can repeat.
        """
        if self.num_workers and not self.in_order:
            raise NotSupportedError(
                "DataLoader.state_dict: with in_order=False batches come as they get ready, which "
                "cannot be repeated; use in_order=True"
            )
        data: dict[str, Any] = {
            "version": state.VERSION,
            "loader": state.describe(self),
            "num_workers": self.num_workers,
            "generators": state.numbered([g.get_state() for g in generators_of(self)]),
        }
        if not self.num_workers and has_state(self.dataset):
            data["dataset"] = self.dataset.state_dict()  # type: ignore[attr-defined]
        cursor = self._cursor
        if cursor is not None and (not cursor.finished or self.persistent_workers):
            data["epoch"] = state.encode(cursor)
        stateful = sampler_with_state(self.index_sampler)
        if stateful is not None and (cursor is None or cursor.finished):
            data["sampler"] = stateful.state_dict()
        return data

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Stand where another loader of the same dataset stood: ``iter`` goes on from there.

        Also puts the generators of loader and samplers in the state of that moment. The default
        generator, and what else the training process draws from, is left to the caller.

        Raises:
            SettingError: if the state is of a loader of other batches, naming every difference.
        """
        state.check_same(self, state_dict)
        for generator, at in zip(generators_of(self), state.listed(state_dict["generators"])):
            generator.set_state(at)
        if not self.num_workers and "dataset" in state_dict:
            self.dataset.load_state_dict(state_dict["dataset"])  # type: ignore[attr-defined]
        if "sampler" in state_dict:
            sampler_with_state(self.index_sampler).load_state_dict(state_dict["sampler"])
        epoch = state_dict.get("epoch")
        self._cursor = None if epoch is None else state.decode(epoch, self.num_workers)
        self._resuming = self._cursor is not None


def _order(dataset: Any, shuffle: bool | None, generator: Generator | None) -> Sampler[int]:
    return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
