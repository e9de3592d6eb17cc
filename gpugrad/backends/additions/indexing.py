"""Gathering and scattering on arrays of either library.

Everything that combines several values in one place goes through ``combine``, which works in an
order fixed by the arguments.  On NumPy that is a compiled loop for many rows of floats, else
``ufunc.at`` (on flat arrays 1 ns an element, against 1.5 for ``bincount`` or 90 for sorting); on
CuPy the kernels of ``nvidia.segments``, as its own ``scatter_add`` uses atomics, which add in
whatever order they come.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from gpugrad.backends import row_loops
from gpugrad.backends.compiled import WORTH
from gpugrad.dtypes import HALVES
from gpugrad.errors import IndexingError

_HALF_NP = frozenset(d.np for d in HALVES)
#: Rows at least this wide are combined whole, narrower ones by element (measured).
_WIDE = 512
_UFUNC = {"sum": "add", "prod": "multiply", "amax": "maximum", "amin": "minimum"}


@cache
def _kernels() -> Any:
    """What combines and takes rows of CuPy's arrays; the CPU does not load it."""
    from gpugrad.backends.nvidia import segments

    return segments


def key_of(basic: tuple[Any, ...]) -> tuple[Any, ...]:
    """A basic index, kept as plain data, as the libraries take it (``...`` keeps 0-d a view)."""
    return (*(slice(*i) if isinstance(i, tuple) else i for i in basic), Ellipsis)


def full_key(indices: Any, dims: tuple[int, ...]) -> tuple[Any, ...]:
    """Index arrays at their dims, full slices elsewhere."""
    key: list[Any] = []
    for index, dim in zip(indices, dims, strict=True):
        key += [slice(None)] * (dim - len(key))
        key.append(index)
    return tuple(key)


def identity(reduce: str, dtype: Any) -> Any:
    """The value that leaves a reduction as it is."""
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    low = reduce == "amax"
    if dtype.kind == "b":
        return not low
    if dtype.kind == "f":
        return -np.inf if low else np.inf
    limits = np.iinfo(dtype)
    return limits.min if low else limits.max


def build(lib: Any) -> dict[str, Any]:
    """Functions of index arrays, in the positional order of the public ops of the same names."""

    def sums_of(dtype: Any) -> Any:
        """The dtype in which sums are kept; the kernels do that by themselves."""
        return np.float32 if lib is np and dtype in _HALF_NP else dtype

    def take(x: Any, index: Any, axis: int) -> Any:
        return lib.take(x, index, axis=axis) if lib is np else _kernels().take(lib, x, index, axis)

    def checked(index: Any, size: int, dim: int, called: str, negative: bool = True) -> Any:
        """An index array without negatives; out of range raises (a mask passes as it is)."""
        if index.dtype.kind not in "biu":
            raise IndexingError(f"{called}: an index must be int or bool, got {index.dtype.name}")
        if index.dtype.kind == "b" or index.size == 0:
            return index
        low = -size if negative else 0
        if lib is np:
            least, most = int(index.min()), int(index.max())
        else:  # one wait for the device, where two would do the same
            least, most = lib.stack([index.min(), index.max()]).get().tolist()
        if least < low or most >= size:
            accepted = f"accepted: {low} to {size - 1}" if size else "the dim is empty"
            raise IndexingError(
                f"{called}: index {least if least < low else most} is out of range for dim {dim} "
                f"of size {size}; {accepted}"
            )
        return lib.where(index < 0, index + size, index) if least < 0 else index

    def wrapped(index: Any, size: int) -> Any:
        """As ``checked``, for indices that were checked before."""
        return index if index.dtype.kind == "b" else lib.where(index < 0, index + size, index)

    # ---- x[...] --------------------------------------------------------------------------------

    def view_index(input: Any, index: tuple[Any, ...]) -> Any:
        return input[key_of(index)]

    def view_index_adjoint(g: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
        out = lib.zeros(shape, g.dtype)
        out[key_of(index)] = g
        return out

    def index(input: Any, indices: Any, dims: tuple[int, ...], called: str = "index",
              negative: bool = True) -> Any:  # fmt: skip
        good = [checked(i, input.shape[d], d, called, negative)
                for i, d in zip(indices, dims, strict=True)]  # fmt: skip
        if len(good) == 1 and good[0].dtype.kind != "b":
            return take(input, good[0], dims[0])
        return input[full_key(good, dims)]

    def index_adjoint(g: Any, indices: Any, dims: tuple[int, ...], shape: tuple[int, ...]) -> Any:
        out = lib.zeros(shape, sums_of(g.dtype))
        good = [wrapped(i, shape[d]) for i, d in zip(indices, dims, strict=True)]
        return add_at(out, good, dims, g).astype(g.dtype, copy=False)

    def index_write(input: Any, values: Any, indices: Any, dims: tuple[int, ...],
                    accumulate: bool = False, called: str = "index_put", negative: bool = True,
                    out: Any = None) -> Any:  # fmt: skip
        good = [checked(i, input.shape[d], d, called, negative)
                for i, d in zip(indices, dims, strict=True)]  # fmt: skip
        if accumulate and sums_of(input.dtype) != input.dtype:
            wide = index_write(input.astype(np.float32), values, good, dims, True)
            return wide.astype(input.dtype)
        out = input.copy() if out is None else out
        if accumulate:
            return add_at(out, good, dims, values)
        out[full_key(good, dims)] = values
        return out

    def add_at(out: Any, indices: Any, dims: tuple[int, ...], values: Any) -> Any:
        """``out[indices] += values`` in place, where an element may be hit many times."""
        key = full_key(indices, dims)
        if len(indices) == 1 and indices[0].dtype.kind == "b":
            out[key] += values  # a mask hits an element once
            return out
        rows, tail = joint_rows(indices, dims, out.shape), out.shape[dims[-1] + 1 :]
        values = lib.broadcast_to(lib.asarray(values, out.dtype), (*rows.shape, *tail))
        width = math.prod(tail)
        if values.size:
            combine(lib, lib.add, out.reshape(-1, width), rows.reshape(-1),
                     values.reshape(-1, width))  # fmt: skip
        return out

    def joint_rows(indices: Any, dims: tuple[int, ...], shape: tuple[int, ...]) -> Any:
        """Which rows (elements of ``shape[: dims[-1] + 1]``) the indices hit, in their layout."""
        free = [d for d in range(dims[-1]) if d not in dims]
        adjacent = dims == tuple(range(dims[0], dims[-1] + 1))
        joint = max(i.ndim for i in indices)
        stride = 1
        rows: Any = 0
        for d in reversed(range(dims[-1] + 1)):
            if d in dims:
                part = indices[dims.index(d)] * stride
                after = 0 if adjacent else len(free)
            else:
                part = lib.arange(shape[d]) * stride
                after = len(free) - free.index(d) - 1 + (joint if adjacent else 0)
            rows = rows + part.reshape(part.shape + (1,) * after)
            stride *= shape[d]
        return rows

    # ---- along one dim -------------------------------------------------------------------------

    def flat_places(index: Any, shape: tuple[int, ...], axis: int) -> Any:
        """Flat places, in an array of ``shape``, of an index array for ``axis``."""
        base: Any = 0
        stride = step = 1
        for d in reversed(range(index.ndim)):
            if d == axis:
                step = stride
            else:
                ruler = lib.arange(index.shape[d]) * stride
                base = base + ruler.reshape((-1,) + (1,) * (index.ndim - 1 - d))
            stride *= shape[d]
        return index.astype(np.int64, copy=False) * step + base

    def gather(input: Any, dim: int, index: Any, called: str = "gather",
               negative: bool = False) -> Any:  # fmt: skip
        good = checked(index, input.shape[dim], dim, called, negative)
        if index.size == 0:
            return lib.empty(index.shape, input.dtype)
        if lib is not np and _apart(input.shape, dim) == _apart(index.shape, dim):
            return _kernels().take_each(lib, input, good, dim)
        return take(input.reshape(-1), flat_places(good, input.shape, dim), 0)

    def gather_adjoint(g: Any, dim: int, index: Any, shape: tuple[int, ...]) -> Any:
        good = wrapped(index, shape[dim])
        zeros = lib.zeros(shape, sums_of(g.dtype))
        if good.size:
            places = flat_places(good, shape, dim).reshape(-1)
            combine(lib, lib.add, zeros.reshape(-1, 1), places, g.reshape(-1, 1))
        return zeros.astype(g.dtype, copy=False)

    def scatter_write(input: Any, dim: int, index: Any, src: Any) -> Any:
        out = input.copy()
        if index.size:
            good = checked(index, input.shape[dim], dim, "scatter", False)
            out.reshape(-1)[flat_places(good, input.shape, dim)] = _corner(src, index.shape)
        return out

    def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str,
                       include_self: bool = True,
                       called: str = "scatter_reduce") -> Any:  # fmt: skip
        out = input.astype(np.float32 if input.dtype in _HALF_NP else input.dtype)
        out = lib.ascontiguousarray(out).reshape(input.shape)
        if index.size == 0:
            return out.astype(input.dtype)
        good = checked(index, input.shape[dim], dim, called, False)
        places = flat_places(good, input.shape, dim).reshape(-1)
        if not include_self:
            out.reshape(-1)[places] = identity(reduce, out.dtype)
        src = lib.asarray(_corner(src, index.shape), out.dtype)
        values = lib.broadcast_to(src, index.shape).reshape(-1, 1)
        ufunc = getattr(lib, _UFUNC["sum" if reduce == "mean" else reduce])
        combine(lib, ufunc, out.reshape(-1, 1), places, values)
        if reduce == "mean":
            count = lib.full(out.size, int(include_self), out.dtype)
            combine(lib, lib.add, count.reshape(-1, 1), places, lib.ones_like(values))
            count = lib.maximum(count, 1).reshape(out.shape)
            out = out / count if out.dtype.kind == "f" else out // count
        return out.astype(input.dtype, copy=False)

    return {
        "view_index": view_index, "view_index_adjoint": view_index_adjoint, "index": index,
        "index_adjoint": index_adjoint, "index_write": index_write,
        "gather": gather, "gather_adjoint": gather_adjoint,
        "scatter_write": scatter_write, "scatter_reduce": scatter_reduce,
    }  # fmt: skip


def _apart(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    """A shape without one of its dims."""
    return (*shape[:dim], *shape[dim + 1 :])


def _corner(src: Any, shape: tuple[int, ...]) -> Any:
    """The part of ``src`` that an index array of ``shape`` addresses; a number as it is."""
    if not getattr(src, "ndim", 0):
        return src
    return src if src.shape == shape else src[tuple(slice(n) for n in shape)]


def combine(lib: Any, ufunc: Any, out: Any, places: Any, values: Any) -> None:
    """``out[places[i]] = ufunc(out[places[i]], values[i])`` for each i, in place.

    Args:
        out: (rows, width), a contiguous view of the result; places: (n,); values: (n, width).
    """
    if lib is np:
        width = out.shape[1]
        if ufunc is np.add and width > 1 and out.dtype.char in "fd" and values.size >= WORTH:
            row_loops.add_rows(out, places, values)
            return
        if width >= _WIDE:
            for row, value in zip(places.tolist(), values, strict=True):
                ufunc(out[row], value, out=out[row])
            return
        if width != 1:
            places = (places[:, None] * width + np.arange(width)).reshape(-1)
        ufunc.at(out.reshape(-1), places, values.reshape(-1))
    else:
        _kernels().combine(lib, ufunc.__name__, out, places, values)
