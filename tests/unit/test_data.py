"""Datasets, samplers and the loader in one process; workers and resuming have their own files."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, IndexingError, NotSupportedError, SettingError
from gpugrad.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

ROOT = Path(__file__).parents[2]


def rows(n: int = 10) -> TensorDataset:
    return TensorDataset(gg.randn(n, 3), gg.arange(n))


def order(loader: Any) -> list[int]:
    return [int(i) for batch in loader for i in batch[1]]


# ---- a dataset of tensors --------------------------------------------------------------------


@pytest.mark.parametrize("subset", [False, True], ids=["whole", "subset of subset"])
def test_a_batch_of_tensors_is_gathered_at_once(subset: bool, monkeypatch: Any) -> None:
    """The same batches as sample by sample, without reading one sample."""
    data: Any = rows()
    if subset:
        data = Subset(Subset(data, [7, 3, 1, 0, 9]), [4, 2, 0])
    expected = [[gg.stack(c) for c in zip(*[data[i] for i in range(k, min(k + 2, len(data)))])]
                for k in range(0, len(data), 2)]  # fmt: skip
    monkeypatch.setattr(TensorDataset, "__getitem__", None)
    for batch, wanted in zip(DataLoader(data, 2), expected, strict=True):
        assert type(batch) is list
        assert all(gg.equal(a, b) for a, b in zip(batch, wanted, strict=True))


def test_a_subclass_that_changes_samples_is_read_sample_by_sample() -> None:
    """Gathering would go past its ``__getitem__``."""

    class Negative(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            return tuple(-t for t in super().__getitem__(index))

    data = Negative(gg.arange(4))
    assert [b.tolist() for (b,) in DataLoader(data, 2)] == [[0, -1], [-2, -3]]
    assert [b.tolist() for (b,) in DataLoader(Subset(data, [3, 1]), 2)] == [[-3, -1]]


def test_a_collate_fn_gets_a_list_of_samples() -> None:
    """Also of a dataset that gathers."""
    seen: list[Any] = []
    list(DataLoader(rows(3), 2, collate_fn=seen.append))
    assert [type(s) for s in seen] == [list, list]
    assert [[int(label) for _, label in s] for s in seen] == [[0, 1], [2]]


def test_gathered_rows_read_like_a_list() -> None:
    found = rows().__getitems__([4, 2, 9])
    assert [int(label) for _, label in found] == [4, 2, 9]
    assert int(found[-1][1]) == 9
    assert [int(label) for _, label in found[:2]] == [4, 2]
    with pytest.raises(IndexingError, match="sample 3 of 3"):
        found[3]


def test_a_batch_keeps_the_history_of_its_samples() -> None:
    """Gradients flow through collating."""
    w = gg.ones(3, requires_grad=True)
    (batch,) = DataLoader([w * 2, w * 3], 2)
    batch.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [5, 5, 5]


# ---- order -----------------------------------------------------------------------------------


def test_the_seed_decides_the_order() -> None:
    """Of the default generator or a given one; each epoch has its own."""
    orders = []
    for _ in range(2):
        gg.manual_seed(4)
        loader = DataLoader(rows(50), 8, shuffle=True)
        orders.append([order(loader), order(loader)])
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]
    assert sorted(orders[0][0]) == list(range(50))
    given = [order(DataLoader(rows(50), 8, True, generator=gg.Generator().manual_seed(9)))
             for _ in range(2)]  # fmt: skip
    assert given[0] == given[1] != orders[0][0]


def test_an_epochs_order_is_drawn_at_its_start() -> None:
    """Draws in the loop change nothing of it, whatever the sampler."""
    for sampler in (
        RandomSampler(range(100)), RandomSampler(range(100), True, 70),
        RandomSampler(range(9), num_samples=70), WeightedRandomSampler([1] * 100, 70),
        RandomSampler(range(100), True, 9000),
    ):  # fmt: skip
        gg.manual_seed(1)
        alone = list(sampler)
        gg.manual_seed(1)
        assert [(i, gg.rand(1))[0] for i in sampler] == alone


def test_passes_of_a_long_random_order_are_whole() -> None:
    """Without replacement every sample comes once before one comes twice."""
    drawn = list(RandomSampler(range(5), num_samples=13))
    assert sorted(drawn[:5]) == sorted(drawn[5:10]) == list(range(5))
    assert drawn[:5] != drawn[5:10] or drawn[10:] != drawn[:3]


def test_draws_with_replacement_may_be_more_than_fit_in_memory() -> None:
    """A program that counts steps itself asks for a loader that never ends."""
    sampler = RandomSampler(range(5), True, 10**10)
    drawn = list(itertools.islice(sampler, 20_000))
    assert len(sampler) == 10**10
    for i in range(5):  # within five standard deviations, in every piece that is drawn at a time
        for part in (drawn[:4096], drawn[4096:8192], drawn[-4096:]):
            assert abs(part.count(i) / 4096 - 0.2) < 5 * (0.2 * 0.8 / 4096) ** 0.5
    assert drawn[:4096] != drawn[4096:8192]
    assert next(iter(DataLoader(rows(5), 64, sampler=sampler)))[1].shape == (64,)


def test_weights_are_shares() -> None:
    """Within five standard deviations of 20,000 draws."""
    gg.manual_seed(0)
    drawn = list(WeightedRandomSampler([1, 0, 3], 20_000))
    assert abs(drawn.count(2) / 20_000 - 0.75) < 5 * (0.75 * 0.25 / 20_000) ** 0.5
    assert drawn.count(1) == 0


def test_ranks_share_an_epoch() -> None:
    """They agree on an order that the epoch changes."""
    ranks = [DistributedSampler(range(10), 2, r, seed=1) for r in range(2)]
    first = [list(r) for r in ranks]
    assert sorted(first[0] + first[1]) == list(range(10))
    for r in ranks:
        r.set_epoch(1)
    assert [list(r) for r in ranks] != first
    with pytest.raises(NotSupportedError, match="num_replicas and rank"):
        DistributedSampler(range(10))


def test_parts_of_a_split_share_nothing() -> None:
    """And are decided by the generator."""
    splits = [random_split(range(100), [0.7, 0.3], gg.Generator().manual_seed(2))  # type: ignore[arg-type]
              for _ in range(2)]  # fmt: skip
    assert sorted([*splits[0][0], *splits[0][1]]) == list(range(100))  # type: ignore[misc]
    assert [s.indices for s in splits[0]] == [s.indices for s in splits[1]]
    with pytest.raises(SettingError, match=r"\[0.5, 0.4\] sum to 0.9, the dataset has 100"):
        random_split(range(100), [0.5, 0.4])  # type: ignore[arg-type]


# ---- the loader ------------------------------------------------------------------------------


def test_a_stream_longer_than_it_said_is_told_once() -> None:
    """A warning per epoch, only if its length was asked for."""

    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(6))

        def __len__(self) -> int:
            return 2

    loader = DataLoader(Stream())
    assert len(list(loader)) == 6
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2") as caught:
        list(loader)
    assert len(caught) == 1


def test_an_ended_stream_is_not_asked_again() -> None:
    """After a short batch, which says that it is at its end."""

    class Restless(IterableDataset[int]):
        def __iter__(self) -> Any:
            self.asked = 0
            return self

        def __next__(self) -> int:
            self.asked += 1
            if self.asked % 4 == 0:
                raise StopIteration
            return self.asked

    assert [b.tolist() for b in DataLoader(Restless(), 2)] == [[1, 2], [3]]


def test_the_end_stays_the_end() -> None:
    """An iterator that is used up has no more batches, and does not start over."""
    it = iter(DataLoader(rows(2), 2, shuffle=True))
    next(it)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(it)


def test_impossible_arguments_without_workers() -> None:
    with pytest.raises(SettingError, match="timeout needs num_workers > 0"):
        DataLoader(rows(), timeout=3)
    with pytest.raises(ArgumentError, match="num_workers should be an int"):
        DataLoader(rows(), num_workers=1.0)  # type: ignore[arg-type]


@pytest.mark.skipif(gg.cuda.is_available(), reason="this machine has a CUDA device")
def test_pinning_without_a_device_warns() -> None:
    with pytest.warns(UserWarning, match="no accelerator is found"):
        (batch,) = DataLoader([1, 2], 2, pin_memory=True)
    assert batch.tolist() == [1, 2]


PINS = """
import cupy_stand_in
cupy_stand_in.install()
import collections, gpugrad as gg
from gpugrad.utils.data import DataLoader
Own = type("Own", (), {"pin_memory": lambda self: "pinned"})
P = collections.namedtuple("P", "a b")
(batch,) = DataLoader([1], None, pin_memory=True, collate_fn=lambda _: {
    "t": gg.ones(3), "n": P(gg.ones(2), [gg.ones(1), "text"]), "o": Own(), "i": 4})
assert batch["t"].is_pinned() and batch["n"].a.is_pinned() and batch["n"].b[0].is_pinned()
assert batch["n"].b[1:] == ["text"] and batch["o"] == "pinned" and batch["i"] == 4
assert batch["t"].tolist() == [1, 1, 1]
"""


@pytest.mark.slow
def test_pinning_reaches_every_tensor_of_a_batch() -> None:
    """Over the stand-in for CuPy, in a process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run([sys.executable, "-c", PINS], env={**os.environ, "PYTHONPATH": path},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_docs_run(tmp_path: Path, monkeypatch: Any) -> None:
    """Those of docs/data.md that need no files."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "data.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/data.md", "exec"), {"__name__": "docs"})


def test_importing_gpugrad_does_not_load_the_loader() -> None:
    """It brings multiprocessing along, which a program without one need not wait for."""
    code = (
        "import sys, gpugrad; assert 'gpugrad.utils.data' not in sys.modules; "
        "assert 'multiprocessing' not in sys.modules; gpugrad.utils.data.DataLoader"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
