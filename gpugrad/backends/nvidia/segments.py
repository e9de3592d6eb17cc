"""Combining rows of CuPy arrays where an index says, and taking them, by ``kernels/segments.cu``.

Places are trusted here: ``additions/indexing.py`` has looked whether they are in range.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpugrad.backends.nvidia.flat import bits_for, by_sixteen, run

_FILE = "segments.cu"
#: Rows of the list that a thread walks: ``GG_CHUNK`` of the kernels' text.
CHUNK = 32
#: What the kernels call the ways to combine, by the ufunc that does it.
_HOW = {"add": 0, "multiply": 1, "maximum": 2, "minimum": 3}
#: The same for bools, seen as bytes 0 and 1: or, and.
_OF_BOOLS = {"add": "maximum", "multiply": "minimum", "maximum": "maximum", "minimum": "minimum"}
#: Dtypes in which sums of others are kept.
_WIDE = {"float16": np.float32, "bfloat16": np.float32, "int32": np.int64, "int16": np.int64,
         "int8": np.int64, "uint8": np.int64}  # fmt: skip


def combine(lib: Any, ufunc: str, out: Any, places: Any, values: Any) -> None:
    """``out[places[i]] = ufunc(out[places[i]], values[i])`` for each i, in place, in a fixed order.

    16-bit floats are summed in float32, integers in 64 bits, and rounded when they are written.

    Args:
        lib: ``cupy``.
        ufunc: the name of ``add``, ``multiply``, ``maximum`` or ``minimum``.
        out: (rows, width), without gaps.
        places: (n,), integers in ``0 .. rows - 1``.
        values: (n, width), of the dtype of ``out``.
    """
    if out.dtype.kind == "b":
        out, values, ufunc = out.view(np.uint8), values.view(np.uint8), _OF_BOOLS[ufunc]
    rows, width = out.shape
    n, name = places.size, out.dtype.name
    if not n or not width:
        return
    # Half as many bytes to sort where they suffice.
    order = lib.argsort(places.astype(np.int32) if rows < 2**31 else places, kind="stable")
    places = lib.ascontiguousarray(places).astype(np.int64, copy=False)
    order, values = order.astype(np.int64, copy=False), lib.ascontiguousarray(values)
    taken = by_sixteen(out.itemsize, width, out, values) if out.dtype.kind in "fV" else 1
    entry, wide = f"combine_{name}_{taken}", _WIDE.get(name, out.dtype)
    while True:
        chunks = -(-n // CHUNK)
        last = chunks == 1
        open_places = None if last else lib.empty(2 * chunks, np.int64)
        open_values = None if last else lib.empty((2 * chunks, width), wide)
        run(_FILE, entry, chunks * (width // taken),
            (out, places, order, values, open_places, open_values, np.int64(n), np.int64(width),
             np.int32(_HOW[ufunc]), np.int32(last)))  # fmt: skip
        if last:
            return
        n, places, order, values = 2 * chunks, open_places, None, open_values
        entry, taken = f"join_{name}", 1


def take(lib: Any, x: Any, index: Any, axis: int) -> Any:
    """``x`` with dim ``axis`` replaced by the dims of ``index``, as ``numpy.take`` has it."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    out = lib.empty((*before, *index.shape, *after), x.dtype)
    _take("take", lib, x, index, out, math.prod(before), x.shape[axis], index.size,
          math.prod(after))  # fmt: skip
    return out


def take_each(lib: Any, x: Any, index: Any, axis: int) -> Any:
    """Elements that ``index``, of the shape of ``x`` but for ``axis``, names along ``axis``."""
    out = lib.empty(index.shape, x.dtype)
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    _take("take_each", lib, x, index, out, outer, x.shape[axis], index.shape[axis], inner)
    return out


def _take(entry: str, lib: Any, x: Any, index: Any, out: Any, outer: int, rows: int, taken: int,
          inner: int) -> None:  # fmt: skip
    """Fill ``out (outer, taken, inner)`` from ``x (outer, rows, inner)``."""
    x = lib.ascontiguousarray(x)
    index = lib.ascontiguousarray(index).astype(np.int64, copy=False)
    unit = x.itemsize
    if entry == "take":  # whole rows: by the widest access that they allow
        unit *= by_sixteen(unit, inner, x, out)
    inner = inner * x.itemsize // unit
    threads = outer * taken * inner
    bits = bits_for(threads, outer * rows * inner)
    number = np.uint32 if bits == 32 else np.uint64
    run(_FILE, f"{entry}_{unit}_{bits}", threads,
        (x, index, out, *map(number, (threads, rows, taken, inner))))  # fmt: skip
