"""Shapes and layouts: views that may be written through, and memory seen with other strides."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Elements from which a copy into another order goes by blocks of so many columns.
_LARGE, _COLUMNS = 1 << 18, 16


def build(lib: Any) -> dict[str, Any]:
    """Build views under the array API's names, ``sliding_window``, ``strided``, ``scatter_sum``."""

    def writable(view: Any, source: Any) -> Any:
        # NumPy hands these views out read-only; a tensor's own checks guard its writes.
        if lib is np and source.flags.writeable:
            view.flags.writeable = True
        return view

    def broadcast_to(x: Any, shape: Any) -> Any:
        return writable(lib.broadcast_to(x, shape), x)

    def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        return writable(lib.diagonal(x, offset, axis1, axis2), x)

    def sliding_window(x: Any, axis: int, size: int, step: int) -> Any:
        """Windows of ``size`` every ``step`` elements of ``axis``, in a new last dimension."""
        count = (x.shape[axis] - size) // step + 1
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
        strides = (*x.strides[:axis], x.strides[axis] * step, *x.strides[axis + 1 :],
                   x.strides[axis])  # fmt: skip
        # The full slice gives the view a base in CuPy, too: the memory is not its own.
        return lib.lib.stride_tricks.as_strided(x, shape, strides)[...]

    def scatter_sum(values: Any, positions: Any, size: int) -> Any:
        """Sums of the 1-d ``values`` that share a position; length ``size``, in a fixed order."""
        if lib is np:
            sums = np.bincount(positions, values.astype(np.float64), size)
            return sums.astype(values.dtype)
        order = lib.argsort(positions, kind="stable")
        positions, values = positions[order], values[order]
        # The k-th of every run of equal positions goes in together: no two writes meet.
        rank = lib.arange(positions.size) - lib.searchsorted(positions, positions)
        out = lib.zeros(size, dtype=values.dtype)
        for k in range(int(rank.max()) + 1 if rank.size else 0):
            out[positions[rank == k]] += values[rank == k]
        return out

    def reshape(x: Any, shape: Any) -> Any:
        if lib is np and x.size >= _LARGE and not x.flags.c_contiguous:
            try:
                return x.reshape(shape, copy=False)
            except ValueError:
                x = dense(x)
        return x.reshape(shape)  # the library's own function is 0.5 us slower

    def dense(x: Any) -> Any:
        """A row-major copy.

        Where the source's fastest dimension is another one, NumPy walks either side in steps of a
        row, which misses the cache each time.  Sixteen columns at a time use whole cache lines.
        """
        if lib is not np or x.size < _LARGE or x.itemsize not in x.strides[:-1]:
            return lib.array(x, order="C")
        columns, fast = x.shape[-1], x.shape[x.strides.index(x.itemsize)]
        if columns < 2 * _COLUMNS or fast < 4 * _COLUMNS:
            return lib.array(x, order="C")
        out = lib.empty(x.shape, x.dtype)
        for i in range(0, columns, _COLUMNS):
            out[..., i : i + _COLUMNS] = x[..., i : i + _COLUMNS]
        return out

    def permute_dims(x: Any, axes: Any) -> Any:
        return x.transpose(axes)

    def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
        return x.swapaxes(axis1, axis2)

    found = {
        "reshape": reshape, "dense": dense, "permute_dims": permute_dims, "swapaxes": swapaxes,
        "broadcast_to": broadcast_to, "diagonal": diagonal, "sliding_window": sliding_window,
        "strided": _strided_numpy if lib is np else _strided_cupy(lib), "scatter_sum": scatter_sum,
    }  # fmt: skip
    if not hasattr(lib, "concat"):
        found["concat"] = lib.concatenate
    return found


def _check_range(first: int, last: int, low: int, high: int) -> None:
    if first < low or last > high:
        raise ValueError(
            f"the elements asked for lie in bytes {first - low} to {last - low} of a block of "
            f"{high - low} bytes"
        )


def _last(start: int, shape: Any, strides: Any, itemsize: int) -> int:
    if 0 in shape:
        return start
    return start + itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


def _strided_numpy(x: Any, shape: Any, strides: Any, offset: int) -> Any:
    """Memory from ``offset`` (bytes from the first element of ``x``) with these byte strides.

    The whole block that ``x`` belongs to may be seen, and nothing outside of it.
    """
    root = x.base if isinstance(x.base, np.ndarray) and x.base.flags.forc else x
    low, high = np.lib.array_utils.byte_bounds(root)
    start = x.__array_interface__["data"][0] + offset
    _check_range(start, _last(start, shape, strides, x.itemsize), low, high)
    if root.flags.forc:
        flat = root.reshape(-1, order="A").view(np.uint8)
        return np.ndarray(shape, x.dtype, flat, start - low, strides)
    if offset:  # an odd block: step to the place by items, as NumPy offers no raw address
        x = np.lib.stride_tricks.as_strided(x, (offset // x.itemsize + 1,), (x.itemsize,))[-1:]
    return np.lib.stride_tricks.as_strided(x, shape, strides)


def _strided_cupy(lib: Any) -> Any:
    def strided(x: Any, shape: Any, strides: Any, offset: int) -> Any:
        block = x.data.mem
        start = x.data.ptr + offset
        last = _last(start, shape, strides, x.itemsize)
        _check_range(start, last, block.ptr, block.ptr + block.size)
        return lib.ndarray(shape, x.dtype, memptr=x.data + offset, strides=strides)[...]

    return strided
