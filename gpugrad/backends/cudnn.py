"""``torch.backends.cudnn``: PyTorch's switches for cuDNN, which runs convolutions and attention.

Results are the same bits every time whatever they say, but for ``benchmark``: which plan is the
fastest may come out differently in another process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Whether to use the library where it is there; else gpugrad's own, slower way is taken.
enabled = True
#: Whether to time plans when a shape is met first, and take the fastest.
benchmark = False
#: How many of them to time; 0 means all.
benchmark_limit = 10
#: Whether results must be the same bits in every process: nothing is timed then.
deterministic = False
#: Whether float32 operands of convolutions may be rounded to TF32 (10 bits of mantissa).
allow_tf32 = True


def is_available() -> bool:
    """Whether cuDNN and its frontend are installed."""
    from gpugrad.backends.nvidia import cudnn_plans

    return cudnn_plans.installed()[0] is not None


def version() -> int | None:
    """cuDNN's version as a number (91900 is 9.19.0); None where it is not installed."""
    from gpugrad.backends.nvidia import cudnn_plans

    library = cudnn_plans.installed()[0]
    return None if library is None else int(library.backend_version())


@contextmanager
def flags(enabled: bool = False, benchmark: bool = False, benchmark_limit: int = 10,
          deterministic: bool = False, allow_tf32: bool = True) -> Iterator[None]:  # fmt: skip
    """Set the switches inside a ``with`` block."""
    own = sys.modules[__name__].__dict__
    names = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
    wanted = dict(zip(names, (enabled, benchmark, benchmark_limit, deterministic, allow_tf32)))
    before = {name: own[name] for name in names}
    own.update(wanted)
    try:
        yield
    finally:
        own.update(before)
