"""Index expressions: which are views, and where arrays of places wrap around."""

from __future__ import annotations

from typing import Any

import numpy as np


def same(a: Any, b: Any) -> bool:
    return bool(((a == b) | (a != a)).all())


def is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        p is None or p is Ellipsis or isinstance(p, slice)
        or (np.isscalar(p) and not isinstance(p, bool | np.bool_)) for p in parts
    )  # fmt: skip


def wrapped(shape: tuple[int, ...], parts: list[Any]) -> tuple[Any, ...]:
    """An index for NumPy in which arrays wrap around as CuPy's kernels have it."""
    taken = sum(_dims(p) for p in parts)
    dim, found = 0, []
    for p in parts:
        if isinstance(p, np.ndarray) and p.dtype.kind != "b":
            size = shape[dim]
            if not size and p.size:
                raise IndexError("cannot do a non-empty take from an empty axes.")
            p = p.astype(np.int64) % max(size, 1)
        dim += len(shape) - taken if p is Ellipsis else _dims(p)
        found.append(p)
    return tuple(found)


def _dims(part: Any) -> int:
    if isinstance(part, np.ndarray) and part.dtype.kind == "b":
        return part.ndim
    return 0 if part is None or part is Ellipsis or isinstance(part, bool) else 1
