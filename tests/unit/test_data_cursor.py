"""A resumed loader gives the very batches of the uninterrupted run, cut wherever it may be."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from gpugrad.utils.data._utils import rng

# From Python 3.12 on, a fork of a process with threads (pytest-xdist's) warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

EPOCHS = 2


class Noisy(Dataset[Any]):
    """Every sample draws from all three global sources."""

    def __init__(self, length: int = 10) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, float(gg.rand(()).item()), random.gauss(0, 1), np.random.standard_normal()  # noqa: NPY002


class Augmented(Dataset[Any]):
    """Every sample draws from the generator that the loader has, too."""

    def __init__(self, generator: gg.Generator) -> None:
        self.generator = generator

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, gg.rand((), generator=self.generator).item()


class Stream(IterableDataset[Any]):
    """Numbers with noise, shared out over the workers unevenly."""

    def __init__(self, length: int = 11) -> None:
        self.length = length

    def __iter__(self) -> Iterator[tuple[int, float]]:
        me = get_worker_info()
        mine = range(self.length)
        if me is not None:
            mine = range(3) if me.id == 0 else range(3, self.length)
        offset = random.random()
        for i in mine:
            yield i, offset + (float(gg.rand(()).item()) if me else 0)


class Shuffled(IterableDataset[int]):
    """A stream that draws its whole order when it is started."""

    def __iter__(self) -> Iterator[int]:
        return iter(random.sample(range(50), 7))


class Counting(IterableDataset[Any]):
    """A stream that keeps its own place, and counts its passes."""

    def __init__(self) -> None:
        self.at = self.passes = 0

    def __iter__(self) -> Iterator[Any]:
        while self.at < 7:
            self.at += 1
            yield self.passes * 100 + self.at
        self.at = 0
        self.passes += 1

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at, "passes": self.passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at, self.passes = state["at"], state["passes"]


class Lazy(Sampler[int]):
    """A sampler of somebody else, drawing while it is read, from a source of its own choice."""

    def __iter__(self) -> Iterator[int]:
        for _ in range(9):
            yield random.randrange(10)


class Turning(Sampler[int]):
    """A sampler with a state of its own."""

    def __init__(self) -> None:
        self.turns = 0

    def __iter__(self) -> Iterator[int]:
        self.turns += 1
        return iter([(i + self.turns) % 10 for i in range(10)])

    def state_dict(self) -> dict[str, int]:
        return {"turns": self.turns}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.turns = state["turns"]


def generator() -> gg.Generator:
    return gg.Generator().manual_seed(5)


def rows(n: int = 10) -> TensorDataset:
    return TensorDataset(gg.arange(n), gg.arange(n) * 2)


def distributed(**kw: Any) -> DataLoader[Any]:
    return DataLoader(rows(), 2, sampler=DistributedSampler(rows(), 2, 1), **kw)


def shared_generator(**kw: Any) -> DataLoader[Any]:
    """A batch sampler and a loader that draw from one generator."""
    g = generator()
    order = BatchSampler(RandomSampler(range(10), generator=g), 4, True)
    return DataLoader(rows(), batch_sampler=order, generator=g, **kw)


def common_generator(**kw: Any) -> DataLoader[Any]:
    """A dataset that draws from the loader's own generator."""
    g = generator()
    return DataLoader(Augmented(g), 3, shuffle=True, generator=g, **kw)


LOADERS: dict[str, Callable[..., DataLoader[Any]]] = {
    "in order": lambda **kw: DataLoader(rows(), 3, **kw),
    "shuffled": lambda **kw: DataLoader(rows(), 3, shuffle=True, **kw),
    "shuffled, drop_last": lambda **kw: DataLoader(rows(), 3, True, drop_last=True, **kw),
    "own generator": lambda **kw: DataLoader(rows(), 3, True, generator=generator(), **kw),
    "shared generator": shared_generator,
    "generator of loader and dataset": common_generator,
    "single samples": lambda **kw: DataLoader(rows(5), None, shuffle=True, **kw),
    "replacement": lambda **kw: DataLoader(
        rows(), 4, sampler=RandomSampler(rows(), True, 17, generator()), **kw
    ),
    "several passes": lambda **kw: DataLoader(
        rows(), 4, sampler=RandomSampler(rows(), False, 23), **kw
    ),
    "subset": lambda **kw: DataLoader(
        rows(), 2, sampler=SubsetRandomSampler([1, 4, 7, 8, 9]), **kw
    ),
    "weighted": lambda **kw: DataLoader(
        rows(), 2, sampler=WeightedRandomSampler([1, 2, 3, 4], 7), **kw
    ),
    "distributed": distributed,
    "noise in the samples": lambda **kw: DataLoader(Noisy(), 3, shuffle=True, **kw),
    "concatenated noise": lambda **kw: DataLoader(
        ConcatDataset([Noisy(4), Noisy(3)]), 2, shuffle=True, **kw
    ),
    "lazy sampler": lambda **kw: DataLoader(rows(), 2, sampler=Lazy(), **kw),
    "sampler with state": lambda **kw: DataLoader(rows(), 3, sampler=Turning(), **kw),
    "list as batch sampler": lambda **kw: DataLoader(
        rows(), batch_sampler=[[1], [2, 3], [4]], **kw
    ),
    "stream": lambda **kw: DataLoader(Stream(), 2, **kw),
    "stream, drop_last": lambda **kw: DataLoader(Stream(), 2, drop_last=True, **kw),
    "stream of single samples": lambda **kw: DataLoader(Stream(), None, **kw),
    "shuffled stream": lambda **kw: DataLoader(Shuffled(), 2, **kw),
    "stream with state": lambda **kw: DataLoader(Counting(), 2, **kw),
}  # fmt: skip


def plain(batch: Any) -> Any:
    """A batch, or a state, as nested lists and dicts, to be compared with ``==``."""
    if isinstance(batch, gg.Tensor):
        return batch.tolist()
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    return [plain(b) for b in batch] if isinstance(batch, list | tuple) else batch


def seed() -> None:
    gg.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002


def train(loader: DataLoader[Any], first: int = 0) -> Iterator[tuple[int, Any]]:
    """Epochs of a loop that draws random numbers itself, as dropout does."""
    for epoch in range(first, EPOCHS):
        if isinstance(loader.sampler, DistributedSampler):
            loader.sampler.set_epoch(epoch)
        for batch in loader:
            gg.rand(2)
            yield epoch, plain(batch)
        yield epoch, "end"


def check_every_cut(make: Callable[..., DataLoader[Any]], every: int = 1, **kw: Any) -> None:
    """Run once through, keeping the state at each step; then resume from each."""
    seed()
    loader = make(**kw)
    whole, cuts = [], [(0, loader.state_dict(), rng.capture())]
    for epoch, batch in train(loader):
        whole.append((epoch, batch))
        cuts.append((epoch + (batch == "end"), loader.state_dict(), rng.capture()))
    after = rng.capture()
    assert len(whole) > 2 * EPOCHS
    for i, (epoch, state, random_state) in [*enumerate(cuts)][::every]:
        rng.restore(random_state)
        resumed = make(**kw)
        resumed.load_state_dict(state)
        assert list(train(resumed, epoch)) == whole[i:], f"cut after {i} steps"
        assert rng.capture() == after, f"random state at the end, cut after {i} steps"


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_every_cut_resumes_exactly(make: Callable[..., DataLoader[Any]]) -> None:
    """Same batches and same random state at the end, in this process."""
    check_every_cut(make)


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_a_cut_before_the_first_batch(make: Callable[..., DataLoader[Any]]) -> None:
    """An epoch that was started and not read yet has its order, too."""
    seed()
    loader = make()
    it = iter(loader)
    random.random(), gg.rand(3), np.random.rand()  # noqa: NPY002
    state, random_state = loader.state_dict(), rng.capture()
    whole = [plain(b) for b in it]
    rng.restore(random_state)
    resumed = make()
    resumed.load_state_dict(state)
    assert [plain(b) for b in resumed] == whole


WITH_WORKERS = ["shuffled", "own generator", "noise in the samples", "lazy sampler",
                "sampler with state", "stream", "shuffled stream",
                "stream of single samples", "stream with state"]  # fmt: skip


@pytest.mark.parametrize("persistent", [False, True], ids=["fresh", "persistent"])
@pytest.mark.parametrize("name", WITH_WORKERS)
def test_cuts_resume_exactly_with_workers(name: str, persistent: bool) -> None:
    """Also where two workers read ahead and draw random numbers, each in its own state."""
    check_every_cut(
        LOADERS[name],
        2,
        num_workers=2,
        persistent_workers=persistent,
        multiprocessing_context="fork",
    )


def test_the_state_survives_a_file(tmp_path: Any) -> None:
    """``gpugrad.save`` and ``load`` keep all of it, with workers' states."""
    seed()
    loader = DataLoader(Noisy(), 3, shuffle=True, generator=generator())
    it = iter(loader)
    next(it)
    gg.save({"loader": loader.state_dict()}, tmp_path / "cursor")
    random_state = rng.capture()
    rest = [plain(b) for b in it]
    resumed = DataLoader(Noisy(), 3, shuffle=True, generator=gg.Generator())
    resumed.load_state_dict(gg.load(tmp_path / "cursor")["loader"])
    rng.restore(random_state)
    assert [plain(b) for b in resumed] == rest


def test_the_state_after_leaving_an_epoch_early_is_where_it_was_left() -> None:
    """A loop that breaks and then saves goes on behind its last batch; the next one is new."""
    loader = DataLoader(range(6))
    for batch in loader:
        if batch.item() == 2:
            break
    resumed = DataLoader(range(6))
    resumed.load_state_dict(loader.state_dict())
    assert resumed.state_dict() is not None
    assert [b.item() for b in resumed] == [3, 4, 5]
    assert [b.item() for b in resumed] == [0, 1, 2, 3, 4, 5]
    assert [b.item() for b in loader] == [0, 1, 2, 3, 4, 5]


def test_a_loaded_state_can_be_asked_for_again() -> None:
    """Before the first batch it is what was loaded."""
    loader = DataLoader(rows(), 2, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    resumed = DataLoader(rows(), 2, shuffle=True)
    resumed.load_state_dict(state)
    assert plain(resumed.state_dict()) == plain(state)


def test_a_sample_that_fails_is_passed_over() -> None:
    """The batch of a failed sample counts as handed out, here and in a resumed run."""

    class Failing(Dataset[int]):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> int:
            if index == 1:
                raise OSError("unreadable")
            return index

    for workers in (0, 1):
        kw: dict[str, Any] = {"num_workers": workers, "timeout": 20} if workers else {}
        if workers:
            kw["multiprocessing_context"] = "fork"
        loader = DataLoader(Failing(), **kw)
        it = iter(loader)
        next(it)
        with pytest.raises(OSError, match="unreadable"):
            next(it)
        resumed = DataLoader(Failing(), **kw)
        resumed.load_state_dict(loader.state_dict())
        assert [b.item() for b in resumed] == [b.item() for b in it] == [2, 3, 4]


def test_indexed_data_may_be_resumed_by_another_number_of_workers() -> None:
    """As long as nothing was drawn in them; what was drawn is refused elsewhere."""
    kw: dict[str, Any] = {"multiprocessing_context": "fork", "timeout": 20}
    seed()
    loader = DataLoader(rows(), 2, shuffle=True, num_workers=2, **kw)
    it = iter(loader)
    first = [plain(next(it)) for _ in range(2)]
    resumed = DataLoader(rows(), 2, shuffle=True)
    resumed.load_state_dict(loader.state_dict())
    rest = [plain(b) for b in resumed]
    assert rest == [plain(b) for b in it]
    assert len(first + rest) == 5

    noisy = DataLoader(Noisy(), 2, num_workers=2, **kw)
    next(iter(noisy))
    with pytest.raises(SettingError, match="num_workers: 2 in the state, 1 here"):
        DataLoader(Noisy(), 2, num_workers=1, **kw).load_state_dict(noisy.state_dict())


OTHERS: dict[str, tuple[Callable[[], DataLoader[Any]], str]] = {
    "length": (lambda: DataLoader(rows(9), 3), "dataset length: 10 in the state, 9 here"),
    "batch size": (lambda: DataLoader(rows(), 4), "batch_size: 3 in the state, 4 here"),
    "no batches": (lambda: DataLoader(rows(), None), "batch_size: 3 in the state, none here"),
    "drop_last": (lambda: DataLoader(rows(), 3, drop_last=True), "drop_last: 0 in .*, 1 here"),
    "order": (lambda: DataLoader(rows(), 3, True), "SequentialSampler in .*, RandomSampler here"),
    "generator": (lambda: DataLoader(rows(), 3, generator=generator()), "generators: 0 in .*, 1"),
    "stream": (lambda: DataLoader(Stream(), 3), "dataset: indexed in the state, stream here"),
    "two": (lambda: DataLoader(rows(9), 4), "batch_size.*; dataset length"),
}


@pytest.mark.parametrize(("make", "says"), OTHERS.values(), ids=OTHERS)
def test_a_state_of_another_loader_is_refused(make: Any, says: str) -> None:
    """All differences are named, with both sides; the loader stays as it was."""
    loader = DataLoader(rows(), 3)
    next(iter(loader))
    with pytest.raises(SettingError, match=says):
        make().load_state_dict(loader.state_dict())


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(SettingError, match="version 1; got version none"):
        DataLoader(rows()).load_state_dict({"weight": gg.ones(2)})


def test_another_generator_in_numpys_place() -> None:
    """Reading goes on; only the state is refused."""
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(1))
    try:
        loader = DataLoader(rows())
        assert len(list(loader)) == 10
        next(iter(loader))
        with pytest.raises(NotSupportedError, match="MT19937"):
            loader.state_dict()
    finally:
        np.random.set_bit_generator(before)


def test_an_order_that_cannot_repeat_has_no_state() -> None:
    with pytest.raises(NotSupportedError, match="in_order"):
        DataLoader(rows(), num_workers=1, in_order=False).state_dict()
