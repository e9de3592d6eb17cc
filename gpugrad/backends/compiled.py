"""Loops that Numba compiles: what is slow as NumPy passes and is no library call either.

Such a loop is a plain function over NumPy arrays, marked ``@compiled``.  Numba is imported, and the
loop compiled (or read from Numba's cache on disk), when it is first called: about 0.3 s once per
process, so callers turn to it only from ``WORTH`` elements on and have a NumPy path for less.
A loop adds in the same order as that path does, so both give the same bits, unless its module says
otherwise.

Threads share a loop by the leading axis of its arrays, whose rows must not meet in a result: so the
number of threads (``config.num_threads``) shows in no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpugrad.backends.workers import workers
from gpugrad.config import config

#: Elements to move from which a compiled loop is used.
WORTH = 1 << 18
#: Elements that are enough for a thread: with fewer, BLAS's own threads, which wait busily between
#: products, cost more than is won (measured: 1 << 16 slows a training step by a tenth).
SHARE = 1 << 18


def compiled(*, cut: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a loop at its first call; it runs without the GIL, as NumPy's own loops do.

    Args:
        cut: how many of the first arguments are arrays that threads may share by their leading
            axis, of one length; 0 for a loop that stays whole.
    """

    def wrap(fn: Callable[..., None]) -> Callable[..., None]:
        built: list[Callable[..., None]] = []

        def run(*args: Any) -> None:
            if not built:
                built.append(_build(fn))
            _share(built[0], args[:cut], args[cut:])

        run.__doc__, run.__name__ = fn.__doc__, fn.__name__
        return run

    return wrap


def _share(loop: Callable[..., None], arrays: Sequence[Any], rest: Sequence[Any]) -> None:
    """Run a loop in as many threads as there is work for."""
    length = len(arrays[0]) if arrays else 1
    count = min(config.num_threads, length)
    if count > 1:
        size = max(a.size for a in (*arrays, *rest) if isinstance(a, np.ndarray))
        count = min(count, size // SHARE)
    if count <= 1:
        loop(*arrays, *rest)
        return
    # More parts than threads: where the machine is busy, one thread may be slower.
    cuts = [length * i // (2 * count) for i in range(2 * count + 1)]
    parts = [(*(a[low:high] for a in arrays), *rest) for low, high in pairwise(cuts) if low < high]
    workers.run(loop, parts, count)


def _build(fn: Callable[..., None]) -> Callable[..., None]:
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(fn)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder that the cache could be written to
        return numba.njit(**options)(fn)  # type: ignore[no-any-return]
