"""How arrays of several shapes lie in a kernel's frame of rows and columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

#: A frame: rows, columns, and per array how it is read (see ``codegen.loops``).
Frame = tuple[int, int, tuple[str, ...]]
#: Shorter rows than this do not fill vectors.
LEAST_COLUMNS = 16


def elementwise_frame(shape: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> Frame | None:
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
