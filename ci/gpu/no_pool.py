"""A pytest plugin: every array has memory of its own from the driver, for compute-sanitizer.

In the engine's pool arrays lie side by side in large pieces, and a read or write beyond one of them
lands in the next, which the sanitizer must take for allowed; so it must for memory that an earlier
array had written.
"""

from __future__ import annotations


def pytest_sessionstart() -> None:
    """Give CuPy back its plainest allocator, after the backend has installed the pool."""
    import cupy

    from gpugrad import backends

    backends.cuda()
    cupy.cuda.set_allocator(None)
