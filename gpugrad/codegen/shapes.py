"""How arrays of several shapes lie in a kernel's frame of rows and columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad.codegen.target import Frame

#: Rows, columns, and per array how it is read (see ``codegen.levels.Layout``).
Reads = tuple[int, int, tuple[str, ...]]
#: Shorter rows than this do not fill vectors.
LEAST_COLUMNS = 16


def elementwise_frame(shape: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> Reads | None:
    """The frame of an elementwise kernel over ``shape``; None where broadcasting is not simple.

    Simple is: whole, one value, one per trailing position (a bias), or one per leading position.
    """
    if all(s == shape for s in shapes):
        return 1, math.prod(shape), ("full",) * len(shapes)
    reads: list[str] = []
    columns = 0
    for s in shapes:
        size = math.prod(s)
        if s == shape:
            reads.append("full")
            continue
        if size == 1:
            reads.append("one")
            continue
        padded = (1,) * (len(shape) - len(s)) + s
        lead = next(i for i, n in enumerate(padded) if n != 1)
        tail = next(i for i in range(len(padded), 0, -1) if padded[i - 1] != 1)
        if padded[lead:] == shape[lead:]:
            kind, width = "column", size
        elif padded[:tail] == shape[:tail]:
            kind, width = "row", math.prod(shape[tail:])
        else:
            return None
        if columns not in (0, width):
            return None
        columns = width
        reads.append(kind)
    if not columns:
        return 1, math.prod(shape), tuple(reads)
    if columns < LEAST_COLUMNS:
        return None
    return math.prod(shape) // columns, columns, tuple(reads)


def framed(shape: tuple[int, ...], arrays: Sequence[Any],
           wanted: Sequence[tuple[int, ...]] = ()) -> Frame | None:  # fmt: skip
    """The frame of contiguous arrays; without ``wanted`` if those do not fit the arrays'."""
    shapes = [a.shape for a in arrays]
    found = elementwise_frame(shape, [*shapes, *wanted]) if wanted else None
    if found is None or "row" in found[2][len(shapes) :]:
        found, wanted = elementwise_frame(shape, shapes), ()
    if found is None:
        return None
    rows, columns, reads = found
    count = len(shapes)
    return Frame(rows, columns, reads[:count], reads[count:], arrays, shape)


def spread(shape: tuple[int, ...], arrays: Sequence[Any]) -> list[Any]:
    """The arrays, with values per middle dimension (a channel's) repeated for the leading ones.

    So each row of a frame has its value; a repeated array is at most 1/8 as large as ``shape``.
    """
    found: list[Any] = []
    for a in arrays:
        padded = (1,) * (len(shape) - a.ndim) + a.shape
        tail = next((i for i in range(len(padded), 0, -1) if padded[i - 1] != 1), 0)
        whole = (*shape[:tail], *padded[tail:])
        if padded[:tail] != shape[:tail] and 8 * math.prod(whole) <= math.prod(shape):
            a = np.ascontiguousarray(np.broadcast_to(a, whole))
        found.append(a)
    return found


def last_dims(dim: object, ndim: int) -> int | None:
    """The first of the reduced dimensions if they are the last ones of several, else None."""
    dims = (dim,) if isinstance(dim, int) else dim
    if not isinstance(dims, tuple) or not dims or len(dims) >= ndim:
        return None
    return ndim - len(dims) if sorted(dims) == list(range(ndim - len(dims), ndim)) else None


def first_dims(dim: object, ndim: int) -> int:
    """How many leading dimensions are reduced, if it is those and no others; else 0.

    Args:
        dim: a dimension, a tuple of them, or None for all.
        ndim: how many dimensions there are.
    """
    dims = tuple(range(ndim)) if dim is None else (dim,) if isinstance(dim, int) else dim
    if not isinstance(dims, tuple) or sorted(dims) != list(range(len(dims))):
        return 0
    return len(dims)


def row_read(shape: tuple[int, ...], like: tuple[int, ...], split: int, per_row: bool) -> str:
    """How an array of a row-wise kernel is read; "" if it does not fit.

    Args:
        shape: its shape.
        like: the shape of the array whose rows are reduced, from dimension ``split`` on.
        per_row: whether a vector of fitting length is one value per row rather than per column.
    """
    if shape == like:
        return "full"
    if shape == ():
        return "one"
    rows = like[:split]
    if shape == rows + (1,) * (len(like) - split) or (per_row and shape == rows):
        return "row"
    return "column" if not per_row and shape == like[split:] else ""


def by_rows(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the last dimensions as dimension 1 of rows and columns."""
    dim = settings["dim"]
    return settings | {"dim": 1 if isinstance(dim, int) else (1,)}


def dense_order(shape: tuple[int, ...], arrays: Sequence[Any]) -> tuple[int, ...] | None:
    """The order of dimensions in which all arrays are contiguous, or None.

    Channels-last images are one case: permuted so, they are read and written as they lie.
    """
    whole = next((a for a in arrays if a.shape == shape and not a.flags.c_contiguous), None)
    if whole is None:
        return None
    order = tuple(sorted(range(len(shape)), key=lambda i: (-whole.strides[i], i)))
    for a in arrays:
        if a.size != 1 and not aligned(a, len(shape)).transpose(order).flags.c_contiguous:
            return None
    return None if order == tuple(range(len(shape))) else order


def unrepeated(a: Any) -> Any:
    """An array with size 1 where its elements are repeated, as ``expand`` does."""
    repeats = [n > 1 and not s for n, s in zip(a.shape, a.strides)]
    return a[tuple([slice(0, 1) if r else slice(None) for r in repeats])] if any(repeats) else a


def aligned(a: Any, ndim: int) -> Any:
    """An array with leading dimensions of size 1, up to ``ndim`` of them."""
    return a if a.ndim == ndim else a.reshape((1,) * (ndim - a.ndim) + a.shape)


@dataclass(slots=True)
class Strides:
    """Sizes of an iteration space, and per array how far its elements are apart.

    Attributes:
        sizes: of the dimensions, merged where all arrays allow.
        steps: per array that is read by strides, elements to the next one in each dimension.
        reach: the farthest element from the first.
    """

    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    reach: int

    def packed(self, index: Any) -> Any:
        """As a C struct of two arrays of ``index``: ``size``, ``stride``."""
        kinds = np.dtype([("size", index, len(self.sizes)),
                          ("stride", index, (len(self.steps), len(self.sizes)))])  # fmt: skip
        return np.array((self.sizes, self.steps), kinds)[()]


def strides_of(shape: tuple[int, ...], arrays: Sequence[Any]) -> Frame | None:
    """A frame in which what is not contiguous is read by its strides."""
    ndim = len(shape)
    reads: list[str] = []
    steps: list[tuple[int, ...]] = []
    for a in arrays:
        if a.shape == shape and a.flags.c_contiguous:
            reads.append("full")
        elif a.size == 1:
            reads.append("one")
        else:
            if any(s % a.itemsize for s in a.strides):
                return None
            lead = ndim - a.ndim
            own = [0 if n == 1 else s // a.itemsize for n, s in zip(a.shape, a.strides)]
            reads.append("strided")
            steps.append((*(0,) * lead, *own))
    if not steps:
        return None
    sizes, merged = _merged(shape, steps)
    reach = max(sum(abs(s) * (n - 1) for s, n in zip(step, sizes)) for step in merged)
    dims = Strides(sizes, merged, reach)
    return Frame(1, math.prod(shape), tuple(reads), (), arrays, shape, None, dims)


def _merged(shape: tuple[int, ...], steps: Sequence[tuple[int, ...]]) -> Any:
    """Dimensions of size 1 left out, neighbours joined that are one run in every array."""
    sizes: list[int] = []
    kept: list[list[int]] = []  # per dimension the steps of all arrays
    for d, n in enumerate(shape):
        if n == 1:
            continue
        here = [s[d] for s in steps]
        if sizes and all(before == now * n for before, now in zip(kept[-1], here)):
            sizes[-1] *= n
            kept[-1] = here
        else:
            sizes.append(n)
            kept.append(here)
    return tuple(sizes), tuple(zip(*kept))
