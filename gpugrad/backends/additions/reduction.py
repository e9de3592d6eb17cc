"""Reductions where NumPy's own differ from PyTorch's in accuracy, dtype or speed."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.dtypes import HALVES, DType

#: Rows that are added one after the other before partial sums are added to each other.
_BLOCK = 128
_HALF_NP = frozenset(d.np for d in HALVES)


def _per_channel(x: Any, axis: Any) -> bool:
    """Whether a sum over all but dimension 1 is one over short rows, and then over a few of them.

    Short enough for float32: what is added there are partial sums of a vector's lanes.
    """
    return (
        isinstance(axis, tuple) and x.ndim > 2 and axis == (0, *range(2, x.ndim))
        and x.dtype == np.float32 and x.flags.c_contiguous and x.size >= 1 << 14
        and 2 <= x.size // (x.shape[0] * x.shape[1]) <= 4096
    )  # fmt: skip


def build(lib: Any) -> dict[str, Any]:
    """``sum`` and ``prod`` with PyTorch's result types, ``sum`` with small rounding errors."""
    add: Any = np.add.reduce if lib is np else lib.sum
    multiply: Any = np.multiply.reduce if lib is np else lib.prod

    def total(x: Any, axis: Any, keepdims: bool, dtype: Any) -> Any:
        # NumPy adds pairwise along the fastest axis only; along another one each column is one
        # running sum, whose float32 error grows with its length.  Blocks bound it.
        only = axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis
        if lib is np and isinstance(only, int) and x.dtype == np.float32 and x.ndim > 1:
            a = only % x.ndim
            n = x.shape[a]
            if n >= 4 * _BLOCK and x.strides[a] != x.itemsize:
                whole = n - n % _BLOCK
                lead = (slice(None),) * a
                split = x[(*lead, slice(whole))].reshape(
                    *x.shape[:a], whole // _BLOCK, _BLOCK, *x.shape[a + 1 :]
                )
                parts = total(add(split, axis=a + 1, dtype=dtype), a, keepdims, dtype)
                rest = x[(*lead, slice(whole, None))]
                return parts + add(rest, axis=a, keepdims=keepdims, dtype=dtype)
        if lib is np and dtype in (None, np.float32) and _per_channel(x, axis):
            n, c = x.shape[:2]
            found = by_channel(x.reshape(n * c, -1)).reshape(n, c).sum(0, np.float64)
            return found.astype(np.float32).reshape((1, c) + (1,) * (x.ndim - 2) if keepdims else c)
        return add(x, axis=axis, keepdims=keepdims, dtype=dtype)

    def by_channel(rows: Any) -> Any:
        # A product with ones: NumPy's sum of short rows takes 5 to 20 times as long.
        return rows @ np.ones(rows.shape[1], np.float32)

    def typed(reduce: Any, x: Any, axis: Any, keepdims: bool, dtype: Any) -> Any:
        if dtype is None:
            if x.dtype in _HALF_NP:  # summed as float32, rounded once (bfloat16 has kind "V")
                return lib.asarray(reduce(x, axis, keepdims, np.float32)).astype(x.dtype)
            return reduce(x, axis, keepdims, None if x.dtype.kind == "f" else np.int64)
        if isinstance(dtype, DType) and dtype in HALVES:
            y = x.astype(dtype.np).astype(np.float32)
            return lib.asarray(reduce(y, axis, keepdims, np.float32)).astype(dtype.np)
        return reduce(x, axis, keepdims, dtype.np if isinstance(dtype, DType) else dtype)

    def sum(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
        return typed(total, x, axis, keepdims, dtype)

    def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
        def reduce(x: Any, axis: Any, keepdims: bool, dtype: Any) -> Any:
            return multiply(x, axis=axis, keepdims=keepdims, dtype=dtype)

        return typed(reduce, x, axis, keepdims, dtype)

    return {"sum": sum, "prod": prod}
