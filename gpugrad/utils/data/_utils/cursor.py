"""Where a loader stands in an epoch, and how an epoch is taken up again.

What decides an epoch's batches is fixed when it starts: the random states at that moment
(``Start``).  So the cursor is that start and a count of batches: a resumed epoch iterates its
sampler once more as of the start, drops the batches that were handed out, and leaves all generators
as they were at the cut.  What happens to random states inside workers comes back with each batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gpugrad.random import Generator
from gpugrad.utils.data._utils import rng
from gpugrad.utils.data._utils.rng import RandomState
from gpugrad.utils.data.sampler import take


@dataclass
class Place:
    """How far one worker has come, as of the last batch of its that was handed out.

    Attributes:
        batches: handed out in this epoch.
        ended: whether its stream is at its end.
        start: random state when the epoch started; None for one fresh from its seed.
        now: random state after its last batch; None for one fresh from its seed.
        dataset: what the dataset's ``state_dict()`` returned then.
    """

    batches: int = 0
    ended: bool = False
    start: RandomState | None = None
    now: RandomState | None = None
    dataset: Any = None


@dataclass
class Start:
    """What decides an epoch.

    Attributes:
        base_seed: the workers' seeds count from here.
        random: the global random states.
        generators: states of the generators that loader and samplers hold.
        sampler: what the ``state_dict()`` of a sampler with one returned.
    """

    base_seed: int
    random: RandomState
    generators: list[Any]
    sampler: Any


@dataclass
class Cursor:
    """An epoch and how much of it was handed out.

    Attributes:
        batches: handed out.
        drawn: lists of indices that were taken from the sampler; more where workers read ahead.
        turn: the worker whose batch is next.
        places: one per worker.
        ended: whether the stream was seen to end, as the last batch was short.
        finished: whether the epoch is over.
        resumed: whether it was loaded, so that the sampler is started as of ``start``.
    """

    start: Start
    batches: int = 0
    drawn: int = 0
    turn: int = 0
    places: list[Place] = field(default_factory=list)
    ended: bool = False
    finished: bool = False
    resumed: bool = False

    def indices(self, sampler: Iterable[Any], generators: list[Generator]) -> Iterator[Any]:
        """The rest of the epoch's lists of indices, from a sampler that is started here."""
        if not self.resumed:
            return self._counted([], iter(sampler))
        with _as_of(self.start, generators):
            if self.start.sampler is not None:
                sampler_with_state(sampler).load_state_dict(self.start.sampler)
            order = iter(sampler)
            ahead = take(order, self.drawn)[self.batches :]
        self.drawn = self.batches
        return self._counted(ahead, order)

    def _counted(self, ahead: list[Any], order: Iterator[Any]) -> Iterator[Any]:
        while wanted := ahead[:1] or take(order, 1):
            del ahead[:1]
            self.drawn += 1
            yield wanted[0]


@contextmanager
def _as_of(start: Start, generators: list[Generator]) -> Iterator[None]:
    """Inside, all generators are as they were at the start of an epoch."""
    now = [g.get_state() for g in generators]
    with rng.as_of(start.random):
        for g, state in zip(generators, start.generators):
            g.set_state(state)
        try:
            yield
        finally:
            for g, state in zip(generators, now):
                g.set_state(state)


def generators_of(loader: Any) -> list[Generator]:
    """The generators that a loader and its samplers hold, each once."""
    found: dict[int, Generator] = {}
    for holder in (loader, *_samplers(loader.index_sampler)):
        generator = getattr(holder, "generator", None)
        if isinstance(generator, Generator):
            found.setdefault(id(generator), generator)
    return list(found.values())


def sampler_with_state(sampler: Any) -> Any:
    """The outermost of nested samplers that has ``state_dict`` and ``load_state_dict``, or None."""
    stateful = (s for s in _samplers(sampler) if has_state(s))
    return next(stateful, None)


def has_state(thing: Any) -> bool:
    """Whether something can tell its state and take it back."""
    return hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")


def _samplers(sampler: Any) -> Iterator[Any]:
    while sampler is not None:
        yield sampler
        sampler = getattr(sampler, "sampler", None)
