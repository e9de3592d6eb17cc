"""Sorting, searching and counting on arrays of either library.  NaN counts as the largest number.

NumPy's default ``argsort`` is 5 times as fast as its stable one, so stability is paid for only when
it is asked for; CuPy's is always stable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.backends.additions.indexing import combine


def build(lib: Any) -> dict[str, Any]:
    """Functions in the positional order of the public ops of the same names."""

    def order_of(x: Any, axis: int, descending: bool, stable: bool) -> Any:
        """Indices that sort along an axis; equal elements keep their order if stable."""
        x = x.view(np.uint8) if x.dtype.kind == "b" else x
        kind = "stable" if stable or lib is not np else None
        if not descending:
            return lib.argsort(x, axis=axis, kind=kind).astype(np.int64, copy=False)
        # Sorted backwards and turned round, so that equal elements come out in their order.
        turned = lib.argsort(lib.flip(x, axis), axis=axis, kind=kind)
        return x.shape[axis] - 1 - lib.flip(turned, axis)

    def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
        order = order_of(input, dim, descending, stable)
        return lib.take_along_axis(input, order, dim), order

    def topk(input: Any, k: int, dim: int = -1, largest: bool = True) -> Any:
        n = input.shape[dim]
        x = input.view(np.uint8) if input.dtype.kind == "b" else input
        if 0 < k < n:
            part = lib.argpartition(x, n - k if largest else k - 1, axis=dim)
            cut = slice(n - k, None) if largest else slice(0, k)
            places = part[(slice(None),) * dim + (cut,)]
        else:
            places = lib.broadcast_to(
                lib.arange(k).reshape((k,) + (1,) * (x.ndim - 1 - dim)),
                (*x.shape[:dim], k, *x.shape[dim + 1 :]),
            )
        found = lib.take_along_axis(input, places, dim)
        order = order_of(found, dim, largest, True)
        return tuple(lib.take_along_axis(a, order, dim) for a in (found, places))

    def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
        x = input.view(np.uint8) if input.dtype.kind == "b" else input
        part = lib.argpartition(x, k - 1, axis=dim)
        place = part[(slice(None),) * dim + (slice(k - 1, k),)].astype(np.int64, copy=False)
        value = lib.take_along_axis(input, place, dim)
        return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))

    def distinct(input: Any, dim: int | None, consecutive: bool) -> Any:
        """Distinct elements (or slices along ``dim``), where each one went, and how many."""
        rows = input.reshape(-1, 1) if dim is None else lib.moveaxis(input, dim, 0)
        rest = rows.shape[1:]
        rows = rows.reshape(len(rows), int(np.prod(rest)))
        n, width = rows.shape
        if consecutive or not n or not width:
            order = lib.arange(n)
        elif width == 1:
            order = order_of(rows[:, 0], 0, False, False)
        else:
            order = lib.lexsort((rows.view(np.uint8) if rows.dtype.kind == "b" else rows).T[::-1])
        rows = rows[order]
        new = lib.ones(n, bool)
        new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
        inverse = lib.empty(n, np.int64)
        inverse[order] = lib.cumsum(new) - 1
        starts = lib.flatnonzero(new)
        counts = lib.diff(lib.concatenate([starts, lib.asarray([n])])).astype(np.int64)
        if dim is None:
            return rows[starts, 0], inverse.reshape(input.shape), counts
        found = rows[starts].reshape(len(starts), *rest)
        return lib.ascontiguousarray(lib.moveaxis(found, 0, dim)), inverse, counts

    def bisect(sorted_sequence: Any, input: Any, right: bool) -> Any:
        """Where ``input`` would be put in; row by row if the sequence has several dims."""
        if sorted_sequence.ndim == 1:
            side = "right" if right else "left"
            return lib.asarray(lib.searchsorted(sorted_sequence, input, side))
        size = sorted_sequence.shape[-1]
        low, high = lib.zeros(input.shape, np.int64), lib.full(input.shape, size, np.int64)
        for _ in range(size.bit_length()):
            middle = (low + high) // 2
            value = lib.take_along_axis(sorted_sequence, lib.minimum(middle, max(size - 1, 0)), -1)
            if right:
                after = ~((value > input) | ((value != value) & (input == input)))
            else:
                after = (value < input) | ((input != input) & (value == value))
            after &= low < high
            low, high = lib.where(after, middle + 1, low), lib.where(after, high, middle)
        return low

    def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
        size = max(minlength, int(input.max()) + 1 if input.size else 0)
        if weights is None:
            if not input.size:
                return lib.zeros(size, np.int64)
            return lib.bincount(input, minlength=size).astype(np.int64, copy=False)
        sums = lib.zeros((size, 1), np.float64)
        combine(lib, lib.add, sums, input, weights.astype(np.float64)[:, None])
        return sums[:, 0].astype(weights.dtype if weights.dtype == np.float32 else np.float64)

    def histc(input: Any, bins: int, low: float, high: float) -> Any:
        """Counts in equal bins of ``[low, high]``, whose end belongs to the last one."""
        x = input.reshape(-1)
        x = x[(x >= low) & (x <= high)]
        places = ((x - x.dtype.type(low)) * bins / x.dtype.type(high - low)).astype(np.int64)
        return bincount(lib.minimum(places, bins - 1), None, bins).astype(input.dtype)

    return {
        "sort": sort, "topk": topk, "kthvalue": kthvalue, "distinct": distinct, "bisect": bisect,
        "bincount": bincount, "histc": histc,
    }  # fmt: skip
