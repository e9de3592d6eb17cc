"""``torch.backends.cudnn``: switches that programs set, all of which hold as they are.

They permit or demand things of cuDNN, which gpugrad does not call: results are always
deterministic, nothing is timed to choose an algorithm, convolutions run in full precision.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Permission to use the library.
enabled = True
#: Permission to time algorithms for each shape and take the fastest.
benchmark = False
#: Permission to spend this many of them; 0 means all.
benchmark_limit = 10
#: Demand that a result is the same bits every time; it always is.
deterministic = False
#: Permission to round float32 operands of convolutions to TF32.
allow_tf32 = True


def is_available() -> bool:
    """Whether cuDNN is in use: it is not."""
    return False


def version() -> int | None:
    """Version of the library in use: None."""
    return None


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
