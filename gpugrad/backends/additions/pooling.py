"""Largest and mean values of windows, for any number of spatial dimensions.

Windows are walked place by place: one pass over the results per place in the kernel, each on a
strided view, which needs no copy of the windows.  Averages go dimension by dimension.  On the host
many floats in one or two dimensions go through the compiled loops of ``backends.image_loops``, on
CUDA devices floats through the kernels of ``nvidia.pooling``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpugrad.backends import image_loops
from gpugrad.backends.additions.convolution import (
    Pairs,
    Sizes,
    compiles,
    laid_as,
    out_sizes,
    placed,
    planar,
    two,
    windows,
)
from gpugrad.backends.additions.indexing import combine


def counts(size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
           include: bool) -> list[list[int]]:  # fmt: skip
    """How many elements each window holds, per dimension.

    The first of a pair of paddings counts on both sides with ``include``; what ``ceil_mode`` added
    after that never does.
    """
    out = out_sizes(size, kernel, stride, padding, (1,) * len(size))
    found = []
    for n, k, s, (lo, _), o in zip(size, kernel, stride, padding, out):
        first, last = (-lo, n + lo) if include else (0, n)
        starts = [i * s - lo for i in range(o)]
        found.append([min(a + k, last) - max(a, first) for a in starts])
    return found


def build(lib: Any) -> dict[str, Any]:
    """Pooling for arrays of ``lib``."""

    def surrounded(x: Any, padding: Pairs, value: float) -> Any:
        if not any(map(any, padding)):
            return x
        lead = x.ndim - len(padding)
        sizes = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape[lead:], padding))
        out = lib.full((*x.shape[:lead], *sizes), value, dtype=x.dtype)
        out[(..., *(slice(lo, lo + n) for n, (lo, _) in zip(x.shape[lead:], padding)))] = x
        return out

    def along(values: list[list[int]], steps: list[int], dtype: Any) -> Any:
        """``sum(values[d][i_d] * steps[d])`` over all dimensions, for every place."""
        n = len(values)
        total = lib.zeros((1,) * n, dtype=dtype)
        for d, (v, s) in enumerate(zip(values, steps)):
            shape = [1] * n
            shape[d] = len(v)
            total = total + (lib.asarray(v, dtype=dtype) * s).reshape(shape)
        return total

    def max_pool(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:
        """Largest element of each window and its place in the flattened spatial dimensions.

        NaN wins; of equal elements the first is taken.
        """
        size = x.shape[2:]
        out = out_sizes(size, kernel, stride, padding, dilation)
        floating = x.dtype.kind == "f"
        lowest = -math.inf if floating else lib.iinfo(x.dtype).min
        if compiles(lib, x.dtype, len(kernel), math.prod(kernel) * math.prod((*x.shape[:2], *out))):
            best = lib.empty((*x.shape[:2], *out), dtype=x.dtype)
            index = lib.empty(best.shape, dtype="int64")
            image_loops.max_pool(
                planar(lib.ascontiguousarray(x)), planar(best), planar(index),
                x.dtype.type(lowest), two(kernel), placed(stride, padding, dilation),
            )  # fmt: skip
            return laid_as(lib, best, x), laid_as(lib, index, x)
        y = surrounded(x, padding, lowest)
        # Every window's first element that is no padding, in case it holds nothing but -inf.
        firsts = [
            [-(-max(lo - i * s, 0) // d) for i in range(o)]
            for (lo, _), s, d, o in zip(padding, stride, dilation, out)
        ]
        steps = [math.prod(kernel[d + 1 :]) for d in range(len(kernel))]
        small = "uint8" if math.prod(kernel) < 256 else "int32"
        code = lib.broadcast_to(along(firsts, steps, small), (*x.shape[:2], *out)).copy()
        best = lib.full(code.shape, lowest, dtype=x.dtype)
        rows = [math.prod(size[d + 1 :]) for d in range(len(size))]
        offsets = []
        for i, (at, place) in enumerate(windows(y.shape[2:], kernel, stride, dilation, out)):
            v = lib.ascontiguousarray(y[place])
            better = v > best
            if floating:
                better |= v != v
            # Codes grow from pass to pass, so the last improvement is the largest code.
            lib.maximum(code, lib.multiply(better, i, dtype=small), out=code)
            lib.maximum(best, v, out=best)
            offsets.append(sum(a * d * r for a, d, r in zip(at, dilation, rows)))
        index = lib.asarray(offsets, dtype="int64")[code]
        starts = [[i * s - lo for i in range(o)] for (lo, _), s, o in zip(padding, stride, out)]
        index += along(starts, rows, "int64")
        return laid_as(lib, best, x), laid_as(lib, index, x)

    def flat(index: Any, elements: int) -> Any:
        """Places within each channel as places in the whole array."""
        channels = index.shape[0] * index.shape[1]
        first = lib.arange(channels, dtype="int64") * elements
        return index + first.reshape(*index.shape[:2], *(1,) * (index.ndim - 2))

    def take_places(x: Any, index: Any) -> Any:
        """Elements at places of the flattened spatial dimensions."""
        return x.reshape(-1)[flat(index, math.prod(x.shape[2:]))]

    def add_places(g: Any, index: Any, size: Sizes) -> Any:
        """Zeros of spatial sizes ``size`` with ``g`` added at its places."""
        n, channels = math.prod(size), g.shape[0] * g.shape[1]
        total = channels * n
        if compiles(lib, g.dtype, 1, g.size):
            found = lib.zeros((*g.shape[:2], *size), dtype=g.dtype)
            parts = (lib.ascontiguousarray(x).reshape(channels, -1) for x in (g, index))
            image_loops.add_places(*parts, found.reshape(channels, n))
            return found
        places, values = flat(index, n).reshape(-1), g.reshape(-1)
        if lib is np:
            found = np.bincount(places, values, total).astype(g.dtype)
        else:  # CuPy's adds atomically, in whatever order the threads come
            found = lib.zeros((total, 1), dtype=g.dtype)
            combine(lib, lib.add, found, places, values[:, None])
        return found.reshape(*g.shape[:2], *size)

    def max_pool_grad(g: Any, index: Any, size: Sizes, kernel: Sizes, stride: Sizes,
                      padding: Pairs, dilation: Sizes) -> Any:  # fmt: skip
        """Gradient of ``max_pool``: the places say all, the windows are for those who gather."""
        return add_places(g, index, size)

    def divided(x: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, include: bool,
                divisor: int | None) -> Any:  # fmt: skip
        """Sums of windows divided by how many elements those have."""
        if divisor is not None:
            return x / divisor
        found = counts(size, kernel, stride, padding, include)
        if all(min(c, default=0) == max(c, default=0) for c in found):
            return x / max(math.prod(c[0] for c in found if c), 1)
        for d, c in enumerate(found):
            x = x / lib.asarray(c, dtype=x.dtype).reshape(-1, *(1,) * (len(size) - 1 - d))
        return x

    def avg_pool(x: Any, kernel: Sizes, stride: Sizes, padding: Pairs, include: bool,
                 divisor: int | None) -> Any:  # fmt: skip
        """Mean of each window."""
        size, source = x.shape[2:], x
        out = out_sizes(size, kernel, stride, padding, (1,) * len(size))
        x = surrounded(x, padding, 0)
        for d, (k, s, o) in enumerate(zip(kernel, stride, out)):
            lead = (slice(None),) * (d + 2)
            total = x[(*lead, slice(0, s * (o - 1) + 1, s))].copy()
            for i in range(1, k):
                total += x[(*lead, slice(i, i + s * (o - 1) + 1, s))]
            x = total
        return laid_as(lib, divided(x, size, kernel, stride, padding, include, divisor), source)

    def avg_pool_grad(g: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs,
                      include: bool, divisor: int | None) -> Any:  # fmt: skip
        """Every mean spread over its window."""
        g = divided(g, size, kernel, stride, padding, include, divisor)
        for d, (n, k, s, (lo, hi)) in enumerate(zip(size, kernel, stride, padding)):
            lead, o = (slice(None),) * (d + 2), g.shape[d + 2]
            x = lib.zeros((*g.shape[: d + 2], n + lo + hi, *g.shape[d + 3 :]), dtype=g.dtype)
            for i in range(k):
                x[(*lead, slice(i, i + s * (o - 1) + 1, s))] += g
            g = x[(*lead, slice(lo, lo + n))]
        return lib.ascontiguousarray(g)

    def adaptive_places(x: Any, size: Sizes) -> Any:
        """Place of the largest element of each of ``size`` parts, as in adaptive pooling."""
        n = len(size)
        flat_places = lib.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
        for d, o in enumerate(size):
            ends = [(i * x.shape[2 + 2 * d] // o, -(-(i + 1) * x.shape[2 + 2 * d] // o))
                    for i in range(o)]  # fmt: skip
            longest = max((b - a for a, b in ends), default=1)
            take = lib.asarray([[min(a + j, b - 1) for j in range(longest)] for a, b in ends])
            x = lib.take(x, take.reshape(o, longest), axis=2 + 2 * d)
            flat_places = lib.take(flat_places, take.reshape(o, longest), axis=2 * d)
        order = (*range(0, 2 * n, 2), *range(1, 2 * n, 2))
        x = x.transpose(0, 1, *(2 + i for i in order)).reshape(*x.shape[:2], *size, -1)
        places = flat_places.transpose(order).reshape(*size, -1)
        best = x.argmax(-1)
        return lib.take_along_axis(lib.broadcast_to(places, x.shape), best[..., None], -1)[..., 0]

    own = {
        "max_pool": max_pool, "max_pool_grad": max_pool_grad, "take_places": take_places,
        "add_places": add_places, "avg_pool": avg_pool, "avg_pool_grad": avg_pool_grad,
        "adaptive_places": adaptive_places,
    }  # fmt: skip
    if lib is not np:
        from gpugrad.backends.nvidia import pooling

        own = own | pooling.over(lib, own)  # which keeps the array code for what it leaves
    return own
