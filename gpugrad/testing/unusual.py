"""Calls with special values and with operands of mixed dtype and rank."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.op import Function, Op
from gpugrad.samples import A, Sample, Undefined
from gpugrad.testing.calls import Call, samples_of

#: What an elementwise op is given, in every combination.
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 2.0)
FINITE = tuple(x for x in SPECIAL if np.isfinite(x))
#: Samples whose arrays are matrices to be decomposed.
_MATRICES = ("spd", "well")


def special_calls(record: Op | Function, dtype: DType) -> list[tuple[Call, list[Any], bool]]:
    """Calls with NaN, infinities and both zeros, and whether to compare their gradients.

    An elementwise op gets every combination, and once more the finite ones for the gradient (that
    at an infinity differs within PyTorch, between its vectorised loops and the rest).  Any other
    gets its samples with an element replaced, unless it decomposes matrices.
    """
    found: list[tuple[Call, list[Any], bool]] = []
    if isinstance(record, Op) and record.elementwise:
        sample = next((s for s in samples_of(record) if _floats_only(s)), None)
        if sample is None:
            return []
        n = len(sample.arrays())
        for values, gradient in ((SPECIAL, False), (FINITE, True)):
            grid = np.array(list(itertools.product(values, repeat=n))).T.astype(dtype.np)
            found.append((Call(record, sample, dtype), [row.copy() for row in grid], gradient))
        return found
    for k, sample in enumerate(samples_of(record)):
        if isinstance(sample, Undefined):
            continue
        described = sample.arrays()
        floats = [i for i, a in enumerate(described) if a.kind == "float"]
        if not floats or record.home == "linalg" or any(a.values in _MATRICES for a in described):
            continue
        call = Call(record, sample, dtype)
        rng = np.random.default_rng(k)
        arrays = [a.copy() for a in call.arrays]
        for i in floats:
            flat = arrays[i].reshape(-1)
            if flat.size:
                flat[rng.integers(0, flat.size)] = (np.nan, np.inf, -np.inf, -0.0)[k % 4]
        found.append((call, arrays, False))
    return found


def _floats_only(sample: Sample) -> bool:
    return bool(sample.arrays()) and all(a.kind == "float" for a in sample.arrays())


def mixed_calls(record: Op, count: int) -> list[tuple[Call, list[Any], str]]:
    """Calls of a binary elementwise op with operands of mixed dtype and rank."""
    base = next((s for s in samples_of(record) if len(s.arrays()) == 2 and _floats_only(s)), None)
    if base is None:
        return []
    kinds = [(d, rank) for d in dtypes.ALL for rank in ("dims", "0-d")]
    numbers = [(d, "number") for d in (dtypes.int64, dtypes.float64, dtypes.bool_)]
    pairs = [*itertools.product(kinds, kinds + numbers), *itertools.product(numbers, kinds)]
    found = []
    for pair in random.Random(record.name).sample(pairs, count):
        rng = np.random.default_rng(0)
        arrays: list[Any] = []
        for (dtype, rank), described in zip(pair, base.arrays(), strict=True):
            low, high = max(described.low, 0), min(described.high, 3)
            shape = (3,) if rank == "dims" else ()
            x = np.asarray(A(shape, low, max(high, low + 1)).make(rng, dtype))
            arrays.append(x.item() if rank == "number" else x)
        shown = " with ".join(f"{d.name} {rank}" for d, rank in pair)
        found.append((Call(record, base, dtypes.float64), arrays, shown))
    return found
