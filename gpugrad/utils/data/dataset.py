"""What a loader reads from: samples by index, or a stream of them, and ways to combine both."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from gpugrad.errors import ArgumentError, IndexingError, SettingError, ShapeError
from gpugrad.ops.random import randperm
from gpugrad.random import Generator, default_generator
from gpugrad.tensor import Tensor

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples by index: subclasses give ``__getitem__``, and ``__len__`` where they know it.

    A subclass may also give ``__getitems__(indices)``, a list of samples at once, which a loader
    then prefers; and ``state_dict()`` / ``load_state_dict(state)`` if it draws numbers or counts
    in a way that a loader's cursor should bring back.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """A stream of samples: subclasses give ``__iter__``.

    Every worker of a loader iterates its own copy; ``get_worker_info()`` tells a copy which share
    is its own.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class Rows(Sequence[Any]):
    """Samples that were gathered by one indexing per tensor.

    Reads like a list of samples; ``default_collate`` takes ``columns``, the finished batch.

    Args:
        columns: a tensor for each field of the samples.
        length: number of samples.
        sample: makes a sample of a tuple of one row of each.
    """

    def __init__(self, columns: tuple[Tensor, ...], length: int,
                 sample: Callable[[tuple[Tensor, ...]], Any] = tuple) -> None:  # fmt: skip
        self.columns = columns
        self._length = length
        self._sample = sample

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexingError(f"sample {index} of {self._length}")
        return self._sample(tuple(column[index] for column in self.columns))


class Gathering(Dataset[T_co]):
    """A dataset with ``__getitems__``; a subclass that only changes ``__getitem__`` loses it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__getitem__" in cls.__dict__ and "__getitems__" not in cls.__dict__:
            cls.__getitems__ = None  # type: ignore[attr-defined]


class TensorDataset(Gathering[tuple[Tensor, ...]]):
    """Samples that are rows of tensors: ``dataset[i]`` is ``(tensors[0][i], tensors[1][i], ...)``.

    Args:
        tensors: of one size in the first dimension.

    Raises:
        ArgumentError: if something is no tensor; ShapeError: if the first sizes differ.
    """

    def __init__(self, *tensors: Tensor) -> None:
        for t in tensors:
            if not isinstance(t, Tensor):
                raise ArgumentError(f"TensorDataset: takes tensors, got {type(t).__name__}")
            if t.ndim == 0:
                raise IndexingError("TensorDataset: a 0-d tensor has no rows")
        if len({t.shape[0] for t in tensors}) > 1:
            sizes = [tuple(t.shape) for t in tensors]
            raise ShapeError(f"TensorDataset: Size mismatch between tensors: {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: list[int]) -> Rows:
        return Rows(tuple(t[indices] for t in self.tensors), len(indices))

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


class StackDataset(Dataset[Any]):
    """Datasets side by side: a sample is a tuple (or, by keyword, a dict) of one from each.

    Raises:
        SettingError: if none is given, lengths differ, or both ways are mixed.
    """

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if args and kwargs:
            raise SettingError("StackDataset: takes datasets as a tuple or by keyword, not both")
        if not args and not kwargs:
            raise SettingError("StackDataset: At least one dataset should be passed")
        self.datasets: Any = kwargs or args
        lengths = [len(d) for d in self._parts()]  # type: ignore[arg-type]
        if len(set(lengths)) > 1:
            raise SettingError(f"StackDataset: Size mismatch between datasets: lengths {lengths}")
        self._length = lengths[0]

    def _parts(self) -> list[Dataset[Any]]:
        named = isinstance(self.datasets, dict)
        return list(self.datasets.values() if named else self.datasets)

    def _sample(self, parts: Iterable[Any]) -> Any:
        named = isinstance(self.datasets, dict)
        return dict(zip(self.datasets, parts)) if named else tuple(parts)

    def __getitem__(self, index: Any) -> Any:
        return self._sample(d[index] for d in self._parts())

    def __getitems__(self, indices: list[int]) -> list[Any]:
        columns = [samples_of(d, indices) for d in self._parts()]
        for column in columns:
            if len(column) != len(indices):
                raise SettingError(
                    f"StackDataset: Nested dataset's output size mismatch: expected "
                    f"{len(indices)} samples, got {len(column)}"
                )
        return [self._sample(parts) for parts in zip(*columns)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[T_co]):
    """Datasets one after another.

    Raises:
        SettingError: if there is none; ArgumentError: if one is a stream.
    """

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise SettingError("ConcatDataset: datasets should not be an empty iterable")
        for d in self.datasets:
            if isinstance(d, IterableDataset):
                raise ArgumentError("ConcatDataset: does not support IterableDataset; chain it")
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: Any) -> T_co:
        if index < 0:
            if -index > len(self):
                raise SettingError(
                    f"ConcatDataset: absolute value of index should not exceed dataset length: "
                    f"{index}, {len(self)}"
                )
            index += len(self)
        which = bisect_right(self.cumulative_sizes, index)
        if which == len(self.datasets):
            raise IndexingError(f"ConcatDataset: sample {index} of {len(self)}")
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]  # type: ignore[no-any-return]


class ChainDataset(IterableDataset[Any]):
    """Streams one after another.

    Raises:
        ArgumentError: when iterated or measured, if one is no stream.
    """

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = datasets

    def _streams(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise ArgumentError(
                    f"ChainDataset: only supports IterableDataset, got {type(d).__name__}"
                )
            yield d

    def __iter__(self) -> Iterator[Any]:
        for d in self._streams():
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self._streams())


class Subset(Gathering[T_co]):
    """Some samples of a dataset, by their indices."""

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> Sequence[T_co]:
        return samples_of(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def samples_of(dataset: Any, indices: Sequence[int]) -> Sequence[Any]:
    """Samples by index, at once where the dataset can."""
    at_once = getattr(dataset, "__getitems__", None)
    if at_once is not None:
        found: Sequence[Any] = at_once(indices)
        return found
    return [dataset[i] for i in indices]


def random_split(
    dataset: Dataset[T_co],
    lengths: Sequence[int | float],
    generator: Generator | None = default_generator,
) -> list[Subset[T_co]]:
    """Split a dataset at random into parts that share no sample.

    Args:
        dataset: what to split.
        lengths: samples of each part; or fractions that sum to 1, where what rounding leaves over
            goes one by one to the first parts.
        generator: draws the order.

    Raises:
        SettingError: if the lengths do not sum to the dataset's.
    """
    total = len(dataset)  # type: ignore[arg-type]
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = _counts(total, lengths)
    if sum(lengths) != total:
        raise SettingError(
            f"random_split: Sum of input lengths does not equal the length of the input dataset! "
            f"{list(lengths)} sum to {sum(lengths)}, the dataset has {total}"
        )
    order = randperm(total, generator=generator).tolist()
    ends = list(accumulate(int(n) for n in lengths))
    return [Subset(dataset, order[end - int(n) : end]) for end, n in zip(ends, lengths)]


def _counts(total: int, fractions: Sequence[float]) -> list[int]:
    for i, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise SettingError(f"random_split: fraction at index {i} is {fraction}, not in [0, 1]")
    counts = [math.floor(total * fraction) for fraction in fractions]
    for i in range(total - sum(counts)):
        counts[i % len(counts)] += 1
    for i, count in enumerate(counts):
        if count == 0:
            warnings.warn(
                f"Length of split at index {i} is 0. This might result in an empty dataset.",
                stacklevel=3,
            )
    return counts
