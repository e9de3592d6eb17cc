"""Scans: what is reached from the start of a dimension up to each element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpugrad.backends import row_loops
from gpugrad.backends.compiled import WORTH
from gpugrad.dtypes import HALVES, DType


def build(lib: Any) -> dict[str, Any]:
    """``cumsum``, ``cumprod`` with PyTorch's result types; ``accumulate`` by any function."""

    def accumulate(function: Any, x: Any, axis: int) -> Any:
        if lib is np:
            return function.accumulate(x, axis=axis)
        step, n = 1, x.shape[axis]
        x = lib.moveaxis(x, axis, 0) if n > 1 else x.copy()
        while step < n:  # each round doubles how far an element has looked back
            x = lib.concatenate((x[:step], function(x[step:], x[:-step])))
            step *= 2
        return lib.moveaxis(x, 0, axis) if n > 1 else x

    def typed(scan: Any, x: Any, axis: int, dtype: Any) -> Any:
        wanted = dtype.np if isinstance(dtype, DType) else dtype
        if wanted is None:
            wanted = x.dtype if x.dtype.kind == "f" else np.int64
        if isinstance(dtype, DType) and dtype in HALVES:
            x = x.astype(wanted)
        # float32 runs in float64: the rounding errors of a long running sum add up.
        wide = np.float64 if np.dtype(wanted).itemsize < 8 and (
            np.dtype(wanted).kind == "f" or dtype in HALVES) else wanted  # fmt: skip
        return scan(x, axis=axis, dtype=wide).astype(wanted, copy=False)

    def cumsum(x: Any, axis: int, dtype: Any = None) -> Any:
        if lib is np and dtype is None and x.dtype.char in "fd" and x.size >= WORTH:
            return _running_sums(x, axis % x.ndim)
        return typed(lib.cumsum, x, axis, dtype)

    def cumprod(x: Any, axis: int, dtype: Any = None) -> Any:
        return typed(lib.cumprod, x, axis, dtype)

    def running_extreme(x: Any, axis: int, choose: Any) -> Any:
        values = accumulate(choose, x, axis)
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        places = lib.arange(x.shape[axis]).reshape(shape)
        reached = (x == values) | (x != x) if x.dtype.kind == "f" else x == values
        return values, accumulate(lib.maximum, lib.where(reached, places, 0), axis)

    return {
        "accumulate": accumulate, "cumsum": cumsum, "cumprod": cumprod,
        "running_extreme": running_extreme,
    }  # fmt: skip


def _running_sums(x: Any, axis: int) -> Any:
    """``cumsum`` by a compiled loop: added in float64, too, and in the same order."""
    out = np.empty(x.shape, x.dtype)
    n, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    if inner == 1:
        row_loops.running_sums(x.reshape(-1, n), out.reshape(-1, n))
    else:
        row_loops.running_rows(x.reshape(-1, n, inner), out.reshape(-1, n, inner))
    return out
