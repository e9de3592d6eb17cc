"""What a run depends on besides its settings: the generators, and how many threads compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gpugrad


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seed everything and fix the number of threads; the user's own are put back at the end.

    How many threads share a matrix product decides how its sums are rounded; with their number the
    same, so are the bits.
    """
    from threadpoolctl import threadpool_limits

    before = gpugrad.config.num_threads
    with threadpool_limits(threads, user_api="blas"), gpugrad.random.fork_rng():
        gpugrad.config.num_threads = threads
        gpugrad.manual_seed(seed)
        try:
            yield
        finally:
            gpugrad.config.num_threads = before
