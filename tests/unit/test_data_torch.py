"""Datasets, samplers, collating and the loader's arguments, call by call as in PyTorch."""

import collections
import inspect
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.utils.data

pytestmark = pytest.mark.torch


class Point(NamedTuple):
    x: Any
    y: Any


TEN = list(range(10))


class Stream:
    """The numbers 0 to 6 as a stream, for either library."""

    def __new__(cls, data: Any) -> Any:
        class Numbers(data.IterableDataset):  # type: ignore[misc]
            def __iter__(self) -> Any:
                return iter(range(7))

        return Numbers()


#: Expressions over `t` (the library), `d` (its utils.data), `stream` and the names above.
CALLS = """
d.default_collate([1, 2])
d.default_collate([1.5, 2])
d.default_collate([1, 2.5])
d.default_collate([True, False])
d.default_collate(['a', 'b'])
d.default_collate([b'a', b'b'])
d.default_collate([None, None])
d.default_collate([t.tensor(1), t.tensor(2)])
d.default_collate([t.tensor([1]), t.tensor([1, 2])])
d.default_collate([t.tensor([1]), t.tensor([1.0])])
d.default_collate([t.ones(2, 3), t.zeros(2, 3)])
d.default_collate([t.ones(2, dtype=t.bfloat16), t.zeros(2, dtype=t.bfloat16)])
d.default_collate([(1, 2), (3, 4)])
d.default_collate([[1, 2], [3, 4]])
d.default_collate([[1, 2], [3]])
d.default_collate([{'a': 1}, {'a': 2}])
d.default_collate([{'a': 1, 'b': 2}, {'a': 2}])
d.default_collate([{'a': {'b': (1, [2.0, 'x'])}}] * 2)
d.default_collate([Point(1, 2), Point(3, 4)])
d.default_collate([np.float32(1), np.float32(2)])
d.default_collate([np.int8(1), np.int8(2)])
d.default_collate([np.bool_(True)] * 2)
d.default_collate([np.zeros(2), np.ones(2)])
d.default_collate([np.array(1), np.array(2)])
d.default_collate([np.array(['a'])] * 2)
d.default_collate([np.zeros(2), np.zeros(3)])
d.default_collate([collections.OrderedDict(a=1), collections.OrderedDict(a=2)])
d.default_collate([collections.defaultdict(int, a=1)] * 2)
d.default_collate([collections.deque([1, 2])] * 2)
d.default_collate([range(2), range(2)])
d.default_collate([1, 'a'])
d.default_collate([])
d.default_collate([set([1])])
d.default_collate([object()])
d._utils.collate.collate([1, 2], collate_fn_map={int: lambda b, *, collate_fn_map: sum(b)})
d.default_convert(1)
d.default_convert('a')
d.default_convert(np.zeros(2))
d.default_convert(np.float32(2))
d.default_convert([np.zeros(1), 2])
d.default_convert((1, np.zeros(1)))
d.default_convert(Point(1, np.zeros(1)))
d.default_convert({'a': np.zeros(1)})
d.default_convert(None)
d.TensorDataset(t.arange(4), t.arange(8).reshape(4, 2))[1]
d.TensorDataset(t.arange(4), t.arange(8).reshape(4, 2))[1:3]
len(d.TensorDataset(t.arange(4)))
d.TensorDataset(t.zeros(2), t.zeros(3))
d.TensorDataset(t.tensor(2))
d.StackDataset([1, 2], [3, 4])[1]
d.StackDataset(a=[1, 2], b=[3, 4])[0]
d.StackDataset([1, 2], [3, 4]).__getitems__([1, 0])
d.StackDataset(a=[1, 2], b=[3, 4]).__getitems__([1])
d.StackDataset()
d.StackDataset([1, 2], [1])
d.StackDataset([1], a=[1])
[d.ConcatDataset([[1, 2], [3]])[i] for i in (0, 2, -1, -3)]
d.ConcatDataset([[1]])[-2]
d.ConcatDataset([[1]])[1]
d.ConcatDataset([])
d.ConcatDataset([stream])
(d.TensorDataset(t.zeros(2)) + d.TensorDataset(t.ones(2))).cumulative_sizes
[x[0].item() for x in d.TensorDataset(t.zeros(1)) + d.TensorDataset(t.ones(1))]
list(stream + stream)
list(d.ChainDataset([TEN]))
len(d.ChainDataset([stream]))
d.Dataset()[0]
d.Subset(TEN, [1, 2])[0]
d.Subset(TEN, [1, 2])[2]
d.Subset(d.TensorDataset(t.arange(10)), [4, 2, 1])[[0, 1]]
d.Subset(TEN, [1, 5]).__getitems__([1, 0])
[len(s) for s in d.random_split(TEN, [5, 5])]
[len(s) for s in d.random_split(TEN, [0.3, 0.3, 0.4])]
[len(s) for s in d.random_split(TEN, [0.33, 0.33, 0.34])]
[len(s) for s in d.random_split(TEN, [0.05, 0.95])]
[len(s) for s in d.random_split(TEN, [0.99, 0.01])]
sorted(i for s in d.random_split(TEN, [3, 7]) for i in s)
d.random_split(TEN, [5, 4])
d.random_split(TEN, [0.5, 0.6])
d.random_split(TEN, [0.5, 0.4])
list(d.SequentialSampler(TEN))
sorted(d.RandomSampler(TEN))
len(list(d.RandomSampler(TEN, num_samples=25)))
sorted(list(d.RandomSampler(TEN, num_samples=25))[:10])
len(d.RandomSampler(TEN, True, 3))
max(d.RandomSampler(TEN, True, 300)) < 10
d.RandomSampler(TEN, replacement=1)
d.RandomSampler(TEN, num_samples=0)
d.RandomSampler(TEN, num_samples=2.0)
d.RandomSampler([])
sorted(d.SubsetRandomSampler([3, 3, 4]))
len(d.WeightedRandomSampler([1, 2], 3))
set(d.WeightedRandomSampler([0, 2, 0], 3))
sorted(d.WeightedRandomSampler([1, 2, 3], 3, False))
d.WeightedRandomSampler([1, 2], 0)
d.WeightedRandomSampler([1, 2], 3, 1)
d.WeightedRandomSampler([[1, 2]], 3)
list(d.WeightedRandomSampler([1, 2], 3, False))
list(d.WeightedRandomSampler([0, 0], 2))
list(d.WeightedRandomSampler([-1, 2], 2))
list(d.BatchSampler(range(5), 2, False))
list(d.BatchSampler(range(5), 2, True))
[len(d.BatchSampler(range(5), 2, drop)) for drop in (True, False)]
d.BatchSampler([0], 0, False)
d.BatchSampler([0], 2, 1)
d.BatchSampler([0], True, False)
[list(d.DistributedSampler(TEN, 3, r, shuffle=False)) for r in range(3)]
[list(d.DistributedSampler(TEN, 3, r, shuffle=False, drop_last=True)) for r in range(3)]
list(d.DistributedSampler(TEN, 25, 24, shuffle=False))
sorted(i for r in range(2) for i in d.DistributedSampler(TEN, 2, r, seed=4))
d.DistributedSampler(TEN, 2, 2)
d.DistributedSampler(TEN, 2, -1)
list(d.DataLoader(TEN))
list(d.DataLoader(TEN, 4))
list(d.DataLoader(TEN, 4, drop_last=True))
list(d.DataLoader(TEN, None))
list(d.DataLoader(stream, 3))
list(d.DataLoader(stream, 3, drop_last=True))
list(d.DataLoader(stream, None))
list(d.DataLoader(TEN, sampler=[3, 4]))
list(d.DataLoader(TEN, batch_sampler=[[3, 4], [1]]))
list(d.DataLoader(d.Subset(d.TensorDataset(t.arange(10)), [4, 2, 1]), 2))
list(d.DataLoader(d.TensorDataset(t.arange(3)), 2, collate_fn=lambda b: [x.item() for (x,) in b]))
list(d.DataLoader([np.ones(2)] * 2, None))
len(d.DataLoader(TEN, 3)), len(d.DataLoader(TEN, 3, drop_last=True))
len(d.DataLoader(stream))
d.DataLoader(TEN, num_workers=-1)
d.DataLoader(TEN, timeout=-1)
d.DataLoader(TEN, prefetch_factor=2)
d.DataLoader(TEN, num_workers=1, prefetch_factor=-1)
d.DataLoader(TEN, num_workers=1).prefetch_factor
d.DataLoader(TEN, persistent_workers=True)
d.DataLoader(TEN, sampler=[0], shuffle=True)
d.DataLoader(TEN, batch_sampler=[[0]], batch_size=2)
d.DataLoader(TEN, batch_sampler=[[0]], shuffle=True)
d.DataLoader(TEN, batch_sampler=[[0]], drop_last=True)
d.DataLoader(TEN, batch_sampler=[[0]], sampler=[0])
d.DataLoader(TEN, batch_size=None, drop_last=True)
d.DataLoader(TEN, batch_size=0)
d.DataLoader(TEN, batch_size=2.5)
d.DataLoader(TEN, drop_last=1)
d.DataLoader(TEN, multiprocessing_context='spawn')
d.DataLoader(TEN, num_workers=1, multiprocessing_context='bad')
d.DataLoader(TEN, num_workers=1, multiprocessing_context=3)
d.DataLoader(TEN, num_workers=10_000) and None
d.DataLoader(stream, shuffle=True)
d.DataLoader(stream, shuffle=False) and None
d.DataLoader(stream, sampler=[1])
d.DataLoader(stream, batch_sampler=[[1]])
d.DataLoader([], shuffle=True)
list(d.DataLoader([]))
list(d.DataLoader(5))
list(d.DataLoader(TEN, shuffle=True, generator=3))
[type(s).__name__ for s in (d.DataLoader(TEN).sampler, d.DataLoader(TEN).batch_sampler)]
setattr(d.DataLoader(TEN), 'batch_size', 3)
setattr(d.DataLoader(TEN), 'dataset', 3)
setattr(d.DataLoader(TEN), 'collate_fn', 3)
d.get_worker_info()
""".strip().splitlines()


def plain(value: Any) -> Any:
    """Something that says value, dtype and container, and compares with ``==``."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return str(value.dtype).rpartition(".")[2], tuple(value.shape), value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list | collections.deque):
        return type(value).__name__, [plain(v) for v in value]
    return value


def outcome(call: str, library: Any) -> tuple[Any, Any, list[Any]]:
    """The result, the exception's class, the classes of warnings."""
    data = library.utils.data
    names = {"t": library, "d": data, "stream": Stream(data), "np": np, "Point": Point, "TEN": TEN,
             "collections": collections}  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, error = plain(eval(call, names)), None
        except Exception as raised:
            result, error = None, raised
    return result, error, [w.category for w in caught]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_ends_as_in_pytorch(call: str) -> None:
    """Same value and dtypes, or an error that PyTorch's handler would catch; same warnings."""
    import torch.utils.data

    theirs, their_error, their_warnings = outcome(call, torch)
    ours, our_error, our_warnings = outcome(call, gg)
    if their_error is not None:
        assert our_error is not None, f"PyTorch raises {their_error!r}, this gave {ours!r}"
        kind: Any = type(their_error)
        # What PyTorch asserts is a wrong value or a wrong class here.
        kind = (ValueError, TypeError, RuntimeError) if kind is AssertionError else kind
        assert isinstance(our_error, kind), repr(our_error)
    else:
        assert our_error is None, repr(our_error)
        assert ours == theirs
    assert our_warnings == their_warnings


@pytest.mark.parametrize(
    "name",
    [
        "DataLoader", "TensorDataset", "StackDataset", "Subset", "ConcatDataset", "ChainDataset",
        "SequentialSampler", "RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler",
        "BatchSampler", "DistributedSampler", "random_split", "default_collate",
        "default_convert", "get_worker_info",
    ],
)  # fmt: skip
def test_signatures_are_pytorchs(name: str) -> None:
    """Names, order, kinds and defaults of the parameters."""
    import torch.utils.data

    def parameters(data: Any) -> list[Any]:
        found = inspect.signature(getattr(data, name)).parameters.values()
        return [
            (p.name, p.kind, p.default if "enerator" not in str(p.default) else "default")
            for p in found
        ]

    assert parameters(gg.utils.data) == parameters(torch.utils.data)


def test_names_programs_import_from_submodules() -> None:
    """Where PyTorch has them."""
    import torch.utils.data

    for path in ["dataset.Dataset", "sampler.SubsetRandomSampler", "dataloader.DataLoader",
                 "dataloader.default_collate", "distributed.DistributedSampler",
                 "_utils.collate.default_collate", "_utils.collate.default_convert",
                 "_utils.collate.default_collate_fn_map", "_utils.pin_memory.pin_memory",
                 "_utils.worker.get_worker_info", "dataset.random_split"]:  # fmt: skip
        for data in (torch.utils.data, gg.utils.data):
            found: Any = data
            for part in path.split("."):
                found = getattr(found, part)
