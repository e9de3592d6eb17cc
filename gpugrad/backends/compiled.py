"""Loops that Numba compiles: what is slow as NumPy passes and is no library call either.

Such a loop is a plain function over NumPy arrays, marked ``@compiled``.  Numba is imported, and the
loop compiled (or read from Numba's cache on disk), when it is first called: about 0.3 s once per
process, so callers turn to it only from ``WORTH`` elements on and have a NumPy path for less.
A loop adds in the same order as that path does, so both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Elements to move from which a compiled loop is used.
WORTH = 1 << 18


def compiled(fn: Callable[..., None]) -> Callable[..., None]:
    """Compile a loop at its first call; it runs without the GIL, as NumPy's own loops do."""
    built: list[Callable[..., None]] = []

    def run(*args: Any) -> None:
        if not built:
            built.append(_build(fn))
        built[0](*args)

    run.__doc__, run.__name__ = fn.__doc__, fn.__name__
    return run


def _build(fn: Callable[..., None]) -> Callable[..., None]:
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(fn)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder that the cache could be written to
        return numba.njit(**options)(fn)  # type: ignore[no-any-return]
