"""Worker processes: what they give, how they fail, and that nothing is left of them."""

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, WorkerError
from gpugrad.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    get_worker_info,
)

# From Python 3.12 on, a fork of a process with threads (pytest-xdist's) warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

ROOT = Path(__file__).parents[2]
LIMIT = 20.0  # seconds that no wait in here may take


class Doing(Dataset[Any]):
    """Calls a function for sample 2, and for the others gives their index."""

    def __init__(self, action: Callable[[], Any], length: int = 8) -> None:
        self.action = action
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.action() if index == 2 else index


class Own(Dataset[int]):
    """Says who read it."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        me = get_worker_info()
        assert me is not None
        return index, me.id, me.num_workers, me.seed, gg.initial_seed(), gg.get_num_threads()


class Draws(Dataset[float]):
    """A number of each global source."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return gg.rand(()).item(), random.random(), np.random.rand()  # noqa: NPY002


class NeedsTwo(Exception):
    """Cannot be made of a text alone."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


def fail(error: BaseException) -> Callable[[], Any]:
    def action() -> Any:
        raise error

    return action


def forked(dataset: Any, workers: int = 2, **kw: Any) -> DataLoader[Any]:
    kw.setdefault("timeout", LIMIT)
    return DataLoader(dataset, num_workers=workers, multiprocessing_context="fork", **kw)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no child process, and no descriptor more than before."""
    before = descriptors()
    yield
    gc.collect()
    assert workers() == []
    assert descriptors() <= before


@pytest.fixture(scope="module", autouse=True)
def helpers() -> None:
    """Processes of multiprocessing itself, which stay, and hold a descriptor each."""
    resource_tracker.ensure_running()
    forkserver.ensure_running()


def workers() -> list[int]:
    """Process ids of this process's workers."""
    children = multiprocessing.active_children()
    return [p.pid for p in children if p.name.startswith("gpugrad-worker") and p.pid]


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


# ---- what they give --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method: str) -> None:
    """A dataset that can be pickled reads alike in processes that inherit nothing."""
    big = gg.arange(40_000).reshape(8, 5000)
    data = TensorDataset(big, gg.arange(8))
    loader = DataLoader(
        data, 4, num_workers=1, multiprocessing_context=method, timeout=LIMIT
    )  # fmt: skip
    batches = list(loader)
    assert gg.equal(gg.cat([b[0] for b in batches]), big)
    batches[0][0].zero_()  # the pages of a batch are the receiver's alone
    assert big.sum() > 0


def test_batches_come_in_order_and_know_their_worker() -> None:
    """Worker i has seed base + i and reads every second batch; it computes with one thread."""
    gg.manual_seed(0)
    batches = list(forked(Own(), collate_fn=lambda b: b[0]))
    assert [b[0] for b in batches] == list(range(6))
    assert [b[1] for b in batches] == [0, 1, 0, 1, 0, 1]
    assert {b[2] for b in batches} == {2}
    assert all(b[3] == b[4] and b[5] == 1 for b in batches)
    assert batches[1][3] == batches[0][3] + 1
    assert get_worker_info() is None


def test_seeds_follow_the_generator() -> None:
    """The same generator gives the same numbers in workers; they differ between workers."""

    def g() -> gg.Generator:
        return gg.Generator().manual_seed(7)

    first, second = (
        [[t.item() for t in b] for b in forked(Draws(), generator=g())] for _ in range(2)
    )
    assert first == second
    assert all(a != b for a, b in zip(*first))


def test_worker_init_fn_comes_after_seeding() -> None:
    """It gets the worker's number, and what it seeds stays."""

    def init(number: int) -> None:
        assert get_worker_info().id == number  # type: ignore[union-attr]
        np.random.seed(40 + number)  # noqa: NPY002

    batches = list(forked(Draws(), worker_init_fn=init))
    expected = [np.random.RandomState(40 + i).rand() for i in range(2)]
    assert [b[2].item() for b in batches] == expected


def test_every_kind_of_batch_arrives_whole() -> None:
    """Small and large, contiguous or not, 16-bit, empty, nested, strings, non-tensors."""
    big = gg.randn(300, 300)
    samples = [
        {"a": big, "t": big.T, "s": "text", "n": None, "e": gg.ones(0), "b": big.bfloat16()},
        gg.tensor(1), gg.ones(3, dtype=gg.float16), np.arange(70_000), "x" * 200_000,
    ]  # fmt: skip
    arrived = list(forked(samples, batch_size=None, collate_fn=lambda s: s))
    assert gg.equal(arrived[0]["a"], big)
    assert gg.equal(arrived[0]["t"], big.T)
    assert gg.equal(arrived[0]["b"], big.bfloat16())
    assert arrived[0]["s"] == "text"
    assert arrived[0]["n"] is None
    assert arrived[0]["e"].shape == (0,)
    assert arrived[2].dtype == gg.float16
    assert (arrived[3] == samples[3]).all()
    assert arrived[4] == samples[4]
    arrived[0]["a"].add_(1)  # can be written to
    arrived[2].add_(1)


def test_orders_larger_than_a_pipe() -> None:
    """Thousands of indices to a batch, and replies as large, block neither side."""
    numbers = list(range(300_000))
    loader = forked(numbers, batch_size=50_000, collate_fn=list, prefetch_factor=4)
    assert [n for b in loader for n in b] == numbers


def test_out_of_order() -> None:
    """With in_order=False a slow batch does not hold up the others, and none is lost."""
    loader = forked(Doing(lambda: time.sleep(0.5) or 2), in_order=False)
    numbers = [b.item() for b in loader]
    assert sorted(numbers) == list(range(8))
    assert numbers[-1] in (2, 6)  # worker 0 is held up at sample 2; 6 is all it may still have


def test_persistent_workers_stay() -> None:
    """The same processes read every epoch; without it, fresh ones do."""

    def pids(loader: DataLoader[Any]) -> set[Any]:
        return {b.item() for b in loader}

    for persistent in (True, False):
        loader = forked(
            [0, 1], persistent_workers=persistent, collate_fn=lambda b: gg.tensor(os.getpid())
        )
        assert (pids(loader) == pids(loader)) is persistent


def test_an_epoch_left_early_does_not_leak_into_the_next() -> None:
    """Persistent workers' late batches are dropped; the older iterator says what happened."""
    loader = forked(list(range(8)), persistent_workers=True)
    old = iter(loader)
    assert next(old).item() == 0
    assert [b.item() for b in loader] == list(range(8))
    with pytest.raises(WorkerError, match="newer"):
        next(old)


# ---- how they fail ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("odd"), ValueError), (KeyError("k"), KeyError),
        (StopIteration(), StopIteration), (OSError(2, "none"), OSError),
        (NeedsTwo(1, 2), WorkerError), (type("Local", (Exception,), {})("here"), WorkerError),
        (gg.errors.ShapeError("s"), RuntimeError),
    ],
    ids=lambda e: getattr(type(e), "__name__", "") if isinstance(e, Exception) else "",
)  # fmt: skip
def test_an_exception_arrives_with_its_class_and_traceback(error: Exception, kind: type) -> None:
    """And the epoch can go on behind it."""
    it = iter(forked(Doing(fail(error))))
    assert [next(it).item(), next(it).item()] == [0, 1]
    with pytest.raises(kind, match=r"(?s)worker process 0.*Traceback.*in action.*raise error"):
        next(it)
    assert [b.item() for b in it] == [3, 4, 5, 6, 7]


def test_a_failure_of_worker_init_fn_arrives() -> None:
    with pytest.raises(ZeroDivisionError, match="in DataLoader worker process"):
        next(iter(forked([1, 2], worker_init_fn=lambda n: 1 / 0)))


def test_a_batch_that_cannot_be_pickled_is_an_error() -> None:
    loader = forked([0, 1, 2], workers=1, collate_fn=lambda b: (lambda: b) if b == [1] else b)
    it = iter(loader)
    assert next(it) == [0]
    with pytest.raises(Exception, match=r"pickle.*lambda"):
        next(it)
    assert next(it) == [2]


DEATHS = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), r"was killed by signal 9 \(SIGKILL\)"),
    "exit": (lambda: os._exit(3), "exited with code 3"),
    "sys.exit": (lambda: sys.exit(5), "exited with code 5"),
    "ended": (lambda: os.kill(os.getpid(), signal.SIGTERM), r"was killed by signal 15 \(SIGTERM\)"),
}


@pytest.mark.parametrize(("action", "says"), DEATHS.values(), ids=DEATHS)
def test_a_death_is_noticed(action: Callable[[], Any], says: str) -> None:
    """Soon, with pid and reason; the loader works again afterwards."""
    loader = forked(Doing(action), prefetch_factor=1)
    it = iter(loader)
    began = time.monotonic()
    with pytest.raises(WorkerError, match=rf"pid\(s\) \d+.*worker 0 {says}"):
        list(it)
    assert time.monotonic() - began < 3
    with pytest.raises(WorkerError, match="ended"):
        next(it)
    assert issubclass(WorkerError, RuntimeError)
    assert next(iter(loader)).item() == 0


def test_death_of_another_worker_is_noticed_while_waiting() -> None:
    """While worker 0 is slow, worker 1 dies: nobody waits for worker 0's batch first."""

    def collate(batch: Any) -> Any:
        me = get_worker_info()
        assert me is not None
        if me.id == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(LIMIT)

    began = time.monotonic()
    with pytest.raises(WorkerError, match="worker 1 was killed"):
        next(iter(forked([0, 1], collate_fn=collate)))
    assert time.monotonic() - began < 5


def test_killed_from_outside_between_batches() -> None:
    """A worker that is killed while it waits for orders."""
    it = iter(forked(list(range(50)), batch_size=1))
    next(it)
    os.kill(workers()[0], signal.SIGKILL)
    with pytest.raises(WorkerError, match="SIGKILL"):
        list(it)


def test_timeout() -> None:
    """A silent worker is given up, and ended."""
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"timed out after 0\.5 seconds.*worker 0"):
        list(forked(Doing(lambda: time.sleep(LIMIT)), timeout=0.5))
    assert time.monotonic() - began < 5


def test_leaving_early_ends_the_workers() -> None:
    """By ``break`` and by dropping the iterator; the fixture looks for what is left."""
    for _ in forked(list(range(100))):
        break
    it = iter(forked(list(range(100))))
    next(it)
    del it
    assert workers() == []


def test_workers_of_two_loaders_end_apart() -> None:
    """The second loader's workers, forked later, hold copies of the first one's pipes."""
    kw: dict[str, Any] = {"persistent_workers": True, "workers": 1}
    loaders = [forked(list(range(9)), **kw) for _ in range(3)]
    for loader in loaders:
        next(iter(loader))
    assert len(workers()) == 3
    began = time.monotonic()
    while loaders:
        del loader, loaders[0]
        loader = loaders[0] if loaders else None
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("part", ["dataset", "collate_fn", "worker_init_fn"])
def test_what_cannot_be_pickled_is_named(part: str) -> None:
    """Before a process is started."""
    parts: dict[str, Any] = {"dataset": [1, 2], part: lambda *a: None}
    if part == "dataset":
        parts["dataset"] = Doing(lambda: 1)
    loader = DataLoader(**parts, num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(ArgumentError, match=rf"{part} cannot be pickled.*fork"):
        iter(loader)


# ---- the training process ends ---------------------------------------------------------------


def script(tmp_path: Path, text: str) -> subprocess.Popen[str]:
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, str(file)], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that nobody here may reap counts."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


TRAINS = """
    import multiprocessing, time
    from gpugrad.utils.data import DataLoader
    loader = DataLoader(list(range(10**6)), num_workers=2, multiprocessing_context="fork")
    for batch in loader:
        print(*(p.pid for p in multiprocessing.active_children()), flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name
)
def test_no_worker_outlives_the_training_process(how: signal.Signals, tmp_path: Path) -> None:
    """Interrupted at the terminal (all processes get it), ended, or killed outright."""
    process = script(tmp_path, TRAINS)
    assert process.stdout
    pids = [int(p) for p in process.stdout.readline().split()]
    assert len(pids) == 2
    if how is signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    _, errors = process.communicate(timeout=LIMIT)
    assert all(gone(pid) for pid in pids)
    assert errors.count("Traceback") == (how is signal.SIGINT)  # the training process's own
    assert "leaked" not in errors


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    """Where a worker imports the script, which starts workers again."""
    process = script(tmp_path, """
        from gpugrad.utils.data import DataLoader
        print(list(DataLoader([1, 2], num_workers=1, multiprocessing_context="spawn")))
    """)  # fmt: skip
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert errors.rstrip().splitlines()[-1].startswith("gpugrad.errors.WorkerError: DataLoader")
    assert "if __name__ == '__main__'" in errors.rstrip().splitlines()[-1]


def test_streams_are_shared_out() -> None:
    """Each worker reads its part; the batches alternate until one part is at its end."""

    class Parts(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            me = get_worker_info()
            assert me is not None
            return iter(range(me.id * 10, me.id * 10 + (2 if me.id == 0 else 5)))

    assert [b.tolist() for b in forked(Parts(), batch_size=2)] == [[0, 1], [10, 11], [12, 13], [14]]
