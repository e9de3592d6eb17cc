"""Pooling of CuPy arrays by the kernels of ``kernels/pooling.cu``.

Images of floats in one to three dimensions, as planes or with channels last in memory; the result
lies as the input does.  The rest (integers) keeps the array code of ``additions/pooling.py``, which
says what each function gives.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from gpugrad.backends.additions.convolution import Pairs, Sizes, lies_last, out_sizes
from gpugrad.backends.additions.pooling import counts
from gpugrad.backends.nvidia.flat import FLOATS, bits_for, by_sixteen, integer, run, windows

_FILE = "pooling.cu"


def over(lib: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """Pooling for arrays of ``lib`` (``cupy``); ``plain`` has the array code by name."""

    def as_laid(x: Any, last: bool) -> Any:
        """An array in the order of memory, without gaps: ``(n, c, *size)`` or ``(n, *size, c)``."""
        return lib.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1) if last else x)

    def fresh(shape: Sizes, dtype: Any, last: bool) -> Any:
        """Memory for ``(n, c, *size)``, channels last or not."""
        if not last:
            return lib.empty(shape, dtype)
        n, c, *size = shape
        return lib.empty((n, *size, c), dtype)

    def shown(x: Any, last: bool) -> Any:
        """What lies channels last as ``(n, c, *size)``."""
        return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1)) if last else x

    def launch(entry: str, inputs: tuple[Any, ...], results: tuple[Any, ...], numbers: Any,
               last: bool, size: Sizes, out: Sizes, *settings: Any) -> None:  # fmt: skip
        """Run one of the four kernels; its arrays lie alike, one thread writes some channels."""
        first, target = inputs[0], results[0]
        inner = first.shape[-1] if last else 1
        bits = bits_for(first.size, target.size)
        taken = 1 if first.dtype == np.float64 or bits == 64 else by_sixteen(
            first.itemsize, inner, *inputs, *results)  # fmt: skip
        threads = target.size // taken
        args = (*inputs, *results, *numbers, integer(bits, threads),
                windows(bits, inner, size, out, *settings))  # fmt: skip
        run(_FILE, f"{entry}_{first.dtype.name}_{bits}_{taken}", threads, args)

    def max_pool(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:
        if not _taken(x, kernel):
            return plain["max_pool"](x, kernel, stride, padding, dilation)
        size, last = x.shape[2:], lies_last(x)
        out = out_sizes(size, kernel, stride, padding, dilation)
        best = fresh((*x.shape[:2], *out), x.dtype, last)
        index = lib.empty(best.shape, np.int64)
        launch("max_pool", (as_laid(x, last),), (best, index), (), last, size, out,
               kernel, stride, padding, dilation)  # fmt: skip
        return shown(best, last), shown(index, last)

    def max_pool_grad(g: Any, index: Any, size: Sizes, kernel: Sizes, stride: Sizes,
                      padding: Pairs, dilation: Sizes) -> Any:  # fmt: skip
        if not _taken(g, kernel):
            return plain["max_pool_grad"](g, index, size, kernel, stride, padding, dilation)
        last = lies_last(index)
        dx = fresh((*g.shape[:2], *size), g.dtype, last)
        launch("max_pool_grad", (as_laid(g, last), as_laid(index, last)), (dx,), (), last, size,
               g.shape[2:], kernel, stride, padding, dilation)  # fmt: skip
        return shown(dx, last)

    def avg_pool(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, include: bool,
                 divisor: int | None) -> Any:  # fmt: skip
        if not _taken(x, kernel):
            return plain["avg_pool"](x, kernel, stride, padding, include, divisor)
        size, last, each = x.shape[2:], lies_last(x), (1,) * len(kernel)
        out = out_sizes(size, kernel, stride, padding, each)
        y = fresh((*x.shape[:2], *out), x.dtype, last)
        by = _divisor(size, kernel, stride, padding, include, divisor)
        launch("avg_pool", (as_laid(x, last),), (y,), (by, np.int32(include)), last, size, out,
               kernel, stride, padding, each)  # fmt: skip
        return shown(y, last)

    def avg_pool_grad(g: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
                      include: bool, divisor: int | None) -> Any:  # fmt: skip
        if not _taken(g, kernel):
            return plain["avg_pool_grad"](g, size, kernel, stride, padding, include, divisor)
        last = lies_last(g)
        dx = fresh((*g.shape[:2], *size), g.dtype, last)
        by = _divisor(size, kernel, stride, padding, include, divisor)
        launch("avg_pool_grad", (as_laid(g, last),), (dx,), (by, np.int32(include)), last, size,
               g.shape[2:], kernel, stride, padding, (1,) * len(kernel))  # fmt: skip
        return shown(dx, last)

    return {"max_pool": max_pool, "max_pool_grad": max_pool_grad, "avg_pool": avg_pool,
            "avg_pool_grad": avg_pool_grad}  # fmt: skip


def _taken(x: Any, kernel: Sizes) -> bool:
    """Whether there is a kernel for such images."""
    return x.dtype.name in FLOATS and len(kernel) <= 3


@cache
def _divisor(size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, include: bool,
             divisor: int | None) -> Any:  # fmt: skip
    """What sums of windows are divided by where that is one number, else 0: count in each."""
    if divisor is not None:
        return np.float64(divisor)
    found = counts(size, kernel, stride, padding, include)
    if any(len(set(c)) > 1 for c in found):
        return np.float64(0)
    return np.float64(max(math.prod(c[0] for c in found if c), 1))
