"""In which order a loader reads its samples.

A sampler draws everything an epoch needs when ``iter`` is called on it, never while it is read: so
its order is a function of its generator's state at that moment, whatever else draws meanwhile, and
a loader's cursor can repeat it (see ``dataloader``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from gpugrad.errors import ArgumentError, SettingError
from gpugrad.ops.random import multinomial, randint, randperm
from gpugrad.random import Generator
from gpugrad.tensor import wrap

#: Indices that a sampler with replacement draws at a time.
_PIECE = 4096

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """An order of samples: subclasses give ``__iter__``, and ``__len__`` where they know it.

    A subclass with a state of its own may give ``state_dict()`` and ``load_state_dict(state)``:
    what ``state_dict`` returned before ``iter(sampler)`` must, once loaded, bring that order back
    from its beginning.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


def take(items: Iterator[T], count: int) -> list[T]:
    """Up to ``count`` items, by ``next`` alone: some iterators start over when ``iter`` is called.

    (So does a class whose ``__iter__`` resets and returns itself; ``islice`` would call it.)
    """
    found = []
    try:
        for _ in range(count):
            found.append(next(items))  # noqa: PERF401 a generator would turn the end into an error
    except StopIteration:
        pass
    return found


def positive(owner: str, name: str, value: Any) -> int:
    """A setting that must be an int above zero.

    Raises:
        SettingError: if it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise SettingError(
            f"{owner}: {name} should be a positive integer value, but got {name}={value}"
        )
    return value


def boolean(owner: str, name: str, value: Any, error: type[Exception] = SettingError) -> bool:
    """A setting that must be True or False; ``error`` if it is not."""
    if not isinstance(value, bool):
        raise error(f"{owner}: {name} should be a boolean value, but got {name}={value}")
    return value


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Samples in random order, each once; or any number of them, drawn independently.

    Args:
        data_source: what is sampled, for its length.
        replacement: draw independently, so that a sample may come twice.
        num_samples: how many; the length by default. Without replacement, more than the length
            means further passes in fresh orders.
        generator: draws; the default generator if None.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = boolean("RandomSampler", "replacement", replacement, ArgumentError)
        self._num_samples = num_samples
        self.generator = generator
        positive("RandomSampler", "num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """Samples of one epoch."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, wanted = len(self.data_source), self.num_samples
        if self.replacement:
            return _drawn(n, wanted, self.generator)
        passes = [randperm(n, generator=self.generator).numpy() for _ in range(-(-wanted // n))]
        return iter(np.concatenate(passes)[:wanted].tolist())

    def __len__(self) -> int:
        return self.num_samples


def _drawn(n: int, wanted: int, generator: Generator | None) -> Iterator[int]:
    """``wanted`` independent indices below ``n``, in a memory that does not grow with ``wanted``.

    (Programs that count steps ask for 10**10.)  All follow from one seed, which is drawn here, not
    when the first is read.
    """
    own = Generator().manual_seed(int(randint(0, 2**62, (), generator=generator).item()))
    pieces = (min(_PIECE, wanted - at) for at in range(0, wanted, _PIECE))
    return (i for m in pieces for i in randint(0, n, (m,), generator=own).tolist())


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        order = randperm(len(self.indices), generator=self.generator).tolist()
        return (self.indices[i] for i in order)

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices ``0 .. len(weights) - 1``, each as likely as its weight says.

    Args:
        weights: not negative; they need not sum to 1.
        num_samples: how many to draw.
        replacement: whether an index may come twice.
        generator: draws; the default generator if None.
    """

    def __init__(self, weights: Sequence[float], num_samples: int, replacement: bool = True,
                 generator: Generator | None = None) -> None:  # fmt: skip
        values = np.asarray(weights, dtype=np.float64)
        if values.ndim != 1:
            raise SettingError(
                "WeightedRandomSampler: weights should be a 1d sequence but given weights have "
                f"shape {values.shape}"
            )
        self.weights = wrap(values.copy())
        self.num_samples = positive("WeightedRandomSampler", "num_samples", num_samples)
        self.replacement = boolean("WeightedRandomSampler", "replacement", replacement)
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Groups what a sampler gives into lists.

    Args:
        sampler: gives the indices.
        batch_size: indices in a list.
        drop_last: leave a shorter list at the end out.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.batch_size = positive("BatchSampler", "batch_size", batch_size)
        self.drop_last = boolean("BatchSampler", "drop_last", drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(iter(self.sampler))

    def _batches(self, indices: Iterator[int]) -> Iterator[list[int]]:
        while batch := take(indices, self.batch_size):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole + (rest > 0 and not self.drop_last)
